"""A run with a deadline: it ends in time, with the learning rate annealed, whatever the machine does meanwhile."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
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

BEYOND_S = 1.5
"""Other people's work on the same cores may hold up the last step, checkpoint and picture by this much."""


def train(folder: Path, seconds: float, trainer: Tiny | None = None, **options: Any) -> FitResult:
    trainer = trainer or Tiny()
    run = tiny_run(tiny_task(), trainer, minutes=seconds / 60, steps_per_epoch=250)
    options = {"validate": hard_dice, "loader_factory": blob_loader()} | options
    return fit(tiny_task(), trainer, None, run, folder, device="cpu", **options)


def records(folder: Path) -> list[EpochRecord]:
    return [EpochRecord.model_validate_json(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_it_ends_in_time_and_annealed(tmp_path: Path) -> None:
    began = time.monotonic()

    def slow(nets: Any, trainer: Any) -> ValidationResult:
        time.sleep(0.1)
        return hard_dice(nets, trainer)

    result = train(tmp_path, 5.0, validate=slow)
    took_s = time.monotonic() - began
    assert 4.0 < took_s < 5.0 + BEYOND_S
    assert result.steps > 50 and result.dice is not None and result.dice > 0.8
    epochs = records(tmp_path)
    rates = [epoch.learning_rate for epoch in epochs]
    assert rates == sorted(rates, reverse=True) and rates[-1] < 0.1 * Tiny().learning_rate
    assert len(epochs) > 5 and epochs[-1].dice is not None
    validations = sum(epoch.dice is not None for epoch in epochs)
    assert 1 < validations <= 0.1 * 5.0 / 0.1 + 2, "validation stays within its share"


def test_the_rate_anneals_although_steps_become_slower(tmp_path: Path) -> None:
    def slowing(first_step: int) -> Iterator[Any]:
        began = time.monotonic()
        for batch in Blobs({"labelled": CASES}, first_step):
            time.sleep(0.0 if time.monotonic() - began < 1.0 else 0.04)
            yield batch

    train(tmp_path, 3.0, loader_factory=slowing, validate=None)
    assert records(tmp_path)[-1].learning_rate < 0.15 * Tiny().learning_rate


def test_a_tiny_deadline_still_gives_a_model(tmp_path: Path) -> None:
    result = train(tmp_path, 0.01)
    assert result.steps >= 1
    assert load_model(tmp_path).run.minutes is not None


def test_going_on_uses_the_time_that_is_left(tmp_path: Path) -> None:
    def stopping(first_step: int) -> Iterator[Any]:
        began = time.monotonic()
        for batch in Blobs({"labelled": CASES}, first_step):
            if time.monotonic() - began > 1.5:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    with pytest.raises(Terminated):
        train(tmp_path, 4.0, loader_factory=stopping)
    began = time.monotonic()
    result = train(tmp_path, 4.0)
    assert time.monotonic() - began < 2.6 + BEYOND_S
    assert 3.0 < result.seconds < 4.0 + BEYOND_S


def test_a_validation_that_would_take_too_long_is_left_out() -> None:
    run = tiny_run(tiny_task(), Tiny(), minutes=10.0)
    state = TrainingState(schedule=Schedule(total=1000), step=100, step_s=0.5, over=True)
    started = time.monotonic() - 300
    cheap, dear = (Clock(run, state, started, validation_samples=samples) for samples in (60, 6000))
    assert cheap.wants_validation(state) and not dear.wants_validation(state)
    known = state.model_copy(update={"over": False, "validation_s": 20.0, "validation_total_s": 20.0})
    assert not cheap.wants_validation(known)
    assert cheap.wants_validation(known.model_copy(update={"validation_s": 9.0}))
