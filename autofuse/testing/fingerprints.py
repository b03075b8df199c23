"""Fingerprints of data sets that do not exist, to try a planner on: each has one property that plans must heed."""

from __future__ import annotations

from dataclasses import dataclass

from autofuse.dataset.types import Labels
from autofuse.fingerprint.types import Annotation, CaseFacts, ClassFacts, Fingerprint, IntensityFacts
from autofuse.testing.examples import example_labels


@dataclass(frozen=True)
class MadeUpDataset:
    """What an example fingerprint is made from.

    Attributes:
        shape, spacing_mm: of the middle case; the others are a tenth smaller and larger.
        missing: cases of twelve that lack the last modality.
        sparse, unlabelled: cases of twelve with scribbles, and without a label.
        ct: whether intensities look like Hounsfield units.
    """

    name: str
    modalities: tuple[str, ...] = ("T1", "T2")
    shape: tuple[int, int, int] = (128, 160, 160)
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    classes: int = 2
    regions: bool = False
    missing: int = 0
    sparse: int = 0
    unlabelled: int = 0
    ct: bool = False


MADE_UP_DATASETS = (
    MadeUpDataset("isotropic"),
    MadeUpDataset("anisotropic", shape=(24, 512, 512), spacing_mm=(5.0, 0.7, 0.7)),
    MadeUpDataset("small cubes", ("T1",), shape=(35, 50, 36)),
    MadeUpDataset("large CT", ("CT",), shape=(400, 512, 512), spacing_mm=(1.0, 0.8, 0.8), classes=13, ct=True),
    MadeUpDataset("slices", ("photo",), shape=(1, 300, 400), classes=1),
    MadeUpDataset("thick stack", ("cine",), shape=(8, 200, 220), spacing_mm=(10.0, 1.4, 1.4), sparse=12),
    MadeUpDataset("regions", ("T1", "T1c", "T2", "FLAIR"), shape=(140, 170, 140), classes=3, regions=True),
    MadeUpDataset("missing modality", missing=4),
    MadeUpDataset("few labels", unlabelled=8),
)
"""One for each kind of data that a plan must heed."""

_CASES = 12
_CROP = 0.9


def example_fingerprint(made_up: MadeUpDataset) -> tuple[Fingerprint, Labels]:
    """The fingerprint of twelve cases of ``made_up``, and its labels."""
    labels = example_labels(made_up.classes, regions=made_up.regions)
    if not made_up.sparse:
        labels = labels.model_copy(update={"ignore": None})
    names = tuple(item.name for item in labels.classes)
    fingerprint = Fingerprint(
        dataset=made_up.name,
        dataset_digest="0" * 64,
        modalities=made_up.modalities,
        optional=(False,) * len(made_up.modalities),
        class_names=names,
        has_regions=made_up.regions,
        has_ignore=bool(made_up.sparse),
        intensities=(_intensities(made_up),) * len(made_up.modalities),
        classes=tuple(_class_facts(name) for name in names),
        cases=tuple(_case(made_up, number) for number in range(_CASES)),
    )
    return fingerprint, labels


def example_fingerprints() -> tuple[tuple[Fingerprint, Labels], ...]:
    """Fingerprint and labels of every made-up data set."""
    return tuple(example_fingerprint(made_up) for made_up in MADE_UP_DATASETS)


def _intensities(made_up: MadeUpDataset) -> IntensityFacts:
    low, high = (-1000.0, 1500.0) if made_up.ct else (0.0, 900.0)
    middle = 40.0 if made_up.ct else 300.0
    return IntensityFacts(
        voxels=1_000_000,
        mean=middle,
        std=80.0,
        minimum=low,
        percentile_00_5=middle - 150.0,
        median=middle,
        percentile_99_5=middle + 200.0,
        maximum=high,
        integral=made_up.ct,
    )


def _class_facts(name: str) -> ClassFacts:
    return ClassFacts(name=name, cases=_CASES, volume_ml_median=20.0, components_median=1.0, volume_fraction_mean=0.01)


def _centre(made_up: MadeUpDataset) -> tuple[float, float, float]:
    z, y, x = (size * step / 2 for size, step in zip(made_up.shape, made_up.spacing_mm, strict=True))
    return z, y, x


def _case(made_up: MadeUpDataset, number: int) -> CaseFacts:
    scale = 0.9 + 0.2 * number / (_CASES - 1)
    z, y, x = (max(1, round(size * scale)) if size > 1 else 1 for size in made_up.shape)
    annotation: Annotation = "dense"
    if number < made_up.unlabelled:
        annotation = "none"
    elif number < made_up.unlabelled + made_up.sparse:
        annotation = "sparse"
    present = tuple(
        number >= made_up.missing or index < len(made_up.modalities) - 1 for index in range(len(made_up.modalities))
    )
    voxels = 0 if annotation == "none" else round(0.01 * z * y * x)
    return CaseFacts(
        id=f"case {number:02d}",
        subject=f"case {number:02d}",
        shape=(z, y, x),
        spacing_mm=made_up.spacing_mm,
        cropped_shape=(z, max(1, round(y * _CROP)), max(1, round(x * _CROP))),
        crop_fraction=_CROP**2,
        present=present,
        annotation=annotation,
        labelled_fraction={"none": 0.0, "sparse": 0.05, "dense": 1.0}[annotation],
        class_voxels=(voxels,) * made_up.classes,
        class_components=(min(1, voxels),) * made_up.classes,
        class_centroids_mm=(_centre(made_up) if voxels else None,) * made_up.classes,
        quantiles=((),) * len(made_up.modalities),
        moments=tuple((voxels, 300.0, 80.0) if there else None for there in present),
        minmax=tuple((0.0, 900.0) if there else None for there in present),
        source_digest=f"{number:064d}",
    )
