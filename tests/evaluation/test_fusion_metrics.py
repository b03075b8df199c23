"""Fusion metrics: numbers that a person can check, what must not matter, and other people's programs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import sewar
from scipy.ndimage import gaussian_filter
from scipy.stats import entropy as scipy_entropy
from skimage.measure import shannon_entropy
from skimage.metrics import normalized_mutual_information
from skimage.metrics import structural_similarity as skimage_ssim

from autofuse.evaluation.fusion.greys import (
    PERCENTILES,
    Window,
    body_of,
    robust_window,
    slices,
    to_levels,
    to_unit,
)
from autofuse.evaluation.fusion.scores import score_fused
from autofuse.evaluation.fusion.similarity import (
    edge_preservation,
    structural_similarity,
    visual_information_fidelity,
)
from autofuse.evaluation.fusion.statistics import (
    entropy,
    mutual_information,
    spatial_frequency,
    standard_deviation,
    sum_of_correlations_of_differences,
)
from autofuse.evaluation.fusion.types import METRICS
from autofuse.foundation.errors import DataError

COPIED_EDGE = 0.9994 / (1 + math.exp(-15 * 0.5)) * 0.9879 / (1 + math.exp(-22 * 0.2))
"""Q of Xydeas & Petrovic where strength and orientation are kept."""


def grey(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float64) / 255


def texture(seed: int, shape: tuple[int, ...] = (48, 56)) -> np.ndarray:
    """A smooth random image in [0, 1]."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.5)
    return (noise - noise.min()) / np.ptp(noise)


# --- one scale ---


def test_windows_leave_background_and_extremes_out() -> None:
    voxels = np.concatenate([np.full(100, -1000.0), np.arange(1000.0), [1e6, np.nan]])
    window = robust_window(voxels)
    assert (window.lower, window.upper) == (5.0, 995.0)
    unit = to_unit(voxels, window)
    assert unit[0] == 0 and unit[-1] == 0 and unit[-2] == 1
    assert unit[105] == 0 and unit[600] == pytest.approx(495 / 990)


def test_to_bring_to_the_scale_again_changes_nothing() -> None:
    voxels = np.random.default_rng(0).gamma(2.0, size=(20, 20, 20))
    voxels[:5] = 0
    body = body_of(voxels)
    once = to_unit(voxels, robust_window(voxels, body))
    np.testing.assert_array_equal(to_unit(once, robust_window(once, body)), once)


@pytest.mark.parametrize("voxels", [np.full((4, 4), 7.0), np.full((4, 4), np.nan), np.zeros((3, 3, 3))], ids=str)
def test_what_shows_nothing_becomes_black(voxels: np.ndarray) -> None:
    assert not body_of(voxels).any()
    assert not to_unit(voxels, robust_window(voxels)).any()


def test_infinite_voxels_are_cut_off() -> None:
    voxels = np.array([-np.inf, 0.0, 5.0, 10.0, np.inf])
    assert to_unit(voxels, Window(lower=0, upper=10)).tolist() == [0, 0, 0.5, 1, 1]
    assert np.isfinite([robust_window(voxels).lower, robust_window(voxels).upper]).all()


def test_grey_levels_and_slices() -> None:
    assert to_levels(np.array([0.0, 0.5 / 255 + 1e-9, 1.0])).tolist() == [0, 1, 255]
    volume = np.arange(24.0).reshape(2, 3, 4)
    assert [plane.shape for plane in slices(volume, 2)] == [(2, 3)] * 4
    assert [plane.tolist() for plane in slices(volume[0])] == [volume[0].tolist()]
    assert PERCENTILES == (0.5, 99.5)


# --- by hand ---


def test_entropy_by_hand() -> None:
    assert entropy(grey(7, 7, 7, 7).reshape(2, 2)) == 0
    assert entropy(grey(0, 0, 255, 255).reshape(2, 2)) == 1
    assert entropy(grey(0, 0, 100, 200).reshape(2, 2)) == 1.5
    assert entropy((np.arange(256) / 255).reshape(16, 16)) == 8


def test_standard_deviation_by_hand() -> None:
    assert standard_deviation(grey(0, 255).reshape(1, 2)) == pytest.approx(127.5)
    assert standard_deviation(grey(10, 10, 20, 20).reshape(2, 2)) == pytest.approx(5)


