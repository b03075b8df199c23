"""One image of a patient brought onto the grid of another: registered where wanted, measured before and after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from numpy.typing import NDArray

from autofuse.plan.types import RegistrationPlan

if TYPE_CHECKING:
    import numpy as np

    from autofuse.alignment.displacement import Displacement
    from autofuse.alignment.types import Rigid
    from autofuse.images import Image
    from autofuse.report.blend import Pair


@dataclass(frozen=True)
class Gathered:
    """A moving image on a fixed image's grid.

    Attributes:
        rigid: what registration found; None where it was not wanted or found nothing.
        before, after: how far the images lie apart by their headers, and with ``rigid``.
        voxels: (z, y, x) float32 on the fixed grid; covered: where the moving image sees anything.
    """

    rigid: Rigid | None
    before: Displacement
    after: Displacement
    voxels: NDArray[np.float32]
    covered: NDArray[np.bool_]


def gather(fixed: Image, moving: Image, registration: RegistrationPlan | None) -> Gathered:
    """``moving`` on the grid of ``fixed``, moved rigidly first if ``registration`` is wanted and works."""
    from autofuse.alignment.displacement import measure_displacement
    from autofuse.alignment.regrid import regrid

    two = (fixed.voxels, fixed.geometry, moving.voxels, moving.geometry)
    before = measure_displacement(*two)
    rigid = None
    if registration is not None and before.overlap > 0:
        from autofuse.alignment.rigid import register

        rigid = register(
            *two,
            largest_shift_mm=registration.largest_shift_mm,
            largest_rotation_degrees=registration.largest_rotation_degrees,
        )
    after = before if rigid is None else measure_displacement(*two, rigid=rigid)
    voxels, covered = regrid(moving.voxels, moving.geometry, fixed.geometry, rigid)
    return Gathered(rigid, before, after, voxels, covered)


def picture_of(fixed_name: str, fixed: Image, moving_name: str, moving: Image, gathered: Gathered) -> Pair:
    """The two images as they are to be drawn: before, and after if registration moved anything."""
    from autofuse.alignment.regrid import regrid
    from autofuse.report.blend import Pair, Stage

    own = not moving.geometry.same_grid(fixed.geometry)
    unmoved = (gathered.voxels, gathered.covered)
    if gathered.rigid is not None:
        unmoved = regrid(moving.voxels, moving.geometry, fixed.geometry)
    stages = [Stage(f"by their headers\n{apart(gathered.before)}", *unmoved)]
    if gathered.rigid is not None:
        stages.append(Stage(f"registered\n{apart(gathered.after)}", gathered.voxels, gathered.covered))
    return Pair(fixed_name, moving_name, fixed, moving if own else None, tuple(stages))


def apart(measured: Displacement) -> str:
    """How far two images lie apart, in words; below the voxel that was measured at, nothing more is known."""
    if measured.overlap == 0:
        return "no shared field of view"
    if not measured.reliable:
        return "distance not certain"
    if measured.distance_mm < measured.resolution_mm:
        return f"under {measured.resolution_mm:.1f} mm apart"
    return f"{measured.distance_mm:.1f} mm apart"
