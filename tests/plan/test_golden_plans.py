"""Plans of four real data sets, and of made-up ones for every rule, as a summary that a person can check.

A change here is a change of what users get. After a deliberate one, write the file anew:
``python tests/plan/test_golden_plans.py``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from plan_examples import in_minutes

from autofuse.dataset.opening import open_dataset
from autofuse.fingerprint.measure import measure
from autofuse.foundation.workspace import Workspace
from autofuse.phantom import PhantomOptions, write_phantom
from autofuse.plan.types import Configuration, Plan
from autofuse.testing.fingerprints import MADE_UP_DATASETS, MadeUpDataset, example_fingerprint
from autofuse_planners.default import DefaultPlanner

GOLDEN = Path(__file__).parent / "golden_plans.json"
NAMES = ("Dataset101_BraTS13", "Dataset102_MSLesions", "Dataset103_ACDCScribble", "Dataset104_Hippocampus")
BUDGET = in_minutes(20.0)


def real_plan(dataset_folder: Path, workspace: Path) -> dict[str, Any]:
    """The plan of a data set on disk, on two cores with 8 GiB and 20 minutes."""
    dataset = open_dataset(dataset_folder)
    fingerprint = measure(dataset, Workspace(workspace, dataset.name), workers=0)
    return summary(DefaultPlanner().plan(fingerprint, dataset.labels, BUDGET))


PHANTOMS: dict[str, dict[str, Any]] = {
    "phantom": {},
    "phantom, scribbles": {"scribbles": 0.05},
    "phantom, cases lack modalities": {"missing": 0.3},
    "phantom, 8 mm apart": {"shift_mm": 8.0},
    "phantom, coarse and narrow": {"coarse": 2.0, "narrow": 0.7},
    "phantom, few labels": {"unlabelled": 3},
    "phantom, single slices": {"dimensions": 2},
}
"""What is drawn on disk, and measured: eight cases of 48 x 48 x 48 voxels of 1.5 mm."""


def phantom_plan(changes: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The plan of a phantom that is drawn into ``folder``, with the same dials."""
    options = PhantomOptions(cases=8, test_cases=0, shape=(48, 48, 48), spacing_mm=(1.5, 1.5, 1.5), **changes)
    return real_plan(write_phantom(folder / "Dataset001_Phantom", options), folder / "workspace")


def made_up_plan(made_up: MadeUpDataset) -> dict[str, Any]:
    """The plan of a data set that does not exist, with the same dials."""
    fingerprint, labels = example_fingerprint(made_up)
    return summary(DefaultPlanner().plan(fingerprint, labels, BUDGET))


def summary(plan: Plan) -> dict[str, Any]:
    """What matters of a plan, a line each."""
    return {
        "configuration": plan.configuration,
        "trainer": " ".join([plan.trainer.name, *(f"{key}={value}" for key, value in plan.trainer.fields.items())]),
        "challengers": [f"{item.trainer.name} on {item.topology or 'the same'}" for item in plan.challengers],
        "steps": plan.steps,
        "transpose": _by(plan.transpose),
        "mirror_axes": _by(plan.mirror_axes),
        "normalisation": ", ".join(item.scheme for item in plan.normalisation),
        "reference": plan.modalities[plan.reference],
        "registration": "none" if plan.registration is None else "rigid",
        "far_background": plan.far_background,
        "configurations": {item.name: _line(item) for item in plan.configurations},
    }


def _line(item: Configuration) -> str:
    network = item.network
    speed = "" if item.seconds_per_step is None else f", {item.seconds_per_step:g} s"
    dropout = f" dropping {network.modality_dropout:g}" if network.modality_dropout else ""
    return (
        f"{_by(item.spacing_mm)} mm, median {_by(item.median_shape)}, patch {_by(item.patch)}, batch {item.batch}, "
        f"{network.topology}{dropout}, features {_by(network.features)}, {item.memory_gib:g} GiB{speed}"
    )


def _by(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:g}" for value in values)


@pytest.mark.parametrize("name", NAMES)
def test_plan_is_the_one_on_record(name: str, shared_data: Path, tmp_path: Path) -> None:
    assert real_plan(shared_data / name, tmp_path) == json.loads(GOLDEN.read_text())[name]


@pytest.mark.parametrize("name", PHANTOMS)
def test_plan_of_a_phantom_is_the_one_on_record(name: str, tmp_path: Path) -> None:
    assert phantom_plan(PHANTOMS[name], tmp_path) == json.loads(GOLDEN.read_text())[name]


@pytest.mark.parametrize("made_up", MADE_UP_DATASETS, ids=lambda made_up: made_up.name)
def test_plan_for_each_kind_of_data_is_the_one_on_record(made_up: MadeUpDataset) -> None:
    assert made_up_plan(made_up) == json.loads(GOLDEN.read_text())[made_up.name]


if __name__ == "__main__":
    import tempfile

    data = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    with tempfile.TemporaryDirectory() as folder:
        found = {name: real_plan(data / name, Path(folder)) for name in NAMES}
        found |= {name: phantom_plan(item, Path(folder) / name) for name, item in PHANTOMS.items()}
    found |= {made_up.name: made_up_plan(made_up) for made_up in MADE_UP_DATASETS}
    GOLDEN.write_text(json.dumps(found, indent=1) + "\n")
    sys.stdout.write(f"{GOLDEN} written\n")
