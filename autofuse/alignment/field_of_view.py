"""What one image sees of another one's grid: which voxels, how large a share, and the box of what is not zero."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from autofuse.alignment.types import Rigid
from autofuse.images.geometry import Geometry

Box = tuple[slice, slice, slice]

_ROUNDING_VOXELS = 1e-4
"""A centre that lies so little beyond a border lies on it: headers store single precision."""
_STRAY_VOXELS = 0.01
"""Axes that deviate by less than this over a whole image count as parallel."""
_SAMPLES = 64
"""Positions per axis at which the overlap of oblique grids is looked at."""


def index_map(geometry: Geometry, target: Geometry, rigid: Rigid | None = None) -> NDArray[np.float64]:
    """4 x 4 matrix from homogeneous array indices of ``target`` to those of ``geometry``.

    Args:
        rigid: from world positions of the target to those of the image; None where both agree.
    """
    world = target.affine() if rigid is None else rigid.affine() @ target.affine()
    matrix: NDArray[np.float64] = np.linalg.inv(geometry.affine()) @ world
    return matrix


def parallel_axes(matrix: NDArray[np.float64], shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    """Per image axis the target axis that runs along it, if every one has its own; None for oblique grids.

    Args:
        matrix: of ``index_map``; shape: of the target.
    """
    rates = np.abs(matrix[:3, :3])
    first, second, third = (int(axis) for axis in rates.argmax(axis=1))
    if {first, second, third} != {0, 1, 2}:
        return None
    stray = rates * (np.asarray(shape) - 1)
    for row, axis in enumerate((first, second, third)):
        stray[row, axis] = 0.0
    return (first, second, third) if stray.sum(axis=1).max() <= _STRAY_VOXELS else None


def covered_voxels(geometry: Geometry, target: Geometry, rigid: Rigid | None = None) -> NDArray[np.bool_]:
    """(*target.shape) bool: voxels whose centres lie in the image's field of view, its outer voxels' borders."""
    return _inside(index_map(geometry, target, rigid), geometry.shape, [np.arange(size) for size in target.shape])


def overlap(geometry: Geometry, reference: Geometry, rigid: Rigid | None = None) -> float:
    """Share of the reference grid's voxels whose centres lie in the image's field of view.

    Oblique grids are looked at in ``_SAMPLES`` positions per axis, and everywhere only if none of them is covered.
    """
    matrix = index_map(geometry, reference, rigid)
    if parallel_axes(matrix, reference.shape) is not None:
        shares = [
            _inside(matrix, geometry.shape, _line(reference.shape, axis, geometry, matrix)).mean() for axis in range(3)
        ]
        return float(np.prod(shares))
    some = [np.unique(np.linspace(0, size - 1, min(size, _SAMPLES)).round()) for size in reference.shape]
    share = float(_inside(matrix, geometry.shape, some).mean())
    return share or float(covered_voxels(geometry, reference, rigid).mean())


def occupied_box(voxels: NDArray[Any], geometry: Geometry, target: Geometry, rigid: Rigid | None = None) -> Box | None:
    """The smallest box of target voxels whose centres may lie in non-zero voxels of an image; None without any.

    A map between grids takes rows to rows: the first and last non-zero voxel of each row decide.
    """
    rows = voxels != 0
    filled = rows.any(axis=2)
    z, y = np.nonzero(filled)
    if not len(z):
        return None
    first, last = rows[z, y].argmax(axis=1), rows.shape[2] - 1 - rows[z, y, ::-1].argmax(axis=1)
    ends = np.concatenate([np.stack([z, y, x, np.ones_like(x)]) for x in (first, last)], axis=1)
    matrix = np.linalg.inv(index_map(geometry, target, rigid))
    centres = (matrix @ ends)[:3]
    half = 0.5 * np.abs(matrix[:3, :3]).sum(axis=1)
    low = np.ceil(centres.min(axis=1) - half - _ROUNDING_VOXELS).astype(int).clip(0)
    high = (np.floor(centres.max(axis=1) + half + _ROUNDING_VOXELS).astype(int) + 1).clip(max=target.shape)
    if (high <= low).any():
        return None
    first_axis, second_axis, third_axis = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return first_axis, second_axis, third_axis


def extent_in_words(geometry: Geometry) -> str:
    """The box in the world that holds the field of view: from where to where along x, y and z, in mm (LPS)."""
    corners = np.array([[z, y, x, 1] for z in (0, 1) for y in (0, 1) for x in (0, 1)], dtype=float)
    corners[:, :3] = corners[:, :3] * geometry.shape - 0.5
    places = (corners @ geometry.affine().T)[:, :3]
    spans = zip("xyz", places.min(axis=0), places.max(axis=0), strict=True)
    return ", ".join(f"{name} {low:.0f} to {high:.0f}" for name, low, high in spans) + " mm"


def _inside(matrix: NDArray[np.float64], shape: tuple[int, ...], positions: list[NDArray[Any]]) -> NDArray[np.bool_]:
    """Whether the target indices that ``positions`` span, one list an axis, lie in an image of ``shape``."""
    first, second, third = positions
    inside = np.ones((len(first), len(second), len(third)), dtype=np.bool_)
    for row, size in zip(matrix[:3], shape, strict=True):
        plane = row[1] * second[:, None] + row[2] * third[None, :] + row[3]
        low, high = -0.5 - _ROUNDING_VOXELS, size - 0.5 + _ROUNDING_VOXELS
        for number, place in enumerate(first):
            index = plane + row[0] * place
            inside[number] &= (index >= low) & (index <= high)
    return inside


def _line(shape: tuple[int, ...], axis: int, geometry: Geometry, matrix: NDArray[np.float64]) -> list[NDArray[Any]]:
    """Positions along one target axis, the other two where the image's centre is: for grids with parallel axes."""
    centre = np.linalg.solve(matrix, [*((np.asarray(geometry.shape) - 1) / 2), 1.0])[:3]
    return [np.arange(size) if other == axis else centre[other : other + 1] for other, size in enumerate(shape)]
