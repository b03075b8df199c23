"""Small fingerprints, labels and budgets for the tests of planning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autofuse.dataset.types import LabelClass, Labels
from autofuse.fingerprint.types import CaseFacts, ClassFacts, Fingerprint, IntensityFacts
from autofuse.plan.types import Budget, Decision, Plan
from autofuse_planners.default import DefaultPlanner

Triple = tuple[float, float, float]
Shape = tuple[int, int, int]

GIB8 = Budget(memory_gib=8.0)
GIB4 = Budget(memory_gib=4.0)
TWO_CORES: dict[str, Any] = {"flops_per_s": 4.8e11, "elements_per_s": 3.9e8, "precision": "bf16", "threads": 2}
"""What two cores were measured to do in bf16."""


def in_minutes(minutes: float, memory_gib: float = 8.0) -> Budget:
    """A budget with a time dial on two cores."""
    return Budget(memory_gib=memory_gib, minutes=minutes, **TWO_CORES)


def labels_of(*names: str) -> Labels:
    """Classes with these names."""
    return Labels(classes=tuple(LabelClass(name=name, raw_values=(i + 1,)) for i, name in enumerate(names)))


def case_of(
    number: int, shape: Shape, spacing: Triple, modalities: int = 1, classes: int = 1, **facts: Any
) -> CaseFacts:
    """A case of which nothing is cropped, unless ``facts`` say otherwise."""
    values: dict[str, Any] = {
        "id": f"case{number:03d}",
        "subject": f"case{number:03d}",
        "shape": shape,
        "spacing_mm": spacing,
        "cropped_shape": shape,
        "crop_fraction": 1.0,
        "present": (True,) * modalities,
        "annotation": "dense",
        "labelled_fraction": 1.0,
        "class_voxels": (100,) * classes,
        "class_components": (1,) * classes,
        "class_centroids_mm": (None,) * classes,
        "quantiles": ((),) * modalities,
        "moments": (None,) * modalities,
        "minmax": ((0.0, 1000.0),) * modalities,
        "source_digest": "0",
    }
    return CaseFacts(**(values | facts))


def fingerprint_of(
    cases: Sequence[CaseFacts], modalities: Sequence[str] = ("MR",), classes: Sequence[str] = ("organ",), **facts: Any
) -> Fingerprint:
    """A fingerprint of these cases, its intensities those of an MR unless ``facts`` say otherwise."""
    intensities = IntensityFacts(
        voxels=1000, mean=300.0, std=80.0, minimum=0.0, percentile_00_5=20.0, median=300.0, percentile_99_5=700.0,
        maximum=1000.0,
    )  # fmt: skip
    values: dict[str, Any] = {
        "dataset": "made up",
        "dataset_digest": "0",
        "modalities": tuple(modalities),
        "optional": (False,) * len(modalities),
        "class_names": tuple(classes),
        "has_regions": False,
        "has_ignore": False,
        "intensities": (intensities,) * len(modalities),
        "classes": tuple(
            ClassFacts(name=name, cases=1, volume_ml_median=1.0, components_median=1.0, volume_fraction_mean=0.1)
            for name in classes
        ),
        "cases": tuple(cases),
    }
    return Fingerprint(**(values | facts))


def same_cases(shape: Shape, spacing: Triple, count: int = 20, **facts: Any) -> list[CaseFacts]:
    """Several equal cases."""
    return [case_of(number, shape, spacing, **facts) for number in range(count)]


def decision(plan: Plan, what: str) -> Decision:
    """The decision about ``what``."""
    found = [item for item in plan.decisions if item.what == what]
    assert len(found) == 1, f"{len(found)} decisions about {what!r}"
    return found[0]


def plan_for(name: str, planner: DefaultPlanner | None = None, **wishes: Any) -> Plan:
    """The plan of a made-up data set on 4 GiB, with what is asked for beside."""
    from autofuse.testing.fingerprints import MADE_UP_DATASETS, example_fingerprint  # torch comes with it

    fingerprint, labels = example_fingerprint(next(item for item in MADE_UP_DATASETS if item.name == name))
    return (planner or DefaultPlanner()).plan(fingerprint, labels, GIB4.model_copy(update=wishes))
