"""Affines judged (finite, of possible size and place, at right angles) and turned into a Geometry, for all formats."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autofuse.foundation.errors import DataError
from autofuse.images.geometry import Geometry, Matrix, Shape, Triple

SMALLEST_SPACING_MM = 1e-3
LARGEST_SPACING_MM = 1e3
FARTHEST_ORIGIN_MM = 1e6
SHEAR_TOLERANCE = 1e-3
"""Largest cosine between two axes that still counts as a right angle."""
FLOAT32_SLACK = 1 - 1e-6
"""A spacing of exactly a micrometre may be a little less in float32."""

Affine = NDArray[np.float64]
"""4 x 4, from homogeneous indices in x-y-z order to millimetres."""


def check_axes(affine: Affine, name: str, path: Path) -> None:
    """Return if the axes are those of a rectangular grid in a patient; ``name``: what the file calls the affine.

    Raises:
        DataError: if it is not finite, has impossible voxel sizes or position, or is sheared.
    """
    remedy = "Correct the header, or resample the image onto a rectangular grid."
    if not np.isfinite(affine).all() or np.abs(affine[:3, 3]).max() > FARTHEST_ORIGIN_MM:
        raise DataError(
            f"The {name} in the header is impossible.",
            file=path,
            found="; ".join(" ".join(f"{value:g}" for value in row) for row in affine[:3]),
            expected=f"finite numbers, and an origin within {FARTHEST_ORIGIN_MM:g} mm of the scanner's",
            remedy=remedy,
        )
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if lengths.min() < SMALLEST_SPACING_MM * FLOAT32_SLACK or lengths.max() > LARGEST_SPACING_MM:
        raise DataError(
            f"The {name} in the header gives an impossible voxel size.",
            file=path,
            found=" x ".join(f"{length:g}" for length in lengths) + " mm",
            expected=f"{SMALLEST_SPACING_MM:g} to {LARGEST_SPACING_MM:g} mm",
            remedy=remedy,
        )
    axes = affine[:3, :3] / lengths
    cosine = float(np.abs(axes.T @ axes - np.eye(3)).max())
    if cosine > SHEAR_TOLERANCE:
        degrees = math.degrees(math.asin(min(1.0, cosine)))
        raise DataError(
            f"The {name} is sheared: the image axes are not at right angles (a tilted CT gantry does this).",
            file=path,
            found=f"{degrees:.2f} degrees off a right angle (cosine {cosine:.4f})",
            expected=f"a cosine of at most {SHEAR_TOLERANCE:g}",
            remedy="Resample the image onto a rectangular grid (dcm2niix does so for tilted CT), and its mask with it.",
        )


def geometry_from(affine_lps: Affine, shape: Shape) -> Geometry:
    """The grid of ``shape`` (z, y, x) whose affine (index order x-y-z, world LPS) has been checked."""
    columns = affine_lps[:3, :3] + 0.0  # -0.0 becomes 0.0
    spacing = np.linalg.norm(columns, axis=0)
    direction = (columns / spacing)[:, ::-1]
    return Geometry(shape, _triple(spacing[::-1]), _triple(affine_lps[:3, 3] + 0.0), matrix_of(direction))


def matrix_of(array: NDArray[np.float64]) -> Matrix:
    """A 3 x 3 array as nested tuples of floats."""
    return _triple(array[0]), _triple(array[1]), _triple(array[2])


def _triple(values: NDArray[np.float64]) -> Triple:
    return float(values[0]), float(values[1]), float(values[2])
