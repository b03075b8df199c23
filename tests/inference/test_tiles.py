"""Tiles cover every voxel, and their shares add up to one everywhere."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from autofuse.inference.tiles import gaussian, layer_groups, tile_starts, tiling


@pytest.mark.parametrize(
    ("size", "window", "expected"),
    [(10, 10, (0,)), (11, 10, (0, 1)), (20, 10, (0, 5, 10)), (22, 10, (0, 4, 8, 12)), (5, 1, (0, 1, 2, 3, 4))],
)
def test_starts_are_evenly_spread_at_most_half_a_window_apart(
    size: int, window: int, expected: tuple[int, ...]
) -> None:
    assert tile_starts(size, window) == expected


def test_starts_equal_nnunets_rule_over_many_sizes() -> None:
    for size in range(8, 80):
        for window in (7, 8, 16, 33):
            if size < window:
                continue
            starts = tile_starts(size, window)
            assert starts[0] == 0 and starts[-1] == size - window
            assert len(starts) == int(np.ceil((size - window) / (window * 0.5))) + 1
            assert all(0 < b - a <= np.ceil(window / 2) for a, b in pairwise(starts))


def test_gaussian_is_symmetric_and_never_zero() -> None:
    curve = gaussian(16)
    np.testing.assert_allclose(curve, curve[::-1])
    assert curve.min() > 3e-4
    # One sigma (16 / 8 = 2 voxels) from the middle, between voxels 5 and 6.
    assert np.interp(5.5, np.arange(16), curve) == pytest.approx(np.exp(-0.5), rel=0.02)


@pytest.mark.parametrize(
    ("shape", "patch"), [((20, 9, 31), (8, 9, 8)), ((3, 17, 5), (1, 8, 8)), ((4, 4, 4), (8, 8, 8))]
)
def test_shares_add_up_to_one(shape: tuple[int, ...], patch: tuple[int, ...]) -> None:
    tiles = tiling(shape, patch)
    total = np.zeros(tiles.shape)
    for index in tiles.indices(range(len(tiles.starts[0]))):
        z, y, x = (shares[i] for shares, i in zip(tiles.weights, index, strict=True))
        total[tiles.box(index)] += z[:, None, None] * y[:, None] * x
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_groups_hold_the_rows_they_may_and_enough_tiles() -> None:
    tiles = tiling((40, 8, 8), (8, 8, 8))
    assert [list(group) for group in layer_groups(tiles, rows=8)] == [[i] for i in range(9)]
    assert [len(group) for group in layer_groups(tiles, rows=100, least=4)] == [4, 4, 1]
    assert [len(group) for group in layer_groups(tiles, rows=12, least=4)] == [2, 2, 2, 2, 1]
    assert [len(group) for group in layer_groups(tiles, rows=40, least=tiles.count)] == [9]
