"""Spacing, axis order and pooling against the values that nnU-Net publishes for the Decathlon and ACDC."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from plan_examples import case_of, fingerprint_of, same_cases

from autofuse_planners.grid import choose_grid
from autofuse_planners.pyramid import network_for, pyramid_for
from autofuse_planners.thresholds import Thresholds

RULES = Thresholds()


@pytest.mark.parametrize(
    ("size", "spacing", "pools", "patch"),
    [
        pytest.param((128, 128, 128), (1.0, 1.0, 1.0), (5, 5, 5), (128, 128, 128), id="Task01 brain tumours"),
        pytest.param((35, 50, 35), (1.0, 1.0, 1.0), (3, 3, 3), (40, 56, 40), id="Task04 hippocampus"),
        pytest.param((20, 320, 256), (3.6, 0.62, 0.62), (2, 6, 6), (20, 320, 256), id="Task05 prostate"),
        pytest.param((20, 256, 224), (5.0, 1.5625, 1.5625), (2, 5, 5), (20, 256, 224), id="ACDC"),
        pytest.param((64, 192, 160), (1.25, 0.79, 0.79), (4, 5, 5), (64, 192, 160), id="like Task10 colon"),
    ],
)
def test_pooling_is_that_of_nnunet(
    size: tuple[int, ...], spacing: tuple[float, ...], pools: tuple[int, ...], patch: tuple[int, ...]
) -> None:
    pyramid = pyramid_for(size, spacing, RULES)
    assert pyramid.multiple == tuple(2**count for count in pools)
    assert pyramid.patch == patch
    assert tuple(prod(steps) for steps in zip(*pyramid.strides, strict=True)) == pyramid.multiple


def test_a_coarse_axis_is_neither_pooled_nor_convolved_until_the_others_come_near_it() -> None:
    pyramid = pyramid_for((20, 320, 256), (3.6, 0.62, 0.62), RULES)
    assert pyramid.kernels[:3] == ((1, 3, 3), (1, 3, 3), (3, 3, 3))
    assert pyramid.strides[:4] == ((1, 1, 1), (1, 2, 2), (1, 2, 2), (2, 2, 2))


def test_features_double_up_to_the_cap_and_narrow_networks_are_narrow_everywhere() -> None:
    pyramid = pyramid_for((128, 128, 128), (1.0, 1.0, 1.0), RULES)
    assert network_for(pyramid, 32, "plain", RULES).features == (32, 64, 128, 256, 320, 320)
    assert network_for(pyramid, 16, "plain", RULES).features == (16, 32, 64, 128, 160, 160)
    residual = network_for(pyramid, 32, "residual", RULES)
    assert (residual.blocks, residual.decoder_blocks) == ((1, 3, 4, 6, 6, 6), (1, 1, 1, 1, 1))
    flat = pyramid_for((512, 512), (1.0, 1.0), RULES)
    assert network_for(flat, 32, "plain", RULES).features == (32, 64, 128, 256, 512, 512, 512, 512)


@pytest.mark.parametrize("size", [(1, 1, 1), (1, 9, 9), (2, 300, 3), (7, 7, 7), (5000, 8, 8)])
def test_odd_sizes_have_a_pyramid_that_fits(size: tuple[int, ...]) -> None:
    pyramid = pyramid_for(size, (1.0, 1.0, 1.0), RULES)
    assert all(padded >= wanted for padded, wanted in zip(pyramid.patch, size, strict=True))
    assert all(padded % step == 0 for padded, step in zip(pyramid.patch, pyramid.multiple, strict=True))
    assert len(pyramid.kernels) == len(pyramid.strides)


def test_target_spacing_is_the_median_where_grids_are_nearly_cubic() -> None:
    cases = [case_of(i, (100, 100, 100), (1.0 + 0.1 * i, 1.0, 1.2)) for i in range(5)]
    grid, _ = choose_grid(fingerprint_of(cases), RULES)
    assert grid.transpose == (0, 1, 2)
    assert grid.spacing_mm == (1.2, 1.0, 1.2)
    assert grid.anisotropic_axis is None


def test_a_coarse_axis_takes_its_tenth_percentile_and_comes_first() -> None:
    coarse = [3.0, 5.0, 5.0, 5.0, 5.0, 6.0]
    cases = [case_of(i, (300, 300, 20), (0.8, 0.8, value)) for i, value in enumerate(coarse)]
    grid, decisions = choose_grid(fingerprint_of(cases), RULES)
    assert grid.transpose == (2, 0, 1)
    assert grid.spacing_mm[0] == pytest.approx(np.percentile(coarse, 10))
    assert grid.median_shape[1:] == (300, 300)
    assert grid.median_shape[0] == round(20 * 5 / grid.spacing_mm[0])
    assert grid.anisotropic_axis == 0
    assert "percentile" in decisions[0].rule and decisions[0].alternatives


def test_the_percentile_never_falls_below_the_other_axes() -> None:
    cases = [case_of(i, (20, 300, 300), (value, 0.8, 0.8)) for i, value in enumerate([0.1, 0.1, 5.0, 5.0, 5.0])]
    grid, _ = choose_grid(fingerprint_of(cases), RULES)
    assert grid.spacing_mm[0] == 0.8


def test_rounding_noise_in_spacings_does_not_turn_the_axes() -> None:
    grid, _ = choose_grid(fingerprint_of(same_cases((90, 90, 90), (1.0, 1.0000001, 1.0))), RULES)
    assert grid.transpose == (0, 1, 2)


def test_single_slices_put_their_only_voxel_first() -> None:
    grid, _ = choose_grid(fingerprint_of(same_cases((200, 1, 300), (1.0, 1.0, 1.0))), RULES)
    assert grid.transpose == (1, 0, 2)
    assert grid.median_shape == (1, 200, 300)