def test_spatial_frequency_by_hand() -> None:
    # Rows: 3² + 3² = 18, columns: 4² + 4² = 32; four voxels.
    assert spatial_frequency(grey(0, 3, 4, 7).reshape(2, 2)) == pytest.approx(math.sqrt((18 + 32) / 4))
    slab = np.stack([grey(0, 3, 4, 7).reshape(2, 2), grey(9, 9, 9, 9).reshape(2, 2)])
    assert spatial_frequency(slab) == pytest.approx(math.sqrt(50 / 8)), "steps between slices do not count"


def test_mutual_information_by_hand() -> None:
    fused, source = grey(0, 0, 9, 9).reshape(2, 2), grey(5, 5, 5, 8).reshape(2, 2)
    # Joint shares 1/2, 1/4, 1/4: 1.5 bits; alone 1 bit and H(1/4).
    alone = 0.25 * 2 + 0.75 * math.log2(4 / 3)
    assert mutual_information(fused, source) == pytest.approx(1 + alone - 1.5)
    assert mutual_information(fused, grey(1, 2, 1, 2).reshape(2, 2)) == 0


def test_scd_by_hand() -> None:
    one, other = grey(0, 0, 100, 100).reshape(2, 2), grey(0, 100, 0, 100).reshape(2, 2)
    assert sum_of_correlations_of_differences((one + other) / 2, [one, other]) == pytest.approx(2 / math.sqrt(2))
    assert sum_of_correlations_of_differences(one + other, [one, other]) == pytest.approx(2)
    # A copy of one: F - one is constant, F - other correlates with one by 1 / sqrt(2).
    assert sum_of_correlations_of_differences(one, [one, other]) == pytest.approx(1 / math.sqrt(2))
    assert sum_of_correlations_of_differences(1 - one, [one]) == pytest.approx(-1)


def test_edges_by_hand() -> None:
    step = np.zeros((6, 6))
    step[:, 3:] = 0.8
    assert edge_preservation(step, [step]) == pytest.approx(COPIED_EDGE)
    assert round(COPIED_EDGE, 4) == 0.9748
    # Edges of half the strength, everywhere in the same direction.
    half = 0.9994 / 2 * 0.9879 / (1 + math.exp(-22 * 0.2))
    assert edge_preservation(step / 2, [step]) == pytest.approx(half)
    # Edges at right angles or none at all keep next to nothing.
    assert edge_preservation(step.T, [step]) < 0.001 and edge_preservation(0 * step, [step]) < 0.001
    assert edge_preservation(step, [step, 0 * step]) == pytest.approx(COPIED_EDGE), "who has no edge has no say"
    assert edge_preservation(step, [0 * step]) is None
    assert edge_preservation(1 - step, [step]) == pytest.approx(COPIED_EDGE), "orientation has no sign"


def test_vif_by_hand() -> None:
    source = texture(1)
    assert visual_information_fidelity(source, source) == pytest.approx(1, abs=1e-6)
    assert visual_information_fidelity(np.full_like(source, 0.3), source) == 0
    assert visual_information_fidelity(1 - source, source) == 0, "an inverted image tells nothing, as VIF sees it"
    assert visual_information_fidelity(source, np.full_like(source, 0.3)) is None
    assert visual_information_fidelity(source / 2, source) < 1 < visual_information_fidelity(source, source / 2)
    assert visual_information_fidelity(source[:16], source[:16]) is None


def test_ssim_by_hand() -> None:
    black, white = np.zeros((12, 12)), np.ones((12, 12))
    assert structural_similarity(white, black) == pytest.approx(0.0001 / 1.0001)
    assert structural_similarity(white, white) == 1
    assert structural_similarity(white[:10], white[:10]) is None


# --- what must hold ---


def test_a_copy_tells_all_about_its_source() -> None:
    one, other = texture(2, (3, 48, 48)), texture(3, (3, 48, 48))
    score = score_fused(one, {"one": one, "other": other})
    own = score.sources[0]
    assert own.ssim == pytest.approx(1) and own.vif == pytest.approx(1, abs=1e-6)
    assert own.mutual_information == pytest.approx(score.entropy) == pytest.approx(entropy(one))
    assert score.mutual_information == pytest.approx(score.entropy + score.sources[1].mutual_information)
    assert score.ssim == pytest.approx((1 + score.sources[1].ssim) / 2)
    assert score.vif == pytest.approx(own.vif + score.sources[1].vif)


