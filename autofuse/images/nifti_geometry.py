"""Where a NIfTI image lies: its affines judged, and turned from RAS, x-y-z into LPS, slowest axis first.

NIfTI: world (RAS mm) = A (i, j, k) with i fastest. Ours: world (LPS mm) = A' (k, j, i). The flip happens here, once.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from autofuse.foundation.errors import DataError
from autofuse.images.axes import (
    FLOAT32_SLACK,
    LARGEST_SPACING_MM,
    SMALLEST_SPACING_MM,
    Affine,
    check_axes,
    geometry_from,
)
from autofuse.images.geometry import Geometry, Triple
from autofuse.images.nifti_header import NiftiHeader
from autofuse.images.quaternion import rotation_of

LARGEST_SPACING_FROM_METRES_MM = 100.0
"""A voxel larger than this in a file that claims metres: the unit is wrong, not the patient."""
FORM_TOLERANCE_MM = 0.1
"""sform and qform may differ by this much at any corner before it is said."""
QUATERNION_SLACK = 1e-4
SPACING_TOLERANCE = 1e-3
"""Relative difference between pixdim and the sform's column lengths before it is said."""

_UNIT_MM = {0: 1.0, 1: 1e3, 2: 1.0, 3: 1e-3}
_UNIT_NAME = {1: "metres", 3: "micrometres"}


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
        affine[:3, :3] = np.diag([-spacing[0], -spacing[1], spacing[2]])
        warnings.append(
            "the header has neither qform nor sform: orientation unknown, axes taken as left-posterior-superior"
        )
    check_axes(affine, "position and orientation", path)
    affine[:2] *= -1  # RAS to LPS
    z, y, x = header.shape[-3:]
    return geometry_from(affine, (z, y, x)), tuple(warnings)


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
    if not all(SMALLEST_SPACING_MM * FLOAT32_SLACK <= value <= largest for value in values):
        raise DataError(
            "The voxel size is impossible.",
            file=path,
            found="pixdim " + " x ".join(f"{value:g}" for value in values) + " mm",
            expected=f"{SMALLEST_SPACING_MM:g} to {largest:g} mm along each axis",
            remedy="Correct the header's spacing (and unit) from the scanner's protocol.",
        )
    return values[0], values[1], values[2]


def _sform(header: NiftiHeader, unit: float, spacing: Triple, path: Path) -> Affine:
    affine = np.eye(4)
    affine[:3] = np.asarray(header.srow, dtype=float).reshape(3, 4) * unit
    if header.axes == 2 and np.isfinite(affine).all() and not affine[:3, 2].any():
        normal = np.cross(affine[:3, 0], affine[:3, 1])
        length = float(np.linalg.norm(normal))
        affine[:3, 2] = normal / length * spacing[2] if length else 0
    check_axes(affine, "sform", path)
    return affine


def _qform(header: NiftiHeader, unit: float, spacing: Triple, path: Path, *, needed: bool) -> Affine | None:
    """The qform's affine (nifti1.h, method 2), or None if it is broken and not needed."""
    square = sum(part * part for part in header.quatern)
    finite = all(map(math.isfinite, (*header.quatern, *header.qoffset)))
    if not finite or square > 1 + QUATERNION_SLACK or header.pixdim[0] not in (-1, 0, 1):
        if not needed:
            return None
        raise DataError(
            "The orientation (qform quaternion) in the header is not a rotation.",
            file=path,
            found=f"quaternion {header.quatern}, offset {header.qoffset}, handedness (pixdim[0]) {header.pixdim[0]}",
            expected="finite numbers with b² + c² + d² ≤ 1, handedness -1 or 1",
            remedy="Convert the image anew from its source.",
        )
    affine = np.eye(4)
    affine[:3, :3] = rotation_of(header.quatern, header.pixdim[0]) * np.asarray(spacing)
    affine[:3, 3] = np.asarray(header.qoffset) * unit
    return affine


def _compare_forms(
    header: NiftiHeader, sform: Affine, qform: Affine | None, spacing: Triple, warnings: list[str]
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
