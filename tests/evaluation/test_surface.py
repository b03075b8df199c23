"""Distances that a person can check on squared paper, and parity with a brute force."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from autofuse.evaluation.surface import surface_distances, surface_voxels

Mask = NDArray[np.bool_]


def cube(shape: tuple[int, int, int], start: tuple[int, int, int], size: int) -> Mask:
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(s, s + size) for s in start)] = True
    return mask


def brute_force(reference: Mask, prediction: Mask, spacing_mm: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Every surface voxel of one against every one of the other; neighbours found by looking at each of them."""

    def surface(mask: Mask) -> np.ndarray:
        points = []
        for point in np.argwhere(mask):
            for axis in range(3):
                for step in (-1, 1):
                    near = point.copy()
                    near[axis] += step
                    outside = not 0 <= near[axis] < mask.shape[axis]
                    if mask.shape[axis] > 1 and (outside or not mask[tuple(near)]):
                        points.append(tuple(point))
        return np.array(sorted(set(points))) * np.asarray(spacing_mm)

    first, second = surface(reference), surface(prediction)
    gaps = np.sqrt(((first[:, None] - second[None]) ** 2).sum(-1))
    return gaps.min(1), gaps.min(0)


def test_surface_of_a_cube_is_all_but_its_core() -> None:
    mask = cube((7, 7, 7), (1, 1, 1), 5)
    assert surface_voxels(mask).sum() == 5**3 - 3**3


def test_the_border_of_the_image_is_surface() -> None:
    assert surface_voxels(np.ones((3, 3, 3), dtype=bool)).sum() == 26


def test_a_flat_axis_has_no_neighbours() -> None:
    mask = cube((1, 5, 5), (0, 1, 1), 3)
    assert surface_voxels(mask, flat_axes=(0,)).sum() == 8


def test_two_points_three_steps_apart() -> None:
    first, second = np.zeros((1, 1, 9), dtype=bool), np.zeros((1, 1, 9), dtype=bool)
    first[0, 0, 2] = second[0, 0, 5] = True
    distances = surface_distances(first, second, (1.0, 1.0, 0.5))
    assert distances.pooled_percentile() == pytest.approx(1.5)
    assert distances.larger_percentile() == pytest.approx(1.5)
    assert distances.within(1.0) == 0.0
    assert distances.within(1.5) == 1.0


def test_a_line_that_is_too_long_at_one_end() -> None:
    reference, prediction = np.zeros((1, 1, 20), dtype=bool), np.zeros((1, 1, 20), dtype=bool)
    # In one dimension the surface of a run is its two ends: 4 and 7 against 4 and 11.
    reference[0, 0, 4:8] = True
    prediction[0, 0, 4:12] = True
    distances = surface_distances(reference, prediction, (1.0, 1.0, 1.0))
    assert sorted(distances.from_reference) == [0.0, 3.0]
    assert sorted(distances.from_prediction) == [0.0, 4.0]
    assert distances.pooled_percentile() == pytest.approx(np.percentile([0, 0, 3, 4], 95))
    assert distances.larger_percentile() == pytest.approx(np.percentile([0, 4], 95))
    assert distances.within(3.0) == pytest.approx(3 / 4)


def test_tolerance_survives_rounding() -> None:
    first, second = np.zeros((1, 1, 30), dtype=bool), np.zeros((1, 1, 30), dtype=bool)
    first[0, 0, 3] = second[0, 0, 13] = True
    assert surface_distances(first, second, (1.0, 1.0, 0.1)).within(1.0) == 1.0


@pytest.mark.parametrize("seed", range(6))
def test_equals_a_brute_force(seed: int) -> None:
    generator = np.random.default_rng(seed)
    shape = (1, 12, 11) if seed == 5 else (6, 9, 10)
    spacing = (5.0, 0.7, 1.1)
    first, second = (generator.random(shape) < 0.3 for _ in range(2))
    expected = brute_force(first, second, spacing)
    found = surface_distances(first, second, spacing)
    np.testing.assert_allclose(np.sort(found.from_reference), np.sort(expected[0]))
    np.testing.assert_allclose(np.sort(found.from_prediction), np.sort(expected[1]))
