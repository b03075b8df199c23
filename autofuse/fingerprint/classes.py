"""The classes of one label map, measured: how large, in how many pieces, where, and how far strokes cover them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autofuse.dataset.types import Labels
from autofuse.fingerprint.types import Triple

_MM3_PER_ML = 1000.0


@dataclass(frozen=True)
class ClassMeasure:
    """One class or region in one label map.

    Attributes:
        voxels: how many.
        components: voxels of each connected component, ascending.
        centroid: in voxels; None where the class is absent.
        cover: its voxels over those of the boxes that enclose it slice by slice; 0 where it is absent.
    """

    voxels: int = 0
    components: tuple[int, ...] = ()
    centroid: Triple | None = None
    cover: float = 0.0

    def centroid_mm(self, spacing_mm: Triple) -> Triple | None:
        """The centre of mass in millimetres along the array's axes."""
        if self.centroid is None:
            return None
        z, y, x = (position * step for position, step in zip(self.centroid, spacing_mm, strict=True))
        return round(z, 3), round(y, 3), round(x, 3)

    def counted_in(self, own_mm: Triple, other_mm: Triple) -> ClassMeasure:
        """The same sizes in voxels of another spacing, rounded up; without a place, since axes may be others too."""
        ratio = float(np.prod(own_mm) / np.prod(other_mm))
        components = tuple(math.ceil(size * ratio) for size in self.components)
        return replace(self, voxels=math.ceil(self.voxels * ratio), components=components, centroid=None)

    def component_ml(self, spacing_mm: Triple) -> Triple:
        """Volumes of the smallest, the median and the largest component; zeros where the class is absent."""
        if not self.components:
            return 0.0, 0.0, 0.0
        voxel_ml = float(np.prod(spacing_mm)) / _MM3_PER_ML
        least, middle, most = self.components[0], float(np.median(self.components)), self.components[-1]
        return round(least * voxel_ml, 6), round(middle * voxel_ml, 6), round(most * voxel_ml, 6)


def measure_classes(
    label: NDArray[np.int16] | None, labels: Labels, spacing_mm: Triple = (1.0, 1.0, 1.0)
) -> list[ClassMeasure]:
    """Each class or region of an index map (z, y, x); components by 26 neighbours.

    Args:
        spacing_mm: strokes are drawn on slices across the coarsest axis, the first of equal ones.
    """
    if label is None:
        return [ClassMeasure()] * len(labels.classes)
    from scipy.ndimage import find_objects

    boxes = find_objects(label, max_label=len(labels.raw_values))
    across = int(np.argmax(spacing_mm))
    measures = []
    for item in labels.classes:
        indices = [labels.raw_values.index(value) + 1 for value in item.raw_values if value != 0]
        found = [boxes[index - 1] for index in indices if boxes[index - 1] is not None]
        measures.append(_measure_within(label, indices, found, across) if found else ClassMeasure())
    return measures


def _measure_within(
    label: NDArray[np.int16], indices: list[int], boxes: list[tuple[slice, ...]], across: int
) -> ClassMeasure:
    """Of the union of ``indices``, looked for only inside their boxes."""
    import cc3d

    union = tuple(
        slice(min(box[axis].start for box in boxes), max(box[axis].stop for box in boxes)) for axis in range(label.ndim)
    )
    part = label[union]
    mask = part == indices[0] if len(indices) == 1 else np.isin(part, indices)
    connected = cc3d.connected_components(np.ascontiguousarray(mask), connectivity=26)
    sizes = np.sort(np.bincount(connected.reshape(-1))[1:])
    z, y, x = (_mean_position(mask, axis) + union[axis].start for axis in range(3))
    voxels = int(np.count_nonzero(mask))
    enclosing = _boxes_slice_by_slice(np.moveaxis(mask, across, 0))
    return ClassMeasure(voxels, tuple(int(size) for size in sizes), (z, y, x), round(voxels / enclosing, 6))


def _boxes_slice_by_slice(mask: NDArray[np.bool_]) -> int:
    """Voxels of the smallest boxes that hold what is marked on each slice (slice, row, column)."""
    return int((_spans(mask.any(axis=1)) * _spans(mask.any(axis=2))).sum())


def _spans(lines: Any) -> NDArray[np.int64]:
    """Per line (line, place) from the first to the last that is marked, both counted; 0 where none is."""
    span = lines.shape[1] - lines.argmax(axis=1) - lines[:, ::-1].argmax(axis=1)
    return np.where(lines.any(axis=1), span, 0).astype(np.int64)


def _mean_position(mask: NDArray[np.bool_], axis: int) -> float:
    """Centre of mass of ``mask`` along one axis, in voxels."""
    weights = np.count_nonzero(mask, axis=tuple(other for other in range(mask.ndim) if other != axis))
    return float(weights @ np.arange(len(weights)) / weights.sum())
