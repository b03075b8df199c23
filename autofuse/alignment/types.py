"""A rigid transform between two images of one patient."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autofuse.foundation.values import Value

Triple = tuple[float, float, float]


class Rigid(Value):
    """What is seen at the world position p of the fixed image is seen at R (p - c) + c + t of the moving one.

    Attributes:
        rotation: R, rows; world axes x, y, z (LPS).
        centre_mm: c; shift_mm: t; world x, y, z.
    """

    rotation: tuple[Triple, Triple, Triple] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    centre_mm: Triple = (0.0, 0.0, 0.0)
    shift_mm: Triple = (0.0, 0.0, 0.0)

    def affine(self) -> NDArray[np.float64]:
        """4 x 4 matrix from homogeneous world positions of the fixed image to those of the moving one."""
        matrix = np.eye(4)
        rotation, centre = np.asarray(self.rotation), np.asarray(self.centre_mm)
        matrix[:3, :3] = rotation
        matrix[:3, 3] = centre + np.asarray(self.shift_mm) - rotation @ centre
        return matrix

    @property
    def degrees(self) -> float:
        """Angle of the rotation."""
        cosine = (float(np.trace(np.asarray(self.rotation))) - 1) / 2
        return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))
