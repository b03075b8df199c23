"""One case, measured: its grid, what supervision it has, its classes, and intensities inside labelled foreground."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from autofuse.dataset.types import IGNORE, Case, Dataset, Labels
from autofuse.fingerprint.crop import box_shape, nonzero_box
from autofuse.fingerprint.sketch import Sketch, sketch
from autofuse.fingerprint.sources import source_digest, source_stamp
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
    foreground_mask = raw.label > 0 if raw.label is not None else None
    foreground: list[Sketch | None] = []
    nonzero: list[Sketch | None] = []
    for image in raw.images:
        inside = None
        if image is not None and foreground_mask is not None:
            inside = sketch(image.voxels[foreground_mask])
        foreground.append(inside)
        wanted = image is not None and inside is None
        nonzero.append(sketch(image.voxels[image.voxels != 0]) if image is not None and wanted else None)
    facts = _facts(raw, dataset.labels, foreground, digest)
    return CaseRecord(stamp=stamp, facts=facts, foreground=tuple(foreground), nonzero=tuple(nonzero))


def _facts(raw: RawCase, labels: Labels, foreground: list[Sketch | None], digest: str) -> CaseFacts:
    arrays = [image.voxels for image in raw.images if image is not None]
    shape = raw.geometry.shape
    cropped = box_shape(nonzero_box(arrays)) if arrays else shape
    annotation, labelled = _annotation(raw.label)
    classes = measure_classes(raw.label, labels)
    spacing_mm = raw.geometry.spacing_mm
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
        class_components=tuple(item.components for item in classes),
        class_centroids_mm=tuple(item.centroid_mm(spacing_mm) for item in classes),
        quantiles=((),) * len(raw.images),
        moments=tuple((item.voxels, item.mean, item.std) if item else None for item in foreground),
        minmax=tuple(
            (float(image.voxels.min()), float(image.voxels.max())) if image is not None else None
            for image in raw.images
        ),
        source_digest=digest,
    )


def _annotation(label: NDArray[np.int16] | None) -> tuple[Annotation, float]:
    """How a case is annotated, and the share of its voxels that are."""
    if label is None:
        return "none", 0.0
    ignored = int(np.count_nonzero(label == IGNORE))
    if not ignored:
        return "dense", 1.0
    return "sparse", (label.size - ignored) / label.size


@dataclass(frozen=True)
class ClassMeasure:
    """Size and place of one class or region in one label map; ``centroid`` in voxels, None where it is absent."""

    voxels: int = 0
    components: int = 0
    centroid: tuple[float, float, float] | None = None

    def centroid_mm(self, spacing_mm: tuple[float, float, float]) -> tuple[float, float, float] | None:
        """The centre of mass in millimetres along the array's axes."""
        if self.centroid is None:
            return None
        z, y, x = (position * step for position, step in zip(self.centroid, spacing_mm, strict=True))
        return round(z, 3), round(y, 3), round(x, 3)


def measure_classes(label: NDArray[np.int16] | None, labels: Labels) -> list[ClassMeasure]:
    """Voxels, connected components (26 neighbours) and centroid of each class or region of an index map (z, y, x)."""
    if label is None:
        return [ClassMeasure()] * len(labels.classes)
    from scipy.ndimage import find_objects

    boxes = find_objects(label, max_label=len(labels.raw_values))
    measures = []
    for item in labels.classes:
        indices = [labels.raw_values.index(value) + 1 for value in item.raw_values if value != 0]
        found = [boxes[index - 1] for index in indices if boxes[index - 1] is not None]
        measures.append(_measure_within(label, indices, found) if found else ClassMeasure())
    return measures


def _measure_within(label: NDArray[np.int16], indices: list[int], boxes: list[tuple[slice, ...]]) -> ClassMeasure:
    """Of the union of ``indices``, looked for only inside their boxes."""
    import cc3d

    union = tuple(
        slice(min(box[axis].start for box in boxes), max(box[axis].stop for box in boxes)) for axis in range(label.ndim)
    )
    part = label[union]
    mask = part == indices[0] if len(indices) == 1 else np.isin(part, indices)
    count = cc3d.connected_components(np.ascontiguousarray(mask), connectivity=26, return_N=True)[1]
    z, y, x = (_mean_position(mask, axis) + union[axis].start for axis in range(3))
    return ClassMeasure(int(np.count_nonzero(mask)), int(count), (z, y, x))


def _mean_position(mask: NDArray[np.bool_], axis: int) -> float:
    """Centre of mass of ``mask`` along one axis, in voxels."""
    weights = np.count_nonzero(mask, axis=tuple(other for other in range(mask.ndim) if other != axis))
    return float(weights @ np.arange(len(weights)) / weights.sum())


def _three(shape: tuple[int, ...]) -> Shape:
    first, second, third = shape
    return first, second, third
