"""The share of training that is done, and learning rates."""

from __future__ import annotations

from itertools import pairwise

import pytest

from autofuse.training.schedule import Schedule


def test_decay_is_polynomial() -> None:
    schedule = Schedule(total=1000)
    assert schedule.factor(0) == 1.0
    assert schedule.factor(500) == pytest.approx(0.5**0.9)
    assert schedule.factor(1000) == 0.0


def test_refitting_never_jumps_and_ends_on_time() -> None:
    schedule = Schedule(total=10**9)
    elapsed_s, budget_s, step, factors = 0.0, 100.0, 0, []
    while step < schedule.total and elapsed_s < budget_s:
        step_s = 0.1 if step < 300 else 0.3  # the machine gets busy on the way
        factors.append(schedule.factor(step))
        elapsed_s += step_s
        step += 1
        if step % 10 == 0:
            before = schedule.factor(step)
            schedule = schedule.refitted(step, budget_s - elapsed_s, step_s)
            assert schedule.factor(step) == pytest.approx(before)
    assert elapsed_s == pytest.approx(budget_s, rel=0.02)
    assert all(earlier >= later for earlier, later in pairwise(factors))
    assert factors[-1] < 0.02


def test_no_time_left_means_done() -> None:
    schedule = Schedule(total=100).refitted(40, 0.0, 1.0)
    assert schedule.total == 40 and schedule.done(40) == 1.0
