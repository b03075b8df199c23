"""Fingerprints of data sets that do not exist, to try a planner on: each has one property that plans must heed."""

from __future__ import annotations

from dataclasses import dataclass

from autofuse.dataset.types import Labels
from autofuse.fingerprint.types import (
    Annotation,
    CaseFacts,
    ClassFacts,
    Fingerprint,
    GridFacts,
    IntensityFacts,
    PairFacts,
    RegistrationFacts,
)
from autofuse.testing.examples import example_labels


@dataclass(frozen=True)
class MadeUpDataset:
    """What an example fingerprint is made from.

    Attributes:
        shape, spacing_mm: of the middle case; the others are a tenth smaller and larger.
        missing: cases that lack the last modality.
        optional: whether the last modality is marked as optional.
        unpaired: whether every case has one modality only, in turn.
        view: share of the first modality's field of view that the others cover.
        apart_mm: measured displacement of the others against the first; None where it was not measured.
        reliable: whether that measurement can be believed.
        left_mm: what a rigid registration of some cases left of it; None where none was tried.
        sparse, unlabelled: cases with scribbles, and without a label.
        labelled_share: of the voxels of a case with scribbles; cover: of each structure's extent.
        ct: whether intensities look like Hounsfield units.
    """

    name: str
    modalities: tuple[str, ...] = ("T1", "T2")
    shape: tuple[int, int, int] = (128, 160, 160)
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    cases: int = 12
    classes: int = 2
    regions: bool = False
    missing: int = 0
    optional: bool = False
    unpaired: bool = False
    view: float = 1.0
    apart_mm: float | None = None
    reliable: bool = True
    left_mm: float | None = None
    sparse: int = 0
    unlabelled: int = 0
    labelled_share: float = 0.05
    cover: float = 0.5
    ct: bool = False


_SMALL = (64, 72, 64)

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
    MadeUpDataset("unpaired", ("CT", "T2"), _SMALL, unpaired=True),
    MadeUpDataset("no common view", shape=_SMALL, view=0.0),
    MadeUpDataset("optional modality", shape=_SMALL, optional=True),
    MadeUpDataset("seen in part", shape=_SMALL, view=0.7),
    MadeUpDataset("rarely missing", shape=_SMALL, cases=40, missing=1),
    MadeUpDataset("aligned", shape=_SMALL, apart_mm=0.4),
    MadeUpDataset("nearly displaced", shape=_SMALL, apart_mm=1.7),
    MadeUpDataset("slightly displaced, rigidly", shape=_SMALL, apart_mm=1.7, left_mm=0.3),
    MadeUpDataset("slightly displaced, for good", shape=_SMALL, apart_mm=1.7, left_mm=1.6),
    MadeUpDataset("hardly comparable", shape=_SMALL, apart_mm=30.0, reliable=False),
    MadeUpDataset("displaced rigidly", shape=_SMALL, apart_mm=8.0, left_mm=0.6),
    MadeUpDataset("displaced for good", shape=_SMALL, apart_mm=8.0, left_mm=6.5),
    MadeUpDataset("displaced and missing", shape=_SMALL, missing=4, apart_mm=8.0, left_mm=0.6),
    MadeUpDataset("scribbles on two modalities", shape=_SMALL, sparse=12, apart_mm=0.4),
    MadeUpDataset("thin scribbles", ("T1",), _SMALL, sparse=12, labelled_share=0.004, cover=0.06),
    MadeUpDataset("many labels", ("T1",), _SMALL, cases=30, unlabelled=8),
    MadeUpDataset("many labels, displaced", shape=_SMALL, cases=30, unlabelled=8, apart_mm=8.0, left_mm=6.5),
    MadeUpDataset("mixed labels", ("T1",), _SMALL, sparse=4, unlabelled=3),
)
"""One for each kind of data that a plan must heed, among them one for each rule about modalities and annotation."""

_CROP = 0.9
_RESOLUTION_MM = 1.0
_TRIED = 10


