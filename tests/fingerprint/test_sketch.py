"""Pooled statistics against numpy on all values together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autofuse.fingerprint import sketch as module
from autofuse.fingerprint.sketch import pooled_mean_std, pooled_percentile, sketch

random = np.random.default_rng(7)
PARTS = [
    random.normal(100, 10, 20_000).astype(np.float32),
    random.normal(300, 50, 2_000).astype(np.float32),
    random.exponential(500, 9_000).astype(np.float32),
]


def test_percentiles_are_those_of_all_voxels_together() -> None:
    together = np.concatenate(PARTS)
    sketches = [sketch(part) for part in PARTS]
    spread = float(together.std())
    for percent in (0.5, 5, 50, 95, 99.5):
        found = pooled_percentile(sketches, percent)
        # What counts is the level: the share of voxels below the value that was found.
        assert (together < found).mean() * 100 == pytest.approx(percent, abs=0.2)
        assert found == pytest.approx(np.percentile(together, percent), abs=0.1 * spread)


def test_mean_and_std_are_exact() -> None:
    together = np.concatenate(PARTS).astype(np.float64)
    found = pooled_mean_std([sketch(part) for part in PARTS])
    assert found == pytest.approx((together.mean(), together.std()), rel=1e-6)


@given(st.permutations(range(3)))
def test_the_order_of_cases_does_not_matter(order: list[int]) -> None:
    sketches = [sketch(part) for part in PARTS]
    turned = [sketches[index] for index in order]
    assert pooled_mean_std(turned) == pooled_mean_std(sketches)
    assert pooled_percentile(turned, 99.5) == pooled_percentile(sketches, 99.5)


def test_single_values_constants_and_nothing() -> None:
    assert sketch(np.array([])) is None
    single = sketch(np.array([5], np.int16))
    assert (single.voxels, single.mean, single.std, single.integral) == (1, 5.0, 0.0, True)
    assert pooled_percentile([single], 99.5) == 5.0
    assert pooled_percentile([sketch(np.full(1000, 7.5))], 0.5) == 7.5
    assert not sketch(np.array([1.5, 2.0])).integral


def test_many_voxels_are_thinned_but_their_moments_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    values = PARTS[0]
    whole = sketch(values)
    monkeypatch.setattr(module, "SORTED_AT_MOST", 1000)
    thinned = sketch(values)
    assert (thinned.mean, thinned.std, thinned.minimum, thinned.maximum) == (
        whole.mean, whole.std, whole.minimum, whole.maximum,
    )  # fmt: skip
    assert thinned.quantiles[200] == pytest.approx(whole.quantiles[200], abs=0.1 * whole.std)
