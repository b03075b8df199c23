"""Where the voxels of an array lie in the patient.

One convention everywhere: arrays and everything that is listed per axis are in array order, slowest axis first
(z, y, x for an image as SimpleITK reads it). World coordinates are LPS millimetres in the order x, y, z.
SimpleITK's and NIfTI's x-y-z index order is flipped once, here in ``images``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Triple = tuple[float, float, float]
Shape = tuple[int, int, int]
Matrix = tuple[Triple, Triple, Triple]

IDENTITY: Matrix = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
"""Direction of an image whose array axes z, y, x run along the world's z, y, x."""


ROUNDING = 1e-6
"""Relative change of a position that writing and reading an image may bring (NIfTI stores float32)."""


@dataclass(frozen=True)
class Geometry:
    """The grid of an image: world = origin_mm + direction @ (spacing_mm * index), index in array order.

    Attributes:
        shape: voxels per array axis, slowest first; a 2D image has shape (1, y, x).
        spacing_mm: voxel size per array axis.
        origin_mm: world position (x, y, z; LPS) of the centre of voxel (0, 0, 0).
        direction: 3 x 3, rows are world x, y, z; column k is the unit vector along array axis k.
    """

    shape: Shape
    spacing_mm: Triple = (1.0, 1.0, 1.0)
    origin_mm: Triple = (0.0, 0.0, 0.0)
    direction: Matrix = IDENTITY

    def affine(self) -> NDArray[np.float64]:
        """4 x 4 matrix from homogeneous array indices to world millimetres (LPS)."""
        matrix = np.eye(4)
        matrix[:3, :3] = np.asarray(self.direction) * np.asarray(self.spacing_mm)
        matrix[:3, 3] = self.origin_mm
        return matrix

    def rounding_mm(self) -> float:
        """A millionth of the largest coordinate on the grid: what a file format may change by rounding."""
        extent = float(np.dot(self.shape, self.spacing_mm))
        return ROUNDING * (extent + float(np.abs(self.origin_mm).max()))

    def same_grid(self, other: Geometry, tolerance_mm: float = 1e-2) -> bool:
        """Whether every corner of both grids coincides within ``tolerance_mm`` and the shapes are equal."""
        if self.shape != other.shape:
            return False
        corners = np.array([[z, y, x, 1] for z in (0, 1) for y in (0, 1) for x in (0, 1)], dtype=float)
        corners[:, :3] *= np.asarray(self.shape) - 1
        gap = corners @ (self.affine() - other.affine()).T
        return bool(np.abs(gap[:, :3]).max() <= tolerance_mm)
