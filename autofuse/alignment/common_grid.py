"""Two images on one isotropic grid that both see, as coarse as is wanted."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autofuse.alignment.field_of_view import covered_voxels, index_map, parallel_axes
from autofuse.alignment.types import Rigid
from autofuse.images.geometry import Geometry

BACKGROUND_SHARE = 0.05
"""A single value that so many voxels have is a background: air that was set to a constant, or a stripped skull."""
FEWEST_ALONG = 4
"""Along an axis with fewer samples than this nothing is shifted: a single slice, a thin slab."""
_LOOKED_AT = 1 << 16
_COUNTS = 0.5
"""A sample counts if more than this of the voxels around it do."""

Vector = NDArray[np.float64]
Box = tuple[Vector, Vector]
"""Lower and upper corner, mm along the fixed image's axes from the centre of its first voxel."""


@dataclass(frozen=True)
class View:
    """An image as it is sampled.

    Attributes:
        voxels: (z, y, x); the background's value is subtracted, so that it is exactly 0.
        geometry: where they lie.
        background: whether there is a constant one.
        rigid: from world positions of the common grid to those of the image.
        inside: near 1 where voxels count, or None for all.
    """

    voxels: NDArray[np.float32]
    geometry: Geometry
    background: bool
    rigid: Rigid | None = None
    inside: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Window:
    """Samples along the axes of an image: at start_mm + step_mm * index from the centre of its first voxel.

    Attributes:
        along: that image's geometry.
        counts: samples per axis.
    """

    along: Geometry
    start_mm: Vector
    step_mm: float
    counts: tuple[int, int, int]

    @property
    def centre_mm(self) -> Vector:
        """Its middle."""
        return self.start_mm + self.step_mm * (np.asarray(self.counts) - 1) / 2

    def widened(self, by: tuple[int, ...]) -> Window:
        """With ``by`` more samples at either end of each axis."""
        z, y, x = (count + 2 * more for count, more in zip(self.counts, by, strict=True))
        return replace(self, start_mm=self.start_mm - self.step_mm * np.asarray(by), counts=(z, y, x))

    def moved(self, by_mm: Vector) -> Window:
        """As many samples elsewhere."""
        return replace(self, start_mm=self.start_mm + by_mm)

    def geometry(self) -> Geometry:
        """The samples as a grid."""
        origin = np.asarray(self.along.origin_mm) + np.asarray(self.along.direction) @ self.start_mm
        x, y, z = (float(part) for part in origin)
        return Geometry(self.counts, (self.step_mm,) * 3, (x, y, z), self.along.direction)


def view(
    voxels: NDArray[Any],
    geometry: Geometry,
    step_mm: float,
    rigid: Rigid | None = None,
    inside: NDArray[np.bool_] | None = None,
) -> View:
    """The image averaged over blocks that are no longer than ``step_mm``, so that sampling it there hides nothing."""
    factors = tuple(
        max(1, min(int(step_mm / spacing + 1e-6), count))
        for spacing, count in zip(geometry.spacing_mm, geometry.shape, strict=True)
    )
    constant = background_value(voxels)
    reduced = block_mean(voxels, factors, constant or 0.0)
    counted = None if inside is None else block_mean(inside, factors, 0.0)
    return View(reduced, _blocks(geometry, factors), constant is not None, rigid, counted)


