"""Greedy choice on numbers that can be checked by hand, and what is simple enough."""

from __future__ import annotations

import numpy as np
import pytest

from autofuse.evaluation.choosing import best_single, choose_members, greedy, nested_choice, reduced
from autofuse.evaluation.jury import Jury, Values, case_means, mean_credit

TEN = Jury(tuple(f"case {i}" for i in range(10)), tuple(f"subject {i}" for i in range(10)))


def table(scores: dict[tuple[int, ...], float], spread: Values | None = None):  # type: ignore[no-untyped-def]
    """Scores of ten cases: a number an ensemble, the same in every case but for ``spread``; 0.5 for all others."""

    def score(counts: tuple[int, ...]) -> Values:
        return np.full(10, scores.get(counts, 0.5)) + (0 if spread is None else spread * (sum(counts) > 1))

    return score


def test_greedy_takes_the_best_run_and_then_what_helps_most() -> None:
    score = table({(0, 1, 0): 0.8, (1, 0, 0): 0.7, (1, 1, 0): 0.85, (0, 1, 1): 0.83, (1, 2, 0): 0.86})
    assert greedy(score, 3, TEN.everybody, most=3) == [(0, 1, 0), (1, 1, 0), (1, 2, 0)]
    assert greedy(score, 3, TEN.everybody, most=1) == [(0, 1, 0)]


def test_a_run_may_be_taken_again_and_weights_are_told_in_smallest_numbers() -> None:
    score = table({(1, 0): 0.9, (1, 1): 0.4})
    path = greedy(score, 2, TEN.everybody, most=3)
    assert path == [(1, 0), (2, 0), (3, 0)]
    assert {reduced(step) for step in path} == {(1, 0)}
    assert reduced((4, 2, 6)) == (2, 1, 3)


def test_a_clear_gain_takes_the_ensemble() -> None:
    score = table({(1, 0): 0.8, (0, 1): 0.79, (1, 1): 0.9})
    choice = choose_members(score, 2, TEN, TEN.everybody, most=2)
    assert choice.chosen == choice.best == (1, 1)
    assert choice.looked_at == ((1, 0), (0, 1), (1, 1))


def test_the_simplest_within_the_interval_is_taken() -> None:
    # The ensemble is ahead by 0.01 on average, by 0.2 in one case and behind in most: chance.
    spread = np.array([0.19, -0.02, -0.02, 0.0, -0.02, 0.0, -0.02, 0.0, -0.01, 0.0])
    score = table({(1, 0): 0.8, (0, 1): 0.79, (1, 1): 0.8}, spread)
    choice = choose_members(score, 2, TEN, TEN.everybody, most=2)
    assert choice.best == (1, 1)
    assert choice.chosen == (1, 0)


def test_with_few_subjects_a_single_run_is_taken() -> None:
    jury = Jury(("a", "b", "c", "d", "e", "f"), ("x", "x", "x", "x", "y", "y"))

    def score(counts: tuple[int, ...]) -> Values:
        return np.full(6, {(1, 0): 0.8, (1, 1): 0.9}.get(counts, 0.7))

    assert choose_members(score, 2, jury, jury.everybody, most=2).chosen == (1, 0)


def test_an_ensemble_of_noise_gains_nothing_where_it_did_not_choose() -> None:
    """Every ensemble is as good as any other, but for noise: the best of many looks better, and is not."""
    apparent, honest = [], []
    for seed in range(6):
        noise: dict[tuple[int, ...], Values] = {}
        generator = np.random.default_rng(seed)
        jury = Jury(tuple(f"{i}" for i in range(30)), tuple(f"{i}" for i in range(30)))

        def score(counts: tuple[int, ...], noise=noise, generator=generator) -> Values:  # type: ignore[no-untyped-def]
            return noise.setdefault(counts, 0.8 + 0.05 * generator.standard_normal(30))

        choice = choose_members(score, 5, jury, jury.everybody, most=5)
        nested = nested_choice(score, 5, jury, jury.everybody, most=5)
        apparent.append(mean_credit(score(choice.best), jury.everybody) - 0.8)
        honest.append(mean_credit(nested.chosen, jury.everybody) - 0.8)
    assert np.mean(apparent) > 0.01, "choosing the best of many flatters"
    assert abs(np.mean(honest)) < 0.006, "the nested estimate does not"


def test_a_real_gain_shows_in_the_nested_estimate() -> None:
    wobble = np.linspace(-0.03, 0.03, 10)
    score = table({(1, 0): 0.8, (0, 1): 0.79, (1, 1): 0.9}, wobble)
    nested = nested_choice(score, 2, TEN, TEN.everybody, most=2)
    assert nested.gain is not None
    assert nested.gain.difference == pytest.approx(0.1)
    assert nested.gain.lower > 0.05


def test_parts_never_separate_a_subject() -> None:
    jury = Jury(("a1", "a2", "b1", "c1", "d1", "e1", "f1"), ("a", "a", "b", "c", "d", "e", "f"))
    parts = list(jury.parts(jury.everybody))
    assert len(parts) == 5
    assert sum(part.sum() for _, part in parts) == 7
    for others, part in parts:
        assert not (others & part).any()
        assert part[0] == part[1]


def test_nothing_to_find_and_nothing_found_is_right() -> None:
    scores = np.array([[np.nan, np.nan], [0.5, np.nan], [1.0, 0.0]])
    means = case_means(scores)
    np.testing.assert_array_equal(means[1:], [0.5, 0.5])
    assert np.isnan(means[0])
    everybody = np.ones(3, dtype=bool)
    assert mean_credit(means, everybody) == pytest.approx((1 + 0.5 + 0.5) / 3)
    assert best_single(lambda counts: means if counts[0] else means * 0.9, 2, everybody) == (1, 0)
