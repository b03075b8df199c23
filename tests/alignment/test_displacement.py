"""Displacement: found where it was put, on any pair of grids, and not believed where there is nothing to find."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bodies import about, body, centred
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from autofuse.alignment.agreement import UNSEEN, agreement_over_shifts
from autofuse.alignment.displacement import measure_displacement
from autofuse.alignment.types import Rigid
from autofuse.images.geometry import Geometry


def nmi_by_hand(fixed: NDArray[np.uint8], moving: NDArray[np.uint8]) -> float:
    both = (fixed != UNSEEN) & (moving != UNSEEN)
    joint = np.histogram2d(fixed[both], moving[both], bins=[np.arange(9)] * 2)[0]
    share = joint / joint.sum()

    def entropy(part: NDArray[np.float64]) -> float:
        return float(-(part[part > 0] * np.log(part[part > 0])).sum())

    return (entropy(share.sum(axis=0)) + entropy(share.sum(axis=1))) / entropy(share)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 99), reach=st.tuples(*[st.integers(0, 3)] * 3), rims=st.tuples(*[st.integers(0, 5)] * 3))
def test_agreement_is_that_of_moving_the_image_by_hand(
    seed: int, reach: tuple[int, ...], rims: tuple[int, ...]
) -> None:
    random = np.random.default_rng(seed)
    shape = (7, 6, 9)
    wide = tuple(count + 2 * r for count, r in zip(shape, reach, strict=True))
    fixed, moving = (random.integers(0, 8, size).astype(np.uint8) for size in (shape, wide))
    fixed[random.random(shape) < 0.1] = UNSEEN
    for axis, rim in enumerate(rims):
        np.moveaxis(moving, axis, 0)[:rim] = UNSEEN
    found = agreement_over_shifts(fixed, moving, reach)
    for shift in np.ndindex(*found.values.shape):
        part = moving[tuple(slice(s, s + count) for s, count in zip(shift, shape, strict=True))]
        both = (fixed != UNSEEN) & (part != UNSEEN)
        assert found.counts[shift] == both.sum()
        if both.sum() > 1:
            assert found.values[shift] == pytest.approx(nmi_by_hand(fixed, part), abs=1e-3)


@pytest.mark.parametrize("shift", [(0.0, 0.0, 0.0), (3.0, -5.0, 1.5), (-9.5, 8.0, -12.0)])
def test_a_shift_is_found_within_half_a_voxel(shift: tuple[float, float, float]) -> None:
    z, y, x = shift
    fixed, moving = centred((40, 48, 52), (2.0, 1.6, 1.6)), centred((50, 44, 60), (1.5, 2.0, 1.5))
    seen = body("second", moving, Rigid(shift_mm=(x, y, z)), seed=1)
    found = measure_displacement(body("first", fixed), fixed, seen, moving)
    assert found.displacement_mm == pytest.approx(shift, abs=1.0)
    assert found.distance_mm == pytest.approx(np.linalg.norm(shift), abs=1.0)
    assert found.reliable and found.overlap > 0.95 and found.agreement >= found.agreement_unmoved > 1


def test_displacement_is_along_the_fixed_images_axes_whatever_the_grids() -> None:
    turned = np.asarray(about("z", 20.0)) @ np.eye(3)[:, ::-1]
    fixed = Geometry((44, 44, 44), (1.8,) * 3, tuple(-turned @ np.full(3, 21.5 * 1.8)), tuple(map(tuple, turned)))
    moving = centred((80, 80, 30), (1.0, 1.0, 2.6))
    world = np.array([4.0, -6.0, 5.0])
    found = measure_displacement(
        body("first", fixed), fixed, body("second", moving, Rigid(shift_mm=tuple(world)), 1), moving
    )
    assert turned @ found.displacement_mm == pytest.approx(world, abs=1.0)


def test_slices_move_in_their_plane() -> None:
    grid = centred((1, 96, 96), (5.0, 0.8, 0.8))
    moving = body("second", grid, Rigid(shift_mm=(-6.0, 4.0, 0.0)), seed=1)
    found = measure_displacement(body("first", grid), grid, moving, grid)
    assert found.displacement_mm == pytest.approx((0.0, 4.0, -6.0), abs=0.8)
    assert found.displacement_mm[0] == 0 and found.reliable


def test_what_a_rigid_transform_leaves_is_measured() -> None:
    grid = centred((48, 48, 48), (1.7,) * 3)
    rigid = Rigid(rotation=about("y", 12.0), shift_mm=(5.0, 0.0, -7.0))
    moving = body("second", grid, rigid, seed=1)
    assert measure_displacement(body("first", grid), grid, moving, grid).distance_mm > 6
    assert measure_displacement(body("first", grid), grid, moving, grid, rigid=rigid).distance_mm < 0.6


def test_voxels_that_do_not_count_change_nothing() -> None:
    grid = centred((48, 48, 48), (1.7,) * 3)
    fixed, moving = body("first", grid), body("second", grid, Rigid(shift_mm=(0.0, 5.1, 0.0)), seed=1)
    inside = np.ones(grid.shape, bool)
    inside[:16] = False
    spoilt = fixed.copy()
    spoilt[:16] = np.random.default_rng(0).random((16, 48, 48)) * 400
    found = measure_displacement(spoilt, grid, moving, grid, inside=inside)
    assert found.displacement_mm == pytest.approx((0.0, 5.1, 0.0), abs=0.8)
    assert found.overlap < 0.7


@pytest.mark.parametrize("kind", ["constants", "a constant and noise", "noise", "smooth noise", "a body and noise"])
def test_images_that_say_nothing_about_each_other_are_not_believed(kind: str) -> None:
    from scipy.ndimage import gaussian_filter

    grid = centred((48, 48, 48), (1.7,) * 3)
    random = np.random.default_rng(0)
    one, other = np.full(grid.shape, 7.0), np.full(grid.shape, 7.0)
    if kind != "constants":
        other = random.random(grid.shape)
    if kind in ("noise", "smooth noise"):
        one = random.random(grid.shape)
    if kind == "smooth noise":
        one, other = gaussian_filter(one, 3), gaussian_filter(other, 3)
    if kind == "a body and noise":
        one = body("first", grid)
    found = measure_displacement(one, grid, other, grid)
    assert not found.reliable
    assert found.overlap == 1
    if kind == "constants":
        assert found.distance_mm == 0 and found.agreement == 1


def test_without_a_shared_field_of_view_the_overlap_is_none() -> None:
    here, there = centred((40, 40, 40), (2.0,) * 3), Geometry((40, 40, 40), (2.0,) * 3, (500.0, 0.0, 0.0))
    found = measure_displacement(body("first", here), here, np.ones(there.shape), there)
    assert (found.overlap, found.reliable, found.distance_mm) == (0.0, False, 0.0)


@pytest.mark.parametrize("shift", [(0.0, 0.0, 0.0), (4.0, -5.0, 3.0)])
def test_an_outline_that_one_mask_gave_both_images_deceives_nobody(
    shift: tuple[float, float, float], shared_data: Path
) -> None:
    from scipy.ndimage import binary_erosion, binary_fill_holes
    from scipy.ndimage import shift as move

    from autofuse.dataset.opening import open_dataset
    from autofuse.dataset.raw import load_case

    dataset = open_dataset(shared_data / "Dataset102_MSLesions")
    raw = load_case(dataset, dataset.cases[0])
    flair, t1 = (image.voxels.astype(np.float32) for image in raw.images[:2] if image is not None)
    mask = binary_erosion(binary_fill_holes(flair != 0), iterations=14)
    moved = move(t1, shift, order=1)
    found = measure_displacement(np.where(mask, flair, 0), raw.geometry, np.where(mask, moved, 0), raw.geometry)
    assert found.displacement_mm == pytest.approx(shift, abs=1.0)
    assert found.reliable


def test_real_brains_lie_where_they_were_put(shared_data: Path) -> None:
    from scipy.ndimage import shift as move

    from autofuse.dataset.opening import open_dataset
    from autofuse.dataset.raw import load_case

    dataset = open_dataset(shared_data / "Dataset101_BraTS13")
    raw = load_case(dataset, dataset.cases[0])
    flair, t1c = (image.voxels.astype(np.float32) for image in raw.images if image is not None)
    values, counts = np.unique(t1c, return_counts=True)
    moved = move(t1c, (5.0, -4.0, 3.0), order=1, cval=float(values[counts.argmax()]))
    aligned = measure_displacement(flair, raw.geometry, t1c, raw.geometry)
    apart = measure_displacement(flair, raw.geometry, moved, raw.geometry)
    assert aligned.distance_mm < 1.0 and aligned.reliable
    assert apart.displacement_mm == pytest.approx((5.0, -4.0, 3.0), abs=1.0)


@pytest.mark.parametrize("shift", [(0.0, 2.0, 0.0), (0.0, 7.0, -5.0)])
def test_a_body_that_is_smooth_inside_is_placed_by_its_outline(shift: tuple[float, float, float]) -> None:
    """The finer look at its middle sees only where each coil shone brightest, and those places are not one."""
    shape, random = (96, 112, 112), np.random.default_rng(0)
    grid = Geometry(shape)
    places_mm = np.stack(np.meshgrid(*(np.arange(count) - count / 2 for count in shape), indexing="ij"))

    def squared(centre_mm: tuple[float, ...], radii_mm: tuple[float, ...]) -> NDArray[np.float64]:
        centre, radii = (np.array(item).reshape(3, 1, 1, 1) for item in (centre_mm, radii_mm))
        found: NDArray[np.float64] = (((places_mm - centre) / radii) ** 2).sum(0)
        return found

    def smooth(moved_mm: tuple[float, ...], brightest_mm: tuple[float, ...]) -> NDArray[np.float32]:
        light = 10 + np.exp(-squared(brightest_mm, (40, 40, 40))) + random.normal(scale=0.05, size=shape)
        return np.where(squared(moved_mm, (32, 38, 42)) < 1, light, 0).astype(np.float32)

    found = measure_displacement(smooth((0, 0, 0), (0, 0, 0)), grid, smooth(shift, (9, -9, 9)), grid)
    assert found.displacement_mm == pytest.approx(shift, abs=1.0)
    assert found.reliable
