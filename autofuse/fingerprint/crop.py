"""Where a case's images hold anything at all. Preprocessing crops by the same rule that the fingerprint measures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from autofuse.alignment.field_of_view import occupied_box
from autofuse.dataset.grids import same_grid

if TYPE_CHECKING:
    from autofuse.alignment.types import Rigid
    from autofuse.images.geometry import Geometry
    from autofuse.images.image import Image

Box = tuple[slice, ...]


def nonzero_box(arrays: Iterable[NDArray[Any]]) -> Box:
    """The smallest box that holds every voxel in which some array is not exactly 0: a slice per axis.

    The arrays share one shape (any number of axes). Images whose background is not 0 (CT in HU, natural images) are
    not cropped, and neither is a case that is 0 everywhere: the box is then the whole grid.

    Raises:
        ValueError: if there is no array, or their shapes differ.
    """
    shape: tuple[int, ...] | None = None
    low: list[int] = []
    high: list[int] = []
    for array in arrays:
        if shape is None:
            shape = array.shape
            low, high = list(shape), [0] * len(shape)
        elif array.shape != shape:
            raise ValueError(f"the images of a case share one grid, but {array.shape} is not {shape}")
        _widen(array, low, high)
    if shape is None:
        raise ValueError("a case without any image has no box")
    if any(last <= first for first, last in zip(low, high, strict=True)):
        return tuple(slice(0, size) for size in shape)
    return tuple(slice(first, last) for first, last in zip(low, high, strict=True))


def case_box(images: Sequence[Image | None], reference: Geometry, rigids: Sequence[Rigid | None] = ()) -> Box:
    """The smallest box of the reference grid that holds every non-zero voxel of a case's images.

    Args:
        images: at least one is there, and one lies on the reference grid.
        rigids: per image, what brings it onto the reference; none without.
    """
    moved = rigids or (None,) * len(images)
    pairs = [(image, rigid) for image, rigid in zip(images, moved, strict=True) if image is not None]
    here = [image for image, rigid in pairs if rigid is None and same_grid(image.geometry, reference)]
    boxes = [nonzero_box([image.voxels for image in here])]
    for image, rigid in pairs:
        if not any(image is other for other in here):
            box = occupied_box(image.voxels, image.geometry, reference, rigid)
            boxes += [box] if box is not None else []
    return tuple(
        slice(min(part.start for part in parts), max(part.stop for part in parts)) for parts in zip(*boxes, strict=True)
    )


def box_shape(box: Box) -> tuple[int, ...]:
    """Voxels per axis of ``box``."""
    return tuple(part.stop - part.start for part in box)


def _widen(array: NDArray[Any], low: list[int], high: list[int]) -> None:
    """Let ``low`` and ``high`` also hold the non-zero voxels of ``array``; scratch memory is one slice."""
    inside = np.array([bool(plane.any()) for plane in array]) if array.ndim > 1 else array != 0
    planes = np.flatnonzero(inside)
    if not planes.size:
        return
    first, last = int(planes[0]), int(planes[-1]) + 1
    low[0], high[0] = min(low[0], first), max(high[0], last)
    if array.ndim == 1:
        return
    shadow = np.zeros(array.shape[1:], dtype=bool)
    for plane in array[first:last]:
        shadow |= plane != 0
    for axis in range(shadow.ndim):
        others = tuple(other for other in range(shadow.ndim) if other != axis)
        found = np.flatnonzero(shadow.any(axis=others))
        low[axis + 1] = min(low[axis + 1], int(found[0]))
        high[axis + 1] = max(high[axis + 1], int(found[-1]) + 1)
