"""Where a NIfTI image lies: its affines judged, and turned from RAS, x-y-z into LPS, slowest axis first.

NIfTI: world (RAS mm) = A (i, j, k) with i fastest. Ours: world (LPS mm) = A' (k, j, i). The flip happens here, once.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autofuse.foundation.errors import DataError
from autofuse.images.geometry import Geometry, Matrix, Triple
from autofuse.images.nifti_header import NiftiHeader

SMALLEST_SPACING_MM = 1e-3
LARGEST_SPACING_MM = 1e3
LARGEST_SPACING_FROM_METRES_MM = 100.0
"""A voxel larger than this in a file that claims metres: the unit is wrong, not the patient."""
FARTHEST_ORIGIN_MM = 1e6
SHEAR_TOLERANCE = 1e-3
"""Largest cosine between two axes that still counts as a right angle."""
FORM_TOLERANCE_MM = 0.1
"""sform and qform may differ by this much at any corner before it is said."""
SPACING_TOLERANCE = 1e-3
"""Relative difference between pixdim and the sform's column lengths before it is said."""

_UNIT_MM = {0: 1.0, 1: 1e3, 2: 1.0, 3: 1e-3}
_UNIT_NAME = {1: "metres", 3: "micrometres"}
_RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])
_Affine = NDArray[np.float64]


def geometry_of(header: NiftiHeader, path: Path) -> tuple[Geometry, tuple[str, ...]]:
    """Geometry of the three spatial axes, and what was odd about it.

    Raises:
        DataError: if spacing or axes are impossible, sheared or not finite.
    """
    with np.errstate(all="ignore"):  # hostile numbers overflow; the checks below find them
        return _judge(header, path)


def _judge(header: NiftiHeader, path: Path) -> tuple[Geometry, tuple[str, ...]]:
    warnings: list[str] = []
    unit = _unit(header, warnings)
    spacing = _pixdim_spacing(header, unit, path)
    sform = _sform(header, unit, spacing, path) if header.sform_code > 0 else None
    qform = _qform(header, unit, spacing, path, needed=sform is None) if header.qform_code > 0 else None
    if sform is not None:
        affine = sform
        _compare_forms(header, sform, qform, spacing, warnings)
    elif qform is not None:
        affine = qform
    else:
        # Neither form is set: orientation is unknown. SimpleITK, and with it nnU-Net and the masks that people made
        # with it, takes the axes as LPS; we agree with it, since those masks must lie on their images.
        affine = np.eye(4)
        affine[:3, :3] = np.diag(np.asarray(spacing) * _RAS_TO_LPS)
        warnings.append(
            "the header has neither qform nor sform: orientation unknown, axes taken as left-posterior-superior"
        )
    return _to_lps(affine, header, path), tuple(warnings)


def _unit(header: NiftiHeader, warnings: list[str]) -> float:
    """Millimetres per unit of the header."""
    if header.units in _UNIT_NAME:
        warnings.append(f"lengths are given in {_UNIT_NAME[header.units]}; converted to mm")
    elif header.units not in _UNIT_MM:
        warnings.append(f"the unit of length has the undefined code {header.units}; taken as mm")
    return _UNIT_MM.get(header.units, 1.0)


def _pixdim_spacing(header: NiftiHeader, unit: float, path: Path) -> Triple:
    """Voxel size along x, y, z in mm; a missing third axis gets 1."""
    values = [value * unit for value in header.pixdim[1:4]]
    if header.axes == 2 and not SMALLEST_SPACING_MM <= values[2] <= LARGEST_SPACING_MM:
        values[2] = 1.0
    largest = LARGEST_SPACING_FROM_METRES_MM if unit > 1 else LARGEST_SPACING_MM
    if not all(SMALLEST_SPACING_MM * (1 - 1e-6) <= value <= largest for value in values):
        raise DataError(
            "The voxel size is impossible.",
            file=path,
            found="pixdim " + " x ".join(f"{value:g}" for value in values) + " mm",
            expected=f"{SMALLEST_SPACING_MM:g} to {largest:g} mm along each axis",
            remedy="Correct the header's spacing (and unit) from the scanner's protocol.",
        )
    return values[0], values[1], values[2]


def _sform(header: NiftiHeader, unit: float, spacing: Triple, path: Path) -> _Affine:
    affine = np.eye(4)
    affine[:3] = np.asarray(header.srow, dtype=float).reshape(3, 4) * unit
    if header.axes == 2 and np.isfinite(affine).all() and not affine[:3, 2].any():
        normal = np.cross(affine[:3, 0], affine[:3, 1])
        length = float(np.linalg.norm(normal))
        affine[:3, 2] = normal / length * spacing[2] if length else 0
    _check_affine(affine, "sform", path)
    return affine