def example_fingerprint(made_up: MadeUpDataset) -> tuple[Fingerprint, Labels]:
    """The fingerprint of ``made_up``, and its labels."""
    labels = example_labels(made_up.classes, regions=made_up.regions)
    if not made_up.sparse:
        labels = labels.model_copy(update={"ignore": None})
    names = tuple(item.name for item in labels.classes)
    fingerprint = Fingerprint(
        dataset=made_up.name,
        dataset_digest="0" * 64,
        modalities=made_up.modalities,
        optional=(*(False,) * (len(made_up.modalities) - 1), made_up.optional),
        class_names=names,
        has_regions=made_up.regions,
        has_ignore=bool(made_up.sparse),
        intensities=(_intensities(made_up),) * len(made_up.modalities),
        classes=tuple(_class_facts(name, made_up.cases) for name in names),
        cases=tuple(_case(made_up, number) for number in range(made_up.cases)),
        registrations=_registrations(made_up),
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


def _class_facts(name: str, cases: int) -> ClassFacts:
    return ClassFacts(name=name, cases=cases, volume_ml_median=20.0, components_median=1.0, volume_fraction_mean=0.01)


def _centre(made_up: MadeUpDataset) -> tuple[float, float, float]:
    z, y, x = (size * step / 2 for size, step in zip(made_up.shape, made_up.spacing_mm, strict=True))
    return z, y, x


def _case(made_up: MadeUpDataset, number: int) -> CaseFacts:
    scale = 0.9 + 0.2 * number / (made_up.cases - 1)
    z, y, x = (max(1, round(size * scale)) if size > 1 else 1 for size in made_up.shape)
    annotation: Annotation = "dense"
    if number < made_up.unlabelled:
        annotation = "none"
    elif number < made_up.unlabelled + made_up.sparse:
        annotation = "sparse"
    present = _present(made_up, number)
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
        labelled_fraction={"none": 0.0, "sparse": made_up.labelled_share, "dense": 1.0}[annotation],
        class_voxels=(voxels,) * made_up.classes,
        class_components=(min(1, voxels),) * made_up.classes,
        class_centroids_mm=(_centre(made_up) if voxels else None,) * made_up.classes,
        quantiles=((),) * len(made_up.modalities),
        moments=tuple((voxels, 300.0, 80.0) if there else None for there in present),
        minmax=tuple((0.0, 900.0) if there else None for there in present),
        source_digest=f"{number:064d}",
        grids=_grids(made_up, (z, y, x), present) if made_up.view < 1 else (),
        mask_modality=None if annotation == "none" else present.index(True),
        pairs=_pairs(made_up, present),
        class_cover=(made_up.cover if annotation == "sparse" else 0.0,) * made_up.classes,
    )


def _present(made_up: MadeUpDataset, number: int) -> tuple[bool, ...]:
    modalities = range(len(made_up.modalities))
    if made_up.unpaired:
        return tuple(index == number % len(modalities) for index in modalities)
    return tuple(number >= made_up.missing or index < len(modalities) - 1 for index in modalities)


def _grids(
    made_up: MadeUpDataset, shape: tuple[int, int, int], present: tuple[bool, ...]
) -> tuple[GridFacts | None, ...]:
    """The first modality's grid, and smaller ones that cover the share ``view`` of it."""
    z, y, x = shape
    return tuple(
        GridFacts(shape=shape, spacing_mm=made_up.spacing_mm, same=True, overlap=1.0)
        if index == 0
        else GridFacts(
            shape=(max(1, round(z * made_up.view)), y, x),
            spacing_mm=made_up.spacing_mm,
            same=False,
            overlap=made_up.view,
        )
        if there
        else None
        for index, there in enumerate(present)
    )


def _pairs(made_up: MadeUpDataset, present: tuple[bool, ...]) -> tuple[PairFacts, ...]:
    if made_up.apart_mm is None:
        return ()
    return tuple(
        PairFacts(
            fixed=0,
            moving=index,
            displacement_mm=(0.0, made_up.apart_mm, 0.0),
            distance_mm=made_up.apart_mm,
            agreement=1.3,
            agreement_unmoved=1.3 if made_up.apart_mm < _RESOLUTION_MM else 1.1,
            resolution_mm=_RESOLUTION_MM,
            reliable=made_up.reliable,
        )
        for index, there in enumerate(present)
        if index and there
    )


def _registrations(made_up: MadeUpDataset) -> tuple[RegistrationFacts, ...]:
    """Trials on the last cases, which lack no modality."""
    if made_up.left_mm is None or made_up.apart_mm is None:
        return ()
    numbers = range(max(made_up.missing, made_up.cases - _TRIED), made_up.cases)
    return tuple(
        RegistrationFacts(
            case=f"case {number:02d}",
            fixed=0,
            moving=len(made_up.modalities) - 1,
            before_mm=made_up.apart_mm,
            after_mm=made_up.left_mm,
            rotation_degrees=1.0,
            shift_mm=made_up.apart_mm,
        )
        for number in numbers
    )
