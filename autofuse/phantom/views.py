"""How each modality looks at the patient: how the patient lay meanwhile, and the grid that the image is stored on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autofuse.alignment.types import Rigid
from autofuse.images.geometry import Geometry
from autofuse.phantom.anatomy import random_warp
from autofuse.phantom.options import PhantomOptions

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class View:
    """One modality of one case.

    Attributes:
        shift_mm: of the anatomy, (z, y, x).
        rotation: of the anatomy about the centre of the field of view, before the shift, axes z, y, x; None for none.
        start: where the field of view begins along the narrowed axis, as a share of what was left out.
        own: whether the image lies on a grid of its own.
        warp: cosine coefficients (3, k, k, k) by which the anatomy is bent beside its own; None for none.
    """

    shift_mm: Vector = (0.0, 0.0, 0.0)
    rotation: NDArray[np.float64] | None = None
    start: float = 0.0
    own: bool = False
    warp: NDArray[np.floating[Any]] | None = None


def draw_views(random: np.random.Generator, shifts: list[Vector], options: PhantomOptions) -> list[View]:
    """One view a modality; the first is always the plain one."""
    # A stream of its own: what else is random in a case does not depend on these options.
    (stream,) = random.spawn(1)
    views = [View()]
    for shift in shifts[1:]:
        axis, share, start = stream.standard_normal(3), float(stream.random()), float(stream.random())
        turned = share * options.rotated_degrees
        rotation = _rotation(axis, turned, flat=options.dimensions == 2) if turned else None
        warp = random_warp(stream, options, options.warped_mm) if options.warped_mm else None
        views.append(View(shift, rotation, start, options.own_grids, warp))
    return views


def whole_grid(options: PhantomOptions) -> Geometry:
    """The grid of the first modality and of the labels, about the origin of the world."""
    z, y, x = (-count * step / 2 for count, step in zip(options.grid, options.spacing_mm, strict=True))
    return Geometry(options.grid, options.spacing_mm, origin_mm=(x, y, z))


def as_stored(image: NDArray[np.int16], view: View, options: PhantomOptions) -> tuple[NDArray[np.int16], Geometry]:
    """What is stored of an image on the whole grid, and where it lies: narrowed, coarsened, turned."""
    geometry = whole_grid(options)
    if not view.own:
        return image, geometry
    image, geometry = _coarsened(*_narrowed(image, geometry, view.start, options), options.coarse)
    return _turned(image, geometry) if options.turned else (image, geometry)


def rigid_of(view: View, options: PhantomOptions) -> Rigid:
    """What brings the modality onto the first one, in world axes x, y, z."""
    rotation = np.eye(3) if view.rotation is None else view.rotation[::-1, ::-1]
    geometry = whole_grid(options)
    middle = geometry.affine() @ np.array([*((np.asarray(options.grid) - 1) / 2), 1.0])
    z, y, x = (float(part) for part in view.shift_mm)
    return Rigid(rotation=_rows(rotation), centre_mm=_triple(middle[:3]), shift_mm=(x, y, z))


def _rotation(axis: NDArray[np.float64], degrees: float, *, flat: bool) -> NDArray[np.float64]:
    """Rodrigues' formula; about the first axis where the image is a single slice."""
    unit = np.array([1.0, 0.0, 0.0]) if flat else axis / np.linalg.norm(axis)
    cross = np.cross(np.eye(3), unit)
    angle = np.radians(degrees)
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)


def _narrowed(
    image: NDArray[np.int16], geometry: Geometry, start: float, options: PhantomOptions
) -> tuple[NDArray[np.int16], Geometry]:
    axis = next(index for index, count in enumerate(geometry.shape) if count > 1)
    whole = geometry.shape[axis]
    kept = max(1, round(options.narrow * whole))
    first = round(start * (whole - kept))
    part = np.take(image, range(first, first + kept), axis)
    return part, _placed(geometry, part.shape, geometry.spacing_mm, _along(axis, first))


def _coarsened(image: NDArray[np.int16], geometry: Geometry, factor: float) -> tuple[NDArray[np.int16], Geometry]:
    """Every voxel the mean of those that it replaces; air stays exactly 0 where it takes up half of them."""
    body, mean = (image > 0).astype(np.float64), image.astype(np.float64)
    spacing, offset = list(geometry.spacing_mm), np.zeros(3)
    for axis, count in enumerate(image.shape):
        if count > 1:
            weights = _overlaps(count, max(1, round(count / factor)))
            body, mean = (np.moveaxis(np.tensordot(weights, part, (1, axis)), 0, axis) for part in (body, mean))
            spacing[axis] *= count / len(weights)
            offset[axis] = (count / len(weights) - 1) / 2
    coarse = np.where(body > 0.5, np.clip(np.rint(mean), 1, 32767), 0).astype(np.int16)
    return coarse, _placed(geometry, coarse.shape, _triple(spacing), offset)


def _overlaps(fine: int, coarse: int) -> NDArray[np.float64]:
    """(coarse, fine): the share of each coarse voxel that each fine one takes up."""
    edges = np.linspace(0, fine, coarse + 1)
    low, high = edges[:-1, None], edges[1:, None]
    cells = np.arange(fine)
    return np.asarray(np.clip(np.minimum(high, cells + 1) - np.maximum(low, cells), 0, None) * coarse / fine)


def _turned(image: NDArray[np.int16], geometry: Geometry) -> tuple[NDArray[np.int16], Geometry]:
    """The same image with x first and from the other side, then z and y; single slices: x and y swapped."""
    order = (0, 2, 1) if image.shape[0] == 1 else (2, 0, 1)
    backwards = order.index(2)
    direction = np.asarray(geometry.direction)[:, order]
    direction[:, backwards] *= -1
    last = _along(2, geometry.shape[2] - 1)
    moved = _placed(geometry, geometry.shape, geometry.spacing_mm, last)
    stored = np.ascontiguousarray(np.flip(image.transpose(order), backwards))
    spacing = _triple([geometry.spacing_mm[axis] for axis in order])
    # + 0.0 turns -0.0 into 0.0
    return stored, Geometry(_shape(stored.shape), spacing, moved.origin_mm, _rows(direction + 0.0))


def _placed(geometry: Geometry, shape: tuple[int, ...], spacing: Vector, index: Any) -> Geometry:
    """A grid along the same axes whose first voxel's centre lies at ``index`` of ``geometry``."""
    origin = (geometry.affine() @ np.array([*index, 1.0]))[:3]
    return Geometry(_shape(shape), spacing, _triple(origin), geometry.direction)


def _along(axis: int, steps: float) -> NDArray[np.float64]:
    place = np.zeros(3)
    place[axis] = steps
    return place


def _shape(values: tuple[int, ...]) -> tuple[int, int, int]:
    first, second, third = values
    return first, second, third


def _triple(values: Any) -> Vector:
    first, second, third = (float(value) for value in values)
    return first, second, third


def _rows(matrix: NDArray[np.float64]) -> tuple[Vector, Vector, Vector]:
    return _triple(matrix[0]), _triple(matrix[1]), _triple(matrix[2])
