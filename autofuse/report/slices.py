"""The slice of a case that shows most, turned the way a radiologist looks at it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autofuse.images.geometry import Geometry

WINDOW_PERCENTILES = (0.5, 99.5)
"""Of the non-zero voxels of a slice: what becomes black and white."""

_MARGIN = 0.06
_X, _Y, _Z = 0, 1, 2


@dataclass(frozen=True)
class Cut:
    """One plane of a volume and how to turn it.

    Attributes:
        axis: array axis that is cut; position: index on it.
        turned: whether the remaining two axes are swapped; flips: of rows and columns, after that.
        box: rows and columns kept, after turning.
        pixel_mm: height and width of a pixel.
    """

    axis: int
    position: int
    turned: bool
    flips: tuple[bool, bool]
    box: tuple[slice, slice]
    pixel_mm: tuple[float, float]

    def of(self, volume: NDArray[Any]) -> NDArray[Any]:
        """The plane (rows, columns) of ``volume`` (z, y, x)."""
        return self.whole(volume)[self.box]

    def whole(self, volume: NDArray[Any]) -> NDArray[Any]:
        """The plane without the crop."""
        plane = np.take(volume, self.position, axis=self.axis)
        plane = plane.T if self.turned else plane
        turned: NDArray[Any] = plane[:: -1 if self.flips[0] else 1, :: -1 if self.flips[1] else 1]
        return turned


def best_cut(
    images: Sequence[NDArray[Any] | None],
    masks: Sequence[NDArray[Any] | None],
    geometry: Geometry,
    axis: int | None = None,
) -> Cut:
    """The plane across the coarsest axis that shows the most of every class, cropped to what is not empty.

    Args:
        images: (z, y, x) each; masks: class indices, the one to choose by first (the reference, then the prediction).
        geometry: its direction says where the patient's front and head are.
        axis: the array axis to cut across instead of the coarsest one.
    """
    axis = int(np.argmax(np.round(geometry.spacing_mm, 3))) if axis is None else axis
    chosen_by = next((mask for mask in masks if mask is not None and (mask > 0).any()), None)
    position = geometry.shape[axis] // 2 if chosen_by is None else richest_slice(chosen_by, axis)
    cut = _turned(axis, position, geometry)
    shown = np.zeros(cut.whole(np.empty(geometry.shape, dtype=np.bool_)).shape, dtype=np.bool_)
    for image in images:
        if image is not None:
            plane = cut.whole(image)
            shown |= plane >= plane.min() + 0.02 * (float(np.percentile(plane, 99.5)) - plane.min())
    for mask in masks:
        if mask is not None:
            shown |= cut.whole(mask) > 0
    return Cut(cut.axis, cut.position, cut.turned, cut.flips, _padded_box(shown), cut.pixel_mm)


def richest_slice(mask: NDArray[Any], axis: int) -> int:
    """Position on ``axis`` where the classes together show most; a small class counts as much as a large one."""
    others = tuple(other for other in range(3) if other != axis)
    total = np.zeros(mask.shape[axis])
    for value in range(1, int(mask.max()) + 1):
        area = (mask == value).sum(axis=others)
        if area.any():
            total += area / area.max()
    return int(total.argmax())


def windowed(plane: NDArray[Any]) -> NDArray[np.uint8]:
    """Grey values: the middle of the non-zero intensities between black and white."""
    values = plane.astype(np.float32)
    inside = values[values != 0]
    if not inside.size:
        return np.zeros(values.shape, dtype=np.uint8)
    low, high = np.percentile(inside, WINDOW_PERCENTILES)
    low = min(low, 0.0) if low < 0 else low * 0.5
    scaled = (values - low) / max(high - low, 1e-6)
    grey: NDArray[np.uint8] = (scaled.clip(0, 1) * 255).astype(np.uint8)
    return grey


def close_up(cut: Cut, masks: Sequence[NDArray[Any] | None], share: float = 0.7) -> Cut | None:
    """The same plane around the masks, where they take less than ``share`` of its height and width; else None."""
    seen = [cut.whole(mask) > 0 for mask in masks if mask is not None]
    if not seen or not np.any(seen):
        return None
    hit = np.any(seen, axis=0)
    rows, columns = _padded_box(hit, margin=0.25)
    kept = [part.stop - part.start for part in cut.box]
    side_mm = max((rows.stop - rows.start) * cut.pixel_mm[0], (columns.stop - columns.start) * cut.pixel_mm[1])
    sizes = [max(8, round(side_mm / mm)) for mm in cut.pixel_mm]
    if sizes[0] > share * kept[0] or sizes[1] > share * kept[1]:
        return None
    box = tuple(
        _centred(part, size, whole) for part, size, whole in zip((rows, columns), sizes, hit.shape, strict=True)
    )
    return Cut(cut.axis, cut.position, cut.turned, cut.flips, (box[0], box[1]), cut.pixel_mm)


def _turned(axis: int, position: int, geometry: Geometry) -> Cut:
    """Rows run towards the feet (or the back in an axial plane), columns towards the patient's left (or the back)."""
    direction = np.asarray(geometry.direction)
    first, second = (other for other in range(3) if other != axis)
    world = {array: int(np.abs(direction[:, array]).argmax()) for array in (first, second)}
    # The row axis is the one along z; in an axial plane the one along y.
    turned = world[second] > world[first]
    row, column = (second, first) if turned else (first, second)
    towards_feet = direction[_Z, row] < 0 if world[row] == _Z else direction[world[row], row] > 0
    towards_left_or_back = direction[world[column], column] > 0
    return Cut(
        axis=axis,
        position=position,
        turned=turned,
        flips=(not towards_feet, not towards_left_or_back),
        box=(slice(None), slice(None)),
        pixel_mm=(geometry.spacing_mm[row], geometry.spacing_mm[column]),
    )


def _padded_box(hit: NDArray[np.bool_], margin: float = _MARGIN) -> tuple[slice, slice]:
    if not hit.any():
        return slice(0, hit.shape[0]), slice(0, hit.shape[1])
    parts = []
    for axis in range(2):
        where = np.flatnonzero(hit.any(axis=1 - axis))
        room = max(1, round(margin * (where[-1] + 1 - where[0])))
        parts.append(slice(max(0, int(where[0]) - room), min(hit.shape[axis], int(where[-1]) + 1 + room)))
    return parts[0], parts[1]


def _centred(part: slice, size: int, whole: int) -> slice:
    size = min(size, whole)
    start = min(max(0, (part.start + part.stop - size) // 2), whole - size)
    return slice(start, start + size)
