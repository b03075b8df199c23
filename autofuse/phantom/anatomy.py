"""Random anatomy: a body with an organ, a vessel and lesions, ellipsoids and a tube bent by a smooth random warp.

Everything is described in coordinates q that run from -1 to 1 across the field of view, and is bent by a displacement
that is a sum of low cosines. It can be evaluated at any point, so a shifted image is exact, not interpolated.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autofuse.phantom.options import STRUCTURES, PhantomOptions

AIR, BODY = 0, 1
TISSUES = ("air", "body", *STRUCTURES)
"""Values of a tissue map; a structure's label is its tissue value less one."""

_WARP_ORDERS = 4
_WARP_SIZE = 0.05
_FRAME_CHANGE = 0.35
_BODY_RADII = (0.92, 0.85, 0.88)
_SMALLEST_RADIUS_VOXELS = 1.5

Array = NDArray[np.floating[Any]]
"""Fields are float32; a few coordinates and coefficients float64."""


@dataclass(frozen=True)
class Ellipsoid:
    """Centre and radii in q, axes z, y, x."""

    centre: tuple[float, ...]
    radii: tuple[float, ...]


@dataclass(frozen=True)
class Anatomy:
    """One person: where everything is, before warping; ``warp`` (3, k, k, k) are the displacement's coefficients."""

    warp: Array
    organ: Ellipsoid
    vessel: Ellipsoid
    vessel_bend: float
    lesions: tuple[Ellipsoid, ...]


def random_anatomy(random: np.random.Generator, options: PhantomOptions) -> Anatomy:
    """A person; nothing is smaller than the grid can show."""
    smallest = _SMALLEST_RADIUS_VOXELS * 2 / np.asarray(options.grid)
    flat = options.dimensions == 2
    organ = Ellipsoid(_near(random, (0.0, 0.05, -0.25), 0.1, flat), tuple(random.uniform(0.32, 0.42, 3)))
    radius = np.maximum(random.uniform(0.09, 0.12), smallest)
    vessel = Ellipsoid(_near(random, (0.0, 0.1, 0.4), 0.06, flat), tuple(radius))
    bend = 0.0 if flat else float(random.uniform(-0.15, 0.15))
    lesions = []
    for _ in range(int(random.integers(1, 4))):
        radii = np.maximum(random.uniform(0.12, 0.2, 3), smallest)
        lesions.append(_free_place(random, radii, organ, vessel, bend, flat))
    return Anatomy(_coefficients(random, 3) * _WARP_SIZE, organ, vessel, bend, tuple(lesions))


def next_frame(anatomy: Anatomy, random: np.random.Generator) -> Anatomy:
    """The same person a moment later: moved a little, the organ swollen or shrunk."""
    radii = tuple(np.multiply(anatomy.organ.radii, random.uniform(0.9, 1.1)))
    warp = anatomy.warp + _coefficients(random, 3) * _WARP_SIZE * _FRAME_CHANGE
    return replace(anatomy, warp=warp, organ=replace(anatomy.organ, radii=radii))


def tissue_map(
    anatomy: Anatomy, options: PhantomOptions, shift_mm: tuple[float, ...], rotation: Array | None = None
) -> NDArray[np.uint8]:
    """Tissue of every voxel, (z, y, x), values as in ``TISSUES``.

    Everything is rotated about the centre of the field of view (``rotation``: 3 x 3, axes z, y, x), then moved by
    ``shift_mm`` (z, y, x).
    """
    if rotation is None:
        points = _points(options, shift_mm)
        z, y, x = (axis + smooth_field(part, points) for axis, part in zip(_mesh(points), anatomy.warp, strict=True))
    else:
        places = _rotated_points(options, shift_mm, rotation)
        z, y, x = (axis + _field_at(part, places) for axis, part in zip(places, anatomy.warp, strict=True))
    tissue = np.zeros(options.grid, np.uint8)
    body = _level((z, y, x), Ellipsoid((0.0, 0.0, 0.0), _BODY_RADII)) < 1
    tissue[body] = BODY
    tissue[body & (_level((z, y, x), anatomy.organ) < 1)] = TISSUES.index("organ")
    tissue[body & (_tube_level((z, y, x), anatomy.vessel, anatomy.vessel_bend) < 1)] = TISSUES.index("vessel")
    for lesion in anatomy.lesions:
        # A lesion hides in plain body only, so that no other structure's contrast gives it away.
        tissue[(tissue == BODY) & (_level((z, y, x), lesion) < 1)] = TISSUES.index("lesion")
    return tissue


def smooth_field(coefficients: Array, points: tuple[Array, ...]) -> Array:
    """A sum of low cosines at the grid of ``points`` (one coordinate array in [-1, 1] per axis): (z, y, x)."""
    field = coefficients.astype(np.float32)
    for coordinates in points:
        orders = np.arange(field.shape[0])
        basis = np.cos(np.pi * orders * (coordinates[:, None] + 1) / 2).astype(np.float32)
        # Each contraction takes the first axis and puts the new one last, so three restore the order.
        field = np.tensordot(field, basis, axes=(0, 1))
    return field


