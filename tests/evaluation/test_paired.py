"""The paired bootstrap against numbers that a person can check, and against another implementation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap

from autofuse.evaluation.paired import paired_bootstrap, paired_differences
from autofuse.foundation.errors import DataError


def test_differences_of_the_cases_that_both_have() -> None:
    first = {"a": 0.5, "b": 0.25, "c": 0.75, "only first": 0.1}
    second = {"a": 0.75, "b": 0.25, "c": 0.5, "only second": 0.9}
    assert paired_differences(first, second) == {"a": 0.25, "b": 0.0, "c": -0.25}


def test_a_false_alarm_costs_and_two_empty_masks_say_nothing() -> None:
    assert paired_differences({"a": None, "b": None, "c": 0.0}, {"a": None, "b": 0.0, "c": None}) == {
        "b": -1.0,
        "c": 1.0,
    }


def test_equal_differences_leave_no_doubt() -> None:
    interval = paired_bootstrap({"a": 0.25, "b": 0.25, "c": 0.25}, {})
    assert (interval.difference, interval.lower, interval.upper) == (0.25, 0.25, 0.25)
    assert (interval.cases, interval.subjects) == (3, 3)


def test_of_three_cases_the_worst_is_the_bound() -> None:
    """All three draws are the worst case once in 27 times, which is more than the 2.5 % that are cut off."""
    interval = paired_bootstrap({"a": -0.01, "b": 0.2, "c": 0.3}, {})
    assert interval.lower == pytest.approx(-0.01)
    assert interval.upper == pytest.approx(0.3)


def test_scipy_finds_the_same_bounds() -> None:
    values = np.random.default_rng(3).normal(0.02, 0.05, size=30)
    found = paired_bootstrap({f"{index:02d}": float(value) for index, value in enumerate(values)}, {})
    theirs = bootstrap((values,), np.mean, n_resamples=10_000, method="percentile", random_state=1).confidence_interval
    assert found.difference == pytest.approx(values.mean())
    assert found.lower == pytest.approx(theirs.low, abs=1e-3)
    assert found.upper == pytest.approx(theirs.high, abs=1e-3)


def test_a_subjects_cases_are_drawn_together() -> None:
    """Ten scans of one person say no more than one scan: two subjects, one of them worse."""
    differences = {f"good{scan}": 0.1 for scan in range(10)} | {"bad": -0.1}
    alone = paired_bootstrap(differences, {})
    together = paired_bootstrap(differences, {f"good{scan}": "good" for scan in range(10)})
    assert (alone.subjects, together.subjects) == (11, 2)
    assert alone.lower > 0 > together.lower
    assert together.lower == pytest.approx(-0.1)
    assert (together.difference, alone.difference) == pytest.approx((0.9 / 11, 0.9 / 11))


def test_the_order_of_cases_is_nothing_and_the_seed_is_all() -> None:
    differences = {f"{index:02d}": value for index, value in enumerate(np.linspace(-0.1, 0.2, 9).tolist())}
    backwards = dict(reversed(differences.items()))
    assert paired_bootstrap(differences, {}) == paired_bootstrap(backwards, {})
    assert paired_bootstrap(differences, {}, seed=1) != paired_bootstrap(differences, {}, seed=2)
    narrow = paired_bootstrap(differences, {}, confidence=0.5)
    assert narrow.upper - narrow.lower < 0.1


def test_nothing_to_compare_is_an_error() -> None:
    with pytest.raises(DataError, match="no case"):
        paired_bootstrap({}, {})