@pytest.mark.parametrize("sources", [1, 2, 3])
def test_the_order_of_sources_does_not_matter(sources: int) -> None:
    images = {str(k): texture(k, (2, 40, 44)) for k in range(sources)}
    fused = texture(9, (2, 40, 44))
    forth, back = score_fused(fused, images), score_fused(fused, dict(reversed(images.items())))
    for metric in METRICS:
        assert getattr(forth, metric) == pytest.approx(getattr(back, metric)), metric


def test_a_volume_of_equal_slices_scores_as_its_slice() -> None:
    fused, source = texture(4), texture(5)
    flat = score_fused(fused, {"a": source})
    for axis in range(3):
        deep = score_fused(np.stack([fused] * 3, axis), {"a": np.stack([source] * 3, axis)}, slice_axis=axis)
        for metric in METRICS:
            assert getattr(deep, metric) == pytest.approx(getattr(flat, metric)), metric


def test_mutual_information_is_at_most_the_smaller_entropy() -> None:
    one, other = texture(6), (texture(7) > 0.5).astype(float)
    assert mutual_information(one, other) == pytest.approx(mutual_information(other, one))
    assert mutual_information(one, other) <= min(entropy(one), entropy(other)) + 1e-12


def test_constant_images_are_scored_without_a_word() -> None:
    flat = np.full((2, 48, 48), 0.25, np.float32)
    with np.errstate(all="raise"):
        score = score_fused(flat, {"a": flat, "b": np.zeros_like(flat)})
    assert (score.entropy, score.standard_deviation, score.mutual_information, score.scd) == (0, 0, 0, 0)
    assert score.vif is None and score.qabf is None and score.sources[0].ssim == 1


# --- other people's programs ---


def test_entropy_and_mutual_information_agree_with_others() -> None:
    one, other = texture(10), texture(11)
    assert entropy(one) == pytest.approx(shannon_entropy(to_levels(one)))
    assert entropy(one) == pytest.approx(scipy_entropy(np.bincount(to_levels(one).reshape(-1)), base=2))
    # Theirs is (H(A) + H(B)) / H(A, B).
    alone = entropy(one) + entropy(other)
    normalised = normalized_mutual_information(to_levels(one), to_levels(other), bins=256)
    assert mutual_information(one, other) == pytest.approx(alone - alone / normalised)


def test_vif_agrees_with_sewar() -> None:
    source = texture(12, (64, 72))
    for fused in (0.7 * source + 0.3 * texture(13, (64, 72)), texture(14, (64, 72)), np.sqrt(source)):
        theirs = sewar.vifp(source * 255, fused * 255)
        assert visual_information_fidelity(fused, source) == pytest.approx(theirs, rel=1e-6)


def test_ssim_agrees_with_sewar_and_is_symmetric() -> None:
    one, other = texture(15), texture(16)
    window = {"fltr": sewar.utils.Filter.GAUSSIAN, "sigma": 1.5, "ws": 11}
    theirs = sewar.ssim(one, other, MAX=1.0, fltr_specs=window)[0]
    assert structural_similarity(one, other) == pytest.approx(theirs, rel=1e-6)
    assert structural_similarity(one, other) == pytest.approx(structural_similarity(other, one))
    assert structural_similarity(one, other) == pytest.approx(
        skimage_ssim(one, other, data_range=1.0, gaussian_weights=True, use_sample_covariance=False)
    )


# --- bad input ---


@pytest.mark.parametrize(
    ("fused", "sources", "told"),
    [
        (np.zeros((4, 4)), {}, "without a source"),
        (np.zeros((4, 4)), {"a": np.zeros((4, 5))}, "one shape"),
        (np.zeros((1, 4, 4)), {"a": np.zeros((4, 4))}, "one shape"),
        (np.zeros(4), {"a": np.zeros(4)}, "one shape"),
        (np.zeros((0, 4)), {"a": np.zeros((0, 4))}, "one shape"),
        (np.full((4, 4), np.nan), {"a": np.zeros((4, 4))}, "not finite"),
        (np.zeros((4, 4)), {"a": np.full((4, 4), np.inf)}, "not finite"),
    ],
)
def test_bad_images_are_refused(fused: np.ndarray, sources: dict[str, np.ndarray], told: str) -> None:
    with pytest.raises(DataError, match=told):
        score_fused(fused, sources)
