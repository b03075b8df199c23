"""The rigid transform that brings two images of one patient together."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autofuse.alignment.common_grid import (
    Vector,
    Window,
    isotropic_step_mm,
    sample,
    shared_box,
    view,
    window_in,
    without_rim,
)
from autofuse.alignment.displacement import measure_displacement
from autofuse.alignment.types import Rigid, Triple
from autofuse.images.geometry import Geometry

_log = logging.getLogger(__name__)

SAMPLES = 96**3
"""Voxels of the common grid that is registered on; sub-voxel accuracy needs no more."""
GREY_LEVELS = 32
SHRINK, SMOOTHING_VOXELS = (4, 2, 1), (2.0, 1.0, 0.0)
"""From coarse to fine: shrink factors, and Gaussians before shrinking."""
COMPARED = 50_000
"""Voxels that are compared in each level, if it has as many."""
SMALLEST = 16
"""Shrunk images have at least so many voxels along each axis; levels that would have fewer are left out."""
MOST_STEPS, FIRST_STEP, LAST_STEP, RELAXATION = 150, 1.0, 0.01, 0.8
"""Of each level: steps, their length in voxels at first and at the end, and by how much they shorten at each turn."""


def register(
    fixed: NDArray[Any],
    fixed_geometry: Geometry,
    moving: NDArray[Any],
    moving_geometry: Geometry,
    *,
    seed: int = 0,
    largest_shift_mm: float,
    largest_rotation_degrees: float,
) -> Rigid | None:
    """The rigid transform from the world of ``fixed`` to that of ``moving``; None where none was found.

    Mattes' mutual information, from coarse to fine, begun at the displacement that ``measure_displacement`` finds. On
    one thread and with samples drawn by ``seed``, so that the same images give the same transform everywhere. Single
    slices are moved and turned in their plane. None is the answer for images that share no field of view or say too
    little about each other, and for a transform beyond the limits: that is no patient who moved.

    Args:
        largest_shift_mm: limit for how far the middle of the image moves; largest_rotation_degrees: for its turn.
    """
    found = measure_displacement(fixed, fixed_geometry, moving, moving_geometry)
    if not found.reliable:
        return None
    begin_mm = np.asarray(found.displacement_mm)
    pair = _pair(fixed, fixed_geometry, moving, moving_geometry, begin_mm, outline=found.outline)
    if pair is None:
        return None
    try:
        turn, shift_mm = _optimised(pair, begin_mm, seed)
    except RuntimeError as error:
        # ITK's way to say that too few samples are left in both images.
        _log.debug("registration gave up: %s", error)
        return None
    rigid = _in_world(fixed_geometry, turn, pair.middle_mm, shift_mm)
    if float(np.linalg.norm(shift_mm)) > largest_shift_mm or rigid.degrees > largest_rotation_degrees:
        return None
    return rigid


@dataclass(frozen=True)
class _Pair:
    """Both images (SimpleITK's) on isotropic grids along the fixed one's axes, mm from its first voxel, with masks.

    Attributes:
        axes: array axes along which the grid has more than one sample, ascending; the images have no others.
        middle_mm: of what the fixed image shows, along all three axes; the centre of rotation.
        radius_mm: root mean square distance from it: so far does a turn by one radian move what is shown.
    """

    fixed: Any
    fixed_seen: Any
    moving: Any
    moving_seen: Any
    axes: tuple[int, ...]
    middle_mm: Vector
    radius_mm: float


def _sitk() -> Any:
    return import_module("SimpleITK")  # 0.7 s; its type hints are incomplete


def _pair(
    fixed: NDArray[Any],
    fixed_geometry: Geometry,
    moving: NDArray[Any],
    moving_geometry: Geometry,
    begin_mm: Vector,
    *,
    outline: bool,
) -> _Pair | None:
    """What is to be brought together, of the moving image also what lies around; None for less than a plane.

    Args:
        outline: whether background is compared as well.
    """
    box = shared_box(fixed_geometry, moving_geometry)
    if box is None:
        return None
    finest_mm = max(min(fixed_geometry.spacing_mm), min(moving_geometry.spacing_mm))
    step_mm = isotropic_step_mm(box, SAMPLES, finest_mm)
    window = window_in(fixed_geometry, box, step_mm)
    axes = tuple(axis for axis, count in enumerate(window.counts) if count > 1)
    if len(axes) < 2:
        return None
    around = window.moved(begin_mm).widened(tuple(count // 4 if count > 1 else 0 for count in window.counts))
    values, seen = sample(view(fixed, fixed_geometry, step_mm), window)
    moving_values, moving_seen = sample(view(moving, moving_geometry, step_mm), around)
    if not outline:
        seen, moving_seen = without_rim(values, seen), without_rim(moving_values, moving_seen)
    shown = window.start_mm + step_mm * np.argwhere(seen & (values != 0))
    middle = shown.mean(axis=0) if len(shown) else window.centre_mm
    return _Pair(
        fixed=_itk(values, window, axes),
        fixed_seen=_itk(seen.astype(np.uint8), window, axes),
        moving=_itk(moving_values, around, axes),
        moving_seen=_itk(moving_seen.astype(np.uint8), around, axes),
        axes=axes,
        middle_mm=middle,
        radius_mm=max(step_mm, float(np.sqrt(np.square(shown - middle).sum(axis=1).mean()))) if len(shown) else step_mm,
    )


def _itk(values: NDArray[Any], window: Window, axes: tuple[int, ...]) -> Any:
    """The samples as an image of 2 or 3 axes; its coordinates are mm along them, last one first."""
    squeezed = values.reshape([values.shape[axis] for axis in axes])
    image = _sitk().GetImageFromArray(squeezed)
    image.SetSpacing([window.step_mm] * len(axes))
    image.SetOrigin([float(window.start_mm[axis]) for axis in reversed(axes)])
    return image


def _optimised(pair: _Pair, begin_mm: Vector, seed: int) -> tuple[NDArray[np.float64], Vector]:
    """Rotation about the middle, and shift, along the fixed image's axes (z, y, x)."""
    axes = list(pair.axes)
    begin = _sitk().Euler3DTransform() if len(axes) == 3 else _sitk().Euler2DTransform()
    begin.SetCenter([float(part) for part in pair.middle_mm[axes][::-1]])
    begin.SetTranslation([float(part) for part in begin_mm[axes][::-1]])
    method = _method(pair, seed)
    method.SetInitialTransform(begin, inPlace=True)
    method.Execute(pair.fixed, pair.moving)
    turn, shift = np.eye(3), np.zeros(3)
    turn[np.ix_(axes, axes)] = np.reshape(begin.GetMatrix(), (len(axes),) * 2)[::-1, ::-1]
    shift[axes] = begin.GetTranslation()[::-1]
    return turn, shift


def _method(pair: _Pair, seed: int) -> Any:
    method = _sitk().ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetNumberOfWorkUnits(1)
    method.SetMetricAsMattesMutualInformation(GREY_LEVELS)
    method.SetMetricFixedMask(pair.fixed_seen)
    method.SetMetricMovingMask(pair.moving_seen)
    method.SetInterpolator(_sitk().sitkLinear)
    levels = [k for k, factor in enumerate(SHRINK) if min(pair.fixed.GetSize()) >= SMALLEST * factor or factor == 1]
    method.SetMetricSamplingStrategy(method.REGULAR)
    voxels = [math.prod(pair.fixed.GetSize()) / SHRINK[k] ** len(pair.axes) for k in levels]
    method.SetMetricSamplingPercentagePerLevel([min(1.0, COMPARED / count) for count in voxels], seed + 1)
    method.SetShrinkFactorsPerLevel([SHRINK[k] for k in levels])
    method.SetSmoothingSigmasPerLevel([SMOOTHING_VOXELS[k] for k in levels])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOff()
    step_mm = pair.fixed.GetSpacing()[0]
    # A turn counts by how far it moves the voxels. ITK's own estimate goes by the
    # corners of the grid, and turns too little.
    turns = 3 if len(pair.axes) == 3 else 1
    method.SetOptimizerScales([pair.radius_mm**2] * turns + [1.0] * len(pair.axes))
    method.SetOptimizerAsRegularStepGradientDescent(
        FIRST_STEP * step_mm, LAST_STEP * step_mm, MOST_STEPS, RELAXATION, gradientMagnitudeTolerance=1e-9
    )
    return method


def _in_world(geometry: Geometry, turn: NDArray[np.float64], middle_mm: Vector, shift_mm: Vector) -> Rigid:
    """What was found along the axes of ``geometry``, in the world's."""
    direction = np.asarray(geometry.direction)
    rotation = direction @ turn @ direction.T
    centre = np.asarray(geometry.origin_mm) + direction @ middle_mm
    first, second, third = (_triple(row, 9) for row in rotation)
    return Rigid(
        rotation=(first, second, third), centre_mm=_triple(centre, 4), shift_mm=_triple(direction @ shift_mm, 4)
    )


def _triple(values: NDArray[np.float64], digits: int) -> Triple:
    x, y, z = (round(float(value), digits) + 0.0 for value in values)
    return x, y, z
