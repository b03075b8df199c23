"""Fusions that need no training: pixel maximum, mean, Laplacian pyramid, and each source alone. What they score is the
bar for every other one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autofuse.evaluation.fusion.greys import Unit, require_alike, slices

MOST_LEVELS = 4
SMALLEST_BASE = 8
"""A pyramid ends before a side of its base would be shorter."""
_KERNEL = np.array([1, 4, 6, 4, 1]) / 16
COPY = "copy of "

Pixels = NDArray[np.floating[Any]]


def trivial_fusions(sources: Mapping[str, Unit], slice_axis: int = 0) -> dict[str, Unit]:
    """Every trivial fusion of the sources by name, in [0, 1]; the pyramid is made within slices.

    Args:
        sources: by modality, images in [0, 1] of one shape.
    """
    images = list(sources.values())
    require_alike(images)
    pyramid = np.empty_like(images[0])
    planes = pyramid[None] if pyramid.ndim == 2 else np.moveaxis(pyramid, slice_axis, 0)
    for plane, *owns in zip(planes, *(slices(image, slice_axis) for image in images), strict=True):
        plane[...] = laplacian_pyramid(owns).clip(0, 1)
    copies = {f"{COPY}{name}": image for name, image in sources.items()}
    return {"maximum": maximum(images), "mean": mean(images), "laplacian pyramid": pyramid, **copies}


def maximum(sources: Sequence[Unit]) -> Pixels:
    """The largest value of each voxel."""
    require_alike(sources)
    return np.asarray(reduce(np.maximum, sources))


def mean(sources: Sequence[Unit]) -> Pixels:
    """The mean value of each voxel."""
    require_alike(sources)
    total = reduce(np.add, (source.astype(np.float64) for source in sources))
    return np.asarray((total / len(sources)).astype(sources[0].dtype))


def laplacian_pyramid(sources: Sequence[Unit], axes: Sequence[int] | None = None, levels: int | None = None) -> Pixels:
    """The image of the strongest details of all sources on the mean of their bases; of one source that source.

    On each level of detail the coefficient that is largest in size is taken (the positive one of two that are equal);
    values may lie a little outside the sources' range.

    Args:
        axes: along which images are halved: two for slices, three for a volume; None for all.
        levels: of detail; None for as many as leave a base of at least 8 along each axis, at most 4.

    Source: Burt & Adelson 1983, doi 10.1109/TCOM.1983.1095851 (the pyramid); Burt & Kolczynski, ICCV 1993, pages
    173 to 182 (fusion by the strongest detail).
    """
    require_alike(sources)
    along = tuple(range(sources[0].ndim)) if axes is None else tuple(axes)
    depth = levels_for([sources[0].shape[axis] for axis in along]) if levels is None else levels
    stacks = [decompose(source, along, depth) for source in sources]
    details = [_strongest(level) for level in list(zip(*stacks, strict=True))[:-1]]
    base = np.mean([stack[-1] for stack in stacks], axis=0)
    return recompose([*details, base], along).astype(sources[0].dtype)


def levels_for(sides: Sequence[int]) -> int:
    """Levels of detail that leave a base of at least 8 along each side; at most 4."""
    return max(0, min(MOST_LEVELS, int(np.log2(max(1, min(sides)) / SMALLEST_BASE) + 1e-9)))


def decompose(image: Unit, axes: Sequence[int], levels: int) -> list[NDArray[np.float64]]:
    """``levels`` images of detail, the finest first, and the base; ``recompose`` gives the image back."""
    stack, rest = [], image.astype(np.float64)
    for _ in range(levels):
        smaller = _reduced(rest, axes)
        stack.append(rest - _expanded(smaller, rest.shape, axes))
        rest = smaller
    return [*stack, rest]


def recompose(stack: Sequence[NDArray[np.float64]], axes: Sequence[int]) -> NDArray[np.float64]:
    """The image whose details and base these are."""
    image = stack[-1]
    for detail in reversed(stack[:-1]):
        image = detail + _expanded(image, detail.shape, axes)
    return image


def _strongest(details: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    high, low = np.max(details, axis=0), np.min(details, axis=0)
    return np.asarray(np.where(high >= -low, high, low), np.float64)


def _reduced(image: NDArray[np.float64], axes: Sequence[int]) -> NDArray[np.float64]:
    """Smoothed, and every second voxel along each axis."""
    from scipy.ndimage import correlate1d

    for axis in axes:
        image = correlate1d(image, _KERNEL, axis=axis, mode="mirror")
        image = image[tuple(slice(None, None, 2) if k == axis else slice(None) for k in range(image.ndim))]
    return image


def _expanded(image: NDArray[np.float64], shape: Sequence[int], axes: Sequence[int]) -> NDArray[np.float64]:
    """Twice as large along each axis, to ``shape``: zeros put between voxels, then smoothed."""
    from scipy.ndimage import correlate1d

    for axis in axes:
        wider = np.zeros([shape[k] if k == axis else size for k, size in enumerate(image.shape)])
        wider[tuple(slice(None, None, 2) if k == axis else slice(None) for k in range(image.ndim))] = image
        image = correlate1d(wider, 2 * _KERNEL, axis=axis, mode="mirror")
    return image