def _qform(header: NiftiHeader, unit: float, spacing: Triple, path: Path, *, needed: bool) -> _Affine | None:
    """The qform's affine (nifti1.h, method 2), or None if it is broken and not needed."""
    b, c, d = header.quatern
    square = b * b + c * c + d * d
    if not all(map(math.isfinite, (*header.quatern, *header.qoffset))) or square > 1 + 1e-4:
        if not needed:
            return None
        raise DataError(
            "The orientation (qform quaternion) in the header is not a rotation.",
            file=path,
            found=f"quaternion {header.quatern}, offset {header.qoffset}",
            expected="finite numbers with b² + c² + d² ≤ 1",
            remedy="Convert the image anew from its source.",
        )
    a = math.sqrt(max(0.0, 1 - square))
    norm = math.sqrt(a * a + square)
    a, b, c, d = a / norm, b / norm, c / norm, d / norm
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    if header.pixdim[0] < 0:
        rotation[:, 2] *= -1
    affine = np.eye(4)
    affine[:3, :3] = rotation * np.asarray(spacing)
    affine[:3, 3] = np.asarray(header.qoffset) * unit
    return affine


def _check_affine(affine: _Affine, name: str, path: Path) -> None:
    """Refuse an affine that is not finite, has impossible column lengths, or is sheared."""
    remedy = "Correct the header, or resample the image onto a rectangular grid."
    if not np.isfinite(affine).all():
        raise DataError(f"The {name} in the header is not finite.", file=path, found=_shown(affine), remedy=remedy)
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if lengths.min() < SMALLEST_SPACING_MM * (1 - 1e-6) or lengths.max() > LARGEST_SPACING_MM:
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
            expected=f"at most {SHEAR_TOLERANCE:g}",
            remedy="Resample the image onto a rectangular grid (dcm2niix does so for tilted CT), and its mask with it.",
        )


def _compare_forms(
    header: NiftiHeader, sform: _Affine, qform: _Affine | None, spacing: Triple, warnings: list[str]
) -> None:
    if header.qform_code > 0 and qform is None:
        warnings.append("the qform is not a rotation; the sform is used")
    if qform is not None:
        ends = np.array(header.shape[-3:][::-1]) - 1
        corners = np.array([[x, y, z, 1] for x in (0, 1) for y in (0, 1) for z in (0, 1)]) * [*ends, 1]
        gap = float(np.abs(corners @ (sform - qform).T)[:, :3].max())
        if gap > FORM_TOLERANCE_MM:
            warnings.append(f"sform and qform disagree by up to {gap:.3g} mm; the sform is used")
    lengths = np.linalg.norm(sform[:3, :3], axis=0)
    if float(np.abs(lengths / spacing - 1).max()) > SPACING_TOLERANCE:
        warnings.append(
            "pixdim ({:g} x {:g} x {:g}) disagrees with the sform ({:g} x {:g} x {:g} mm); the sform is used".format(
                *spacing, *lengths
            )
        )


def _to_lps(affine: _Affine, header: NiftiHeader, path: Path) -> Geometry:
    """Geometry in array order from an affine in RAS and x-y-z order."""
    if not np.abs(affine[:3, 3]).max() <= FARTHEST_ORIGIN_MM:
        raise DataError(
            "The image's position in the header is impossible.",
            file=path,
            found=_shown(affine),
            expected=f"an origin within {FARTHEST_ORIGIN_MM:g} mm of the scanner's",
            remedy="Correct the header, or convert the image anew from its source.",
        )
    columns = affine[:3, :3] * _RAS_TO_LPS[:, None] + 0.0  # + 0.0 turns -0.0 into 0.0
    origin = affine[:3, 3] * _RAS_TO_LPS + 0.0
    spacing = np.linalg.norm(columns, axis=0)
    direction = (columns / spacing)[:, ::-1]
    z, y, x = header.shape[-3:]
    return Geometry((z, y, x), _triple(spacing[::-1]), _triple(origin), matrix_of(direction))


def matrix_of(array: NDArray[np.float64]) -> Matrix:
    """A 3 x 3 array as nested tuples of floats."""
    return _triple(array[0]), _triple(array[1]), _triple(array[2])


def _triple(values: NDArray[np.float64]) -> Triple:
    return float(values[0]), float(values[1]), float(values[2])


def _shown(affine: _Affine) -> str:
    return "; ".join(" ".join(f"{value:g}" for value in row) for row in affine[:3])
