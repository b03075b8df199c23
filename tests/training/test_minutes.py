"""A run with a deadline: it ends in time, with the learning rate annealed, whatever the machine does meanwhile.

All but one of these tests run on a clock of their own that moves only when a batch, a validation or a test says so.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_training import CASES, Blobs, Tiny, blob_loader, hard_dice, tiny_run, tiny_task

from autofuse.training.clock import Clock
from autofuse.training.loop import fit
from autofuse.training.model import load_model
from autofuse.training.schedule import Schedule
from autofuse.training.signals import Terminated
from autofuse.training.state import EpochRecord, FitResult, TrainingState, ValidationResult

RATE = Tiny().learning_rate


class StandingClock:
    """Stands in for the time module; seconds pass when they are told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s

    def validating(self, seconds: float) -> Callable[[Any, Any], ValidationResult]:
        """A validation that takes ``seconds``."""

        def validate(_nets: Any, _trainer: Any) -> ValidationResult:
            self.now_s += seconds
            return ValidationResult(0.5)

        return validate

    def stepping(self, step_s: Callable[[float], float], stop_at_s: float = float("inf")) -> Callable[[int], Any]:
        """A loader factory; a step takes ``step_s`` (of the seconds since it was made); SIGTERM at ``stop_at_s``."""

        def make(first_step: int) -> Iterator[Any]:
            began = self.now_s
            for batch in Blobs({"labelled": CASES}, first_step):
                self.now_s += step_s(self.now_s - began)
                if self.now_s - began > stop_at_s:
                    os.kill(os.getpid(), signal.SIGTERM)
                yield batch

        return make


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> StandingClock:
    standing = StandingClock()
    for module in ("clock", "loop", "session"):
        monkeypatch.setattr(f"autofuse.training.{module}.time", standing)
    return standing


def train(folder: Path, seconds: float, **options: Any) -> FitResult:
    run = tiny_run(tiny_task(), Tiny(), minutes=seconds / 60, steps_per_epoch=250)
    options = {"validate": hard_dice, "loader_factory": blob_loader()} | options
    return fit(tiny_task(), Tiny(), None, run, folder, device="cpu", **options)


def records(folder: Path) -> list[EpochRecord]:
    return [EpochRecord.model_validate_json(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_it_ends_in_time_and_annealed(tmp_path: Path, clock: StandingClock) -> None:
    loader, began_s = clock.stepping(lambda _: 2.0), clock.now_s
    result = train(tmp_path, 600.0, loader_factory=loader, validate=clock.validating(4.0))
    assert 590.0 < clock.now_s - began_s <= 602.0 and result.seconds <= 602.0
    epochs = records(tmp_path)
    rates = [epoch.learning_rate for epoch in epochs]
    assert rates == sorted(rates, reverse=True) and rates[-1] < 0.05 * RATE
    assert 15 <= len(epochs) <= 25 and epochs[-1].dice is not None
    validations = sum(epoch.dice is not None for epoch in epochs)
    assert 8 <= validations <= 16, "validation takes about its tenth of the time"
    assert 250 <= result.steps <= 290


@pytest.mark.parametrize(("before_s", "after_s"), [(1.0, 4.0), (4.0, 1.0)], ids=["slower", "faster"])
def test_the_rate_anneals_although_the_speed_changes(
    tmp_path: Path, clock: StandingClock, before_s: float, after_s: float
) -> None:
    loader, began_s = clock.stepping(lambda elapsed: before_s if elapsed < 100 else after_s), clock.now_s
    train(tmp_path, 300.0, loader_factory=loader, validate=None)
    assert 290.0 < clock.now_s - began_s <= 304.0
    assert records(tmp_path)[-1].learning_rate < 0.05 * RATE


def test_going_on_uses_the_time_that_is_left(tmp_path: Path, clock: StandingClock) -> None:
    with pytest.raises(Terminated):
        train(tmp_path, 300.0, loader_factory=clock.stepping(lambda _: 2.0, stop_at_s=120.0), validate=None)
    clock.now_s += 10_000.0  # nobody at work
    began_s = clock.now_s
    result = train(tmp_path, 300.0, loader_factory=clock.stepping(lambda _: 2.0), validate=None)
    assert 170.0 < clock.now_s - began_s < 182.0 and 290.0 < result.seconds < 302.0
    assert records(tmp_path)[-1].learning_rate < 0.05 * RATE


def test_a_deadline_of_less_than_a_step_still_gives_a_model(tmp_path: Path, clock: StandingClock) -> None:
    assert train(tmp_path, 0.6, loader_factory=clock.stepping(lambda _: 5.0)).steps == 1
    assert load_model(tmp_path).run.minutes == pytest.approx(0.01)


def test_a_deadline_of_few_steps_anneals(tmp_path: Path, clock: StandingClock) -> None:
    result = train(tmp_path, 60.0, loader_factory=clock.stepping(lambda _: 5.0), validate=None)
    assert 10 <= result.steps <= 12 and clock.now_s <= 1065.0
    assert records(tmp_path)[-1].learning_rate < 0.2 * RATE


def test_a_validation_that_would_take_too_long_is_left_out() -> None:
    run = tiny_run(tiny_task(), Tiny(), minutes=10.0)
    state = TrainingState(schedule=Schedule(total=1000), step=100, step_s=0.5, over=True)
    started = time.monotonic() - 300
    cheap, dear = (Clock(run, state, started, validation_samples=samples) for samples in (60, 6000))
    assert cheap.wants_validation(state) and not dear.wants_validation(state)
    known = state.model_copy(update={"over": False, "validation_s": 20.0, "validation_total_s": 20.0})
    assert not cheap.wants_validation(known)
    assert cheap.wants_validation(known.model_copy(update={"validation_s": 9.0}))


@pytest.mark.usefixtures("pictures")
def test_it_ends_in_time_on_a_real_clock(tmp_path: Path) -> None:
    began = time.monotonic()
    result = train(tmp_path, 4.0)
    assert 3.0 < time.monotonic() - began < 30.0  # the machine may be at somebody else's work
    assert result.steps > 10 and records(tmp_path)[-1].learning_rate < 0.5 * RATE
