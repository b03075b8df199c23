"""One case, measured: grids, displacement, supervision, classes, and intensities inside labelled foreground."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from autofuse.dataset.types import IGNORE, Case, Dataset, Labels
from autofuse.fingerprint.classes import ClassMeasure, measure_classes
from autofuse.fingerprint.crop import box_shape, case_box
from autofuse.fingerprint.modalities import foreground_of, grids_of, pairs_of
from autofuse.fingerprint.sketch import Sketch, sketch
from autofuse.fingerprint.sources import source_digest, source_stamp
from autofuse.fingerprint.strokes import measure_strokes
from autofuse.fingerprint.types import Annotation, CaseFacts, Shape
from autofuse.foundation.values import StoredValue

if TYPE_CHECKING:
    from autofuse.dataset.raw import RawCase


class CaseRecord(StoredValue):
    """What is kept of one measured case, so that an interrupted fingerprint goes on.

    Attributes:
        stamp: of the source files when they were read; another stamp makes the record stale.
        facts: without quantiles, which stand in the sketches.
        foreground: per modality, intensities inside labelled foreground; None without image or foreground.
        nonzero: per modality, non-zero intensities, where there is no foreground sketch to use.
    """

    kind: ClassVar[str] = "case_record"
    schema_number: ClassVar[int] = 4

    stamp: str
    facts: CaseFacts
    foreground: tuple[Sketch | None, ...]
    nonzero: tuple[Sketch | None, ...]


def measure_case(dataset: Dataset, case: Case) -> CaseFacts:
    """The facts of one case, with the quantiles of its foreground intensities.

    Raises:
        DataError: if a file of the case cannot be used.
    """
    record = examine(dataset, case)
    quantiles = tuple(item.quantiles if item else () for item in record.foreground)
    return record.facts.model_copy(update={"quantiles": quantiles})


def examine(dataset: Dataset, case: Case) -> CaseRecord:
    """The record of one case; reads its images and label once.

    Raises:
        DataError: if a file of the case cannot be used.
    """
    from autofuse.dataset.raw import load_case

    stamp = source_stamp(dataset, case)
    digest = source_digest(dataset, case)
    raw = load_case(dataset, case)
    foreground: list[Sketch | None] = []
    nonzero: list[Sketch | None] = []
    for channel, image in enumerate(raw.images):
        marked = foreground_of(raw, channel, image) if image is not None else None
        inside = sketch(image.voxels[marked]) if image is not None and marked is not None else None
        foreground.append(inside)
        wanted = image is not None and inside is None
        nonzero.append(sketch(image.voxels[image.voxels != 0]) if image is not None and wanted else None)
    facts = _facts(raw, dataset.labels, foreground, digest)
    return CaseRecord(stamp=stamp, facts=facts, foreground=tuple(foreground), nonzero=tuple(nonzero))


def _facts(raw: RawCase, labels: Labels, foreground: list[Sketch | None], digest: str) -> CaseFacts:
    shape, spacing_mm = raw.geometry.shape, raw.geometry.spacing_mm
    cropped = box_shape(case_box(raw.images, raw.geometry))
    annotation, labelled = _annotation_of_all(raw)
    classes = _classes(raw, labels)
    strokes = measure_strokes(raw.label, spacing_mm) if raw.label is not None and annotation == "sparse" else None
    return CaseFacts(
        id=raw.case.id,
        subject=raw.case.subject,
        shape=shape,
        spacing_mm=spacing_mm,
        cropped_shape=_three(cropped),
        crop_fraction=float(np.prod(cropped, dtype=np.float64) / np.prod(shape, dtype=np.float64)),
        present=tuple(image is not None for image in raw.images),
        annotation=annotation,
        labelled_fraction=labelled,
        class_voxels=tuple(item.voxels for item in classes),
        class_components=tuple(len(item.components) for item in classes),
        class_centroids_mm=tuple(item.centroid_mm(spacing_mm) for item in classes),
        quantiles=((),) * len(raw.images),
        moments=tuple((item.voxels, item.mean, item.std) if item else None for item in foreground),
        minmax=tuple(
            (float(image.voxels.min()), float(image.voxels.max())) if image is not None else None
            for image in raw.images
        ),
        source_digest=digest,
        grids=grids_of(raw),
        mask_modality=raw.reference if raw.label is not None else None,
        pairs=pairs_of(raw),
        class_component_ml=tuple(item.component_ml(spacing_mm) for item in classes),
        class_cover=tuple(item.cover if annotation == "sparse" else 0.0 for item in classes),
        stroke_reach_mm=strokes.reach_mm if strokes else None,
        stroke_gap_mm=strokes.gap_mm if strokes else None,
        modality_annotations=tuple(_annotation(label)[0] for label in raw.labels),
    )


def _classes(raw: RawCase, labels: Labels) -> list[ClassMeasure]:
    """Each class or region; of masks of single modalities as the first shows it that has it, that of the reference
    modality before all others, in voxels of the reference grid."""
    spacing_mm = raw.geometry.spacing_mm
    if not raw.labels:
        return measure_classes(raw.label, labels, spacing_mm)
    found = measure_classes(None, labels, spacing_mm)
    for channel in sorted(range(len(raw.labels)), key=lambda channel: channel != raw.reference):
        image, label = raw.images[channel], raw.labels[channel]
        if image is None or label is None:
            continue
        measured = measure_classes(label, labels, image.geometry.spacing_mm)
        if not raw.on_reference(channel):
            measured = [item.counted_in(image.geometry.spacing_mm, spacing_mm) for item in measured]
        found = [known if known.voxels else new for known, new in zip(found, measured, strict=True)]
    return found


def _annotation_of_all(raw: RawCase) -> tuple[Annotation, float]:
    """As ``_annotation``; of several masks "sparse" where one of those that are there is, and the mean share."""
    if not raw.labels:
        return _annotation(raw.label)
    kinds = [_annotation(label) for label in raw.masks]
    if not kinds:
        return _annotation(None)
    sparse = any(kind == "sparse" for kind, _ in kinds)
    return "sparse" if sparse else "dense", fmean(share for _, share in kinds)


def _annotation(label: NDArray[np.int16] | None) -> tuple[Annotation, float]:
    """How a case is annotated, and the share of its voxels that are."""
    if label is None:
        return "none", 0.0
    ignored = int(np.count_nonzero(label == IGNORE))
    if not ignored:
        return "dense", 1.0
    return "sparse", (label.size - ignored) / label.size


def _three(shape: tuple[int, ...]) -> Shape:
    first, second, third = shape
    return first, second, third
