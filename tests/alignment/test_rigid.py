"""Registration: known transforms of a body are recovered, the same way every time, or nothing is promised."""

from __future__ import annotations

import numpy as np
import pytest
from bodies import about, body, centred

from autofuse.alignment.displacement import measure_displacement
from autofuse.alignment.rigid import register
from autofuse.alignment.types import Rigid, Triple
from autofuse.images.geometry import Geometry

FIXED, MOVING = centred((48, 56, 56), (2.0, 1.6, 1.6)), centred((60, 52, 60), (1.6, 1.8, 1.6))
LIMITS = {"largest_shift_mm": 40.0, "largest_rotation_degrees": 45.0}


def gap_mm(one: Rigid, other: Rigid) -> float:
    """Mean distance between where two transforms bring points of the body."""
    points = np.array([[x, y, z, 1.0] for x in (-25, 25) for y in (-20, 20) for z in (-20, 20)])
    return float(np.linalg.norm((points @ (one.affine() - other.affine()).T)[:, :3], axis=1).mean())


@pytest.mark.parametrize(
    ("axis", "degrees", "shift"),
    [("z", 0.0, (0.0, 0.0, 0.0)), ("x", 10.0, (-8.0, 4.0, 6.0)), ("y", 15.0, (5.0, 9.0, -4.0))],
)
def test_known_transforms_are_recovered_within_a_voxel(axis: str, degrees: float, shift: Triple) -> None:
    truth = Rigid(rotation=about(axis, degrees), centre_mm=(5.0, 0.0, -3.0), shift_mm=shift)
    first, second = body("first", FIXED), body("second", MOVING, truth, seed=1)
    found = register(first, FIXED, second, MOVING, **LIMITS)
    assert found is not None
    assert gap_mm(found, truth) < 1.0
    assert measure_displacement(first, FIXED, second, MOVING, rigid=found).distance_mm < 1.0


def test_grids_with_other_axes_do_not_matter() -> None:
    turned = np.asarray(about("z", 25.0)) @ np.eye(3)[:, ::-1]
    grid = Geometry((50, 50, 50), (1.8,) * 3, tuple(-turned @ np.full(3, 24.5 * 1.8)), tuple(map(tuple, turned)))
    truth = Rigid(rotation=about("x", 8.0), shift_mm=(4.0, -3.0, 6.0))
    found = register(body("first", grid), grid, body("second", MOVING, truth, seed=1), MOVING, **LIMITS)
    assert found is not None and gap_mm(found, truth) < 1.2


def test_slices_turn_in_their_plane() -> None:
    grid = centred((1, 96, 96), (5.0, 0.8, 0.8))
    truth = Rigid(rotation=about("z", 8.0), shift_mm=(-5.0, 4.0, 0.0))
    found = register(body("first", grid), grid, body("second", grid, truth, seed=1), grid, **LIMITS)
    assert found is not None
    assert found.degrees == pytest.approx(8.0, abs=1.0)
    assert found.rotation[2] == (0.0, 0.0, 1.0) and found.shift_mm[2] == 0
    moved = [rigid.affine() @ [20.0, -15.0, 0.0, 1.0] for rigid in (found, truth)]
    assert moved[0] == pytest.approx(moved[1], abs=0.8)


def test_the_same_images_give_the_same_transform_on_any_number_of_threads() -> None:
    import SimpleITK

    truth = Rigid(rotation=about("x", 6.0), shift_mm=(0.0, 4.0, 0.0))
    images = (body("first", FIXED), FIXED, body("second", MOVING, truth, seed=1), MOVING)
    before = SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads()
    try:
        found = []
        for threads in (1, 3):
            SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
            found.append(register(*images, **LIMITS))
    finally:
        SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(before)
    assert found[0] is not None and found[0] == found[1]


def test_nothing_is_promised_beyond_the_limits_or_where_nothing_can_be_found() -> None:
    truth = Rigid(rotation=about("x", 12.0), shift_mm=(0.0, 12.0, 0.0))
    images = (body("first", FIXED), FIXED, body("second", MOVING, truth, seed=1), MOVING)
    assert register(*images, largest_shift_mm=6.0, largest_rotation_degrees=45.0) is None
    assert register(*images, largest_shift_mm=40.0, largest_rotation_degrees=6.0) is None
    noise = np.random.default_rng(0).random(MOVING.shape)
    assert register(images[0], FIXED, noise, MOVING, **LIMITS) is None
    far = Geometry((20, 20, 20), (2.0,) * 3, (900.0, 0.0, 0.0))
    assert register(images[0], FIXED, np.ones(far.shape), far, **LIMITS) is None