def random_field(random: np.random.Generator, options: PhantomOptions, orders: int = _WARP_ORDERS) -> Array:
    """A smooth random field over the image, (z, y, x), standard deviation about 1."""
    return smooth_field(_coefficients(random, 1, orders)[0], _points(options, (0.0, 0.0, 0.0)))


def random_warp(random: np.random.Generator, options: PhantomOptions, size_mm: float) -> Array:
    """Coefficients (3, k, k, k) of a warp whose standard deviation is about ``size_mm`` along each axis that has more
    than one voxel."""
    warp = _coefficients(random, 3)
    for axis, (count, step) in enumerate(zip(options.grid, options.spacing_mm, strict=True)):
        warp[axis] *= 2 * size_mm / (count * step) if count > 1 else 0.0
    return warp


def _coefficients(random: np.random.Generator, fields: int, orders: int = _WARP_ORDERS) -> Array:
    """Random cosine coefficients (fields, k, k, k), scaled so that a field's standard deviation is about 1."""
    coefficients = random.standard_normal((fields, orders, orders, orders))
    coefficients[:, 0, 0, 0] = 0
    half = np.where(np.arange(orders) == 0, 1.0, 0.5)
    power = (half[:, None, None] * half[None, :, None] * half[None, None, :]).sum() - 1
    return np.asarray(coefficients / np.sqrt(power))


def _points(options: PhantomOptions, shift_mm: tuple[float, ...]) -> tuple[Array, ...]:
    """Coordinates q of the voxel centres along each axis, as seen from the unshifted anatomy."""
    return tuple(
        np.asarray(2 * ((np.arange(count) + 0.5) * step - shift) / (count * step) - 1)
        for count, step, shift in zip(options.grid, options.spacing_mm, shift_mm, strict=True)
    )


def _rotated_points(options: PhantomOptions, shift_mm: tuple[float, ...], rotation: Array) -> Array:
    """Coordinates q (3, z, y, x) of all voxel centres, as seen from the anatomy before it was moved."""
    extent = np.multiply(options.grid, options.spacing_mm)
    places = np.stack(np.broadcast_arrays(*_mesh(_points(options, shift_mm))))
    # A rotation is one in millimetres, not in q, whose unit is half the field of view along each axis.
    matrix = (rotation.T * (extent[None, :] / extent[:, None])).astype(np.float32)
    return np.asarray(np.einsum("ij,jzyx->izyx", matrix, places))


def _field_at(coefficients: Array, places: Array) -> Array:
    """``smooth_field`` at points in no order: ``places`` (3, z, y, x) in q."""
    orders = np.arange(coefficients.shape[0])[:, None]
    basis = [np.cos(np.pi * orders * (axis.reshape(1, -1) + 1) / 2).astype(np.float32) for axis in places]
    field = np.einsum("kln,ln->kn", np.einsum("klm,mn->kln", coefficients.astype(np.float32), basis[2]), basis[1])
    return np.asarray((field * basis[0]).sum(axis=0).reshape(places.shape[1:]))


def _mesh(points: tuple[Array, ...]) -> tuple[Array, ...]:
    z, y, x = (axis.astype(np.float32) for axis in points)
    return z[:, None, None], y[None, :, None], x[None, None, :]


def _level(place: tuple[Array | float, ...], shape: Ellipsoid) -> Array:
    """Below 1 inside the ellipsoid."""
    parts = [((q - c) / r) ** 2 for q, c, r in zip(place, shape.centre, shape.radii, strict=True)]
    return np.asarray(parts[0] + parts[1] + parts[2])


def _tube_level(place: tuple[Array | float, ...], shape: Ellipsoid, bend: float) -> Array:
    """Below 1 inside a bent tube along z."""
    z, y, x = place
    middle = shape.centre[1] + bend * np.sin(2 * np.pi * np.asarray(z) / 1.7)
    return np.asarray(((y - middle) / shape.radii[1]) ** 2 + ((x - shape.centre[2]) / shape.radii[2]) ** 2)


def _near(random: np.random.Generator, centre: tuple[float, ...], spread: float, flat: bool) -> tuple[float, ...]:
    place = np.asarray(centre) + random.uniform(-spread, spread, 3)
    return (0.0 if flat else float(place[0]), float(place[1]), float(place[2]))


def _free_place(
    random: np.random.Generator, radii: Array, organ: Ellipsoid, vessel: Ellipsoid, bend: float, flat: bool
) -> Ellipsoid:
    """A lesion well inside the body and as clear of organ and vessel as a few tries find."""
    best: tuple[float, ...] = ()
    clearance = -np.inf
    for _ in range(40):
        place = _near(random, (0.0, 0.0, 0.0), 0.55, flat)
        wide = Ellipsoid(organ.centre, tuple(np.add(organ.radii, radii)))
        tube = Ellipsoid(vessel.centre, tuple(np.add(vessel.radii, radii)))
        inner = Ellipsoid((0.0, 0.0, 0.0), tuple(np.subtract(_BODY_RADII, np.minimum(radii, 0.3))))
        room = min(_level(place, wide) - 1, _tube_level(place, tube, bend) - 1, 1 - _level(place, inner))
        if room > clearance:
            best, clearance = place, float(room)
        if clearance > 0.05:
            break
    return Ellipsoid(best, tuple(float(radius) for radius in radii))
