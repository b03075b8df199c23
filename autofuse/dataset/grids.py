"""Whether two images of a case lie on one grid, and their grids in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autofuse.images.geometry import Geometry

SILENT_GAP = 1e-3
"""Corners of two grids may lie this many voxels apart; headers store single precision."""
TOLERATED_GAP = 0.1
"""Up to this many voxels apart, the grids are taken for one, and that is said."""

_LETTERS = (("R", "L"), ("A", "P"), ("I", "S"))


def grid_gap(one: Geometry, other: Geometry) -> float:
    """Largest distance between corresponding corners of two grids of one shape, in voxels of the finest axis."""
    corners = np.array([[z, y, x, 1] for z in (0, 1) for y in (0, 1) for x in (0, 1)], dtype=float)
    corners[:, :3] *= np.asarray(one.shape) - 1
    gap = (corners @ (one.affine() - other.affine()).T)[:, :3]
    # One-slice images have all corners in a plane; the direction and spacing across it must agree as well.
    across = (one.affine() - other.affine())[:3, :3].T
    largest = max(np.linalg.norm(gap, axis=1).max(), np.linalg.norm(across, axis=1).max())
    return float(largest / min(*one.spacing_mm, *other.spacing_mm))


def same_grid(one: Geometry, other: Geometry) -> bool:
    """Whether two grids are taken for one: of one shape, their corners at most ``TOLERATED_GAP`` voxels apart."""
    return one.shape == other.shape and grid_gap(one, other) <= TOLERATED_GAP


def on_one_grid(geometries: Sequence[Geometry | None]) -> bool:
    """Whether all images that are there share one grid."""
    present = [geometry for geometry in geometries if geometry is not None]
    return all(same_grid(geometry, present[0]) for geometry in present[1:])


def reference_channel(
    geometries: Sequence[Geometry | None], wanted: int | None = None, mask: Geometry | None = None
) -> int | None:
    """The channel whose grid masks lie on: one that the mask lies on, else ``wanted``, else the first that is there.

    None if the mask lies on the grid of no image, or there is no image.
    """
    present = [channel for channel, geometry in enumerate(geometries) if geometry is not None]
    if wanted in present:
        present = [wanted, *(channel for channel in present if channel != wanted)]
    if mask is None:
        return present[0] if present else None
    return next((k for k in present if (grid := geometries[k]) is not None and same_grid(grid, mask)), None)


def differences(one: Geometry, other: Geometry) -> str:
    """Which parts of two grids differ, in words: shape, spacing, axes, origin."""
    parts = []
    if one.shape != other.shape:
        parts.append("shape")
    if not np.allclose(one.spacing_mm, other.spacing_mm, rtol=1e-3):
        parts.append("spacing")
    if not np.allclose(one.direction, other.direction, atol=1e-3):
        parts.append("axes")
    if np.abs(np.subtract(one.origin_mm, other.origin_mm)).max() > SILENT_GAP * min(one.spacing_mm):
        parts.append("origin")
    return " and ".join(parts) or "position"


def describe(geometry: Geometry) -> str:
    """A grid in words, all axes in array order: shape, spacing, where the axes run to (LPS letters), origin."""
    shape = " x ".join(map(str, geometry.shape))
    spacing = " x ".join(f"{value:.4g}" for value in geometry.spacing_mm)
    origin = ", ".join(f"{value:.6g}" for value in geometry.origin_mm)
    return f"shape {shape}, spacing {spacing} mm, axes towards {axes(geometry)}, origin ({origin})"


def axes(geometry: Geometry) -> str:
    """Where each array axis runs to: letters R or L, A or P, I or S; an oblique axis by its nearest."""
    letters = ""
    for column in np.asarray(geometry.direction).T:
        world = int(np.abs(column).argmax())
        letters += _LETTERS[world][int(column[world] > 0)]
    return letters