def _blocks(geometry: Geometry, factors: tuple[int, ...]) -> Geometry:
    """The grid of blocks of ``factors`` voxels."""
    middle = [(factor - 1) / 2 for factor in factors]
    x, y, z = (float(part) for part in (geometry.affine() @ [*middle, 1.0])[:3])
    counts = [count // factor for count, factor in zip(geometry.shape, factors, strict=True)]
    steps = [spacing * factor for spacing, factor in zip(geometry.spacing_mm, factors, strict=True)]
    return Geometry((counts[0], counts[1], counts[2]), (steps[0], steps[1], steps[2]), (x, y, z), geometry.direction)


def background_value(voxels: NDArray[Any]) -> float | None:
    """The most frequent value, if it is frequent enough to be a background."""
    looked_at = voxels.reshape(-1)[:: max(1, voxels.size // _LOOKED_AT)]
    values, counts = np.unique(looked_at, return_counts=True)
    most = int(counts.argmax())
    return float(values[most]) if counts[most] >= BACKGROUND_SHARE * looked_at.size else None


def block_mean(voxels: NDArray[Any], factors: tuple[int, ...], offset: float) -> NDArray[np.float32]:
    """Means over blocks of ``factors`` voxels, less ``offset``; an incomplete last block is left out."""
    out = voxels
    for axis, factor in enumerate(factors):
        if factor > 1:
            whole = out.shape[axis] // factor * factor
            parts = [
                out[tuple(slice(start, whole, factor) if k == axis else slice(None) for k in range(3))]
                for start in range(factor)
            ]
            total = parts[0].astype(np.float32) - np.float32(offset)
            for part in parts[1:]:
                total += part
                total -= np.float32(offset)
            out, offset = total / np.float32(factor), 0.0
    shifted: NDArray[np.float32] = np.subtract(out, np.float32(offset), dtype=np.float32)
    return shifted


def sample(seen: View, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Values of the image at ``window``, trilinear, and where it sees anything."""
    from scipy.ndimage import affine_transform

    target = window.geometry()
    matrix = index_map(seen.geometry, target, seen.rigid)
    turn: NDArray[np.float64] = matrix[:3, :3]
    if parallel_axes(matrix, target.shape) == (0, 1, 2):
        # One number per axis takes a faster way through scipy.
        turn = np.diag(turn)
    how: dict[str, Any] = {"offset": matrix[:3, 3], "output_shape": target.shape, "order": 1, "mode": "nearest"}
    values = affine_transform(seen.voxels, turn, **how)
    covered = covered_voxels(seen.geometry, target, seen.rigid)
    if seen.inside is not None:
        covered &= affine_transform(seen.inside, turn, **how) > _COUNTS
    return values, covered


def without_rim(values: NDArray[np.float32], seen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where neither a sample nor one beside it is background: on the rim, samples are mixed with background."""
    from scipy.ndimage import minimum_filter

    return np.asarray(minimum_filter(seen & (values != 0), size=3, mode="nearest"), bool)


def shared_box(fixed: Geometry, moving: Geometry, rigid: Rigid | None = None) -> Box | None:
    """A box that holds all that both images see; None if there is nothing.

    A moving image whose axes are oblique to the fixed one's is taken by its enclosing box. Across an image of a single
    slice the box has no extent: nothing is known of how far the slice lies off along there.
    """
    low, high = _extent(fixed, fixed, None)
    other_low, other_high = _extent(moving, fixed, rigid)
    low, high = np.maximum(low, other_low), np.minimum(high, other_high)
    if not bool((high > low).all()):
        return None
    flat = _slice_normals(fixed, fixed, None) | _slice_normals(moving, fixed, rigid)
    middle = (low + high) / 2
    return np.where(flat, middle, low), np.where(flat, middle, high)


def _slice_normals(geometry: Geometry, seen_from: Geometry, rigid: Rigid | None) -> NDArray[np.bool_]:
    """Per axis of the grid that it is seen from, whether it is the one that best fits the normal of a single slice."""
    steps = np.abs(np.linalg.inv(index_map(geometry, seen_from, rigid))[:3, :3]) * np.reshape(
        seen_from.spacing_mm, (3, 1)
    )
    flat = np.zeros(3, bool)
    for axis, count in enumerate(geometry.shape):
        flat[int(steps[:, axis].argmax())] |= count == 1
    return flat


def isotropic_step_mm(box: Box, samples: int, finest_mm: float) -> float:
    """Edge of a voxel of which ``samples`` fill the box, slices and slabs by their area; at least ``finest_mm``."""
    extent = box[1] - box[0]
    thick = extent[extent > finest_mm * FEWEST_ALONG]
    if not thick.size:
        return finest_mm
    return max(math.pow(float(thick.prod()) / samples, 1 / thick.size), finest_mm)


def window_in(along: Geometry, box: Box, step_mm: float) -> Window:
    """Samples that fill the box, centred in it; at least one along each axis."""
    counts = np.maximum(1, np.floor((box[1] - box[0]) / step_mm + 1e-6)).astype(int)
    start = (box[0] + box[1]) / 2 - step_mm * (counts - 1) / 2
    z, y, x = (int(count) for count in counts)
    return Window(along, start, step_mm, (z, y, x))


def _extent(geometry: Geometry, seen_from: Geometry, rigid: Rigid | None) -> Box:
    to_fixed = np.linalg.inv(index_map(geometry, seen_from, rigid))
    edges = [(-0.5, count - 0.5) for count in geometry.shape]
    corners = np.array([[z, y, x, 1.0] for z in edges[0] for y in edges[1] for x in edges[2]]) @ to_fixed.T
    places = corners[:, :3] * seen_from.spacing_mm
    return places.min(axis=0), places.max(axis=0)
