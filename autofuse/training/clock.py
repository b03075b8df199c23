"""When epochs end, when to validate, and when a run is over: counted in steps, or by the clock."""

from __future__ import annotations

import time
from typing import Any

from autofuse.sampling import ranks
from autofuse.training.run import FORWARD_SHARE, VALIDATION_SHARE, RunPlan
from autofuse.training.schedule import UNKNOWN_STEPS, Schedule
from autofuse.training.state import TrainingState

LONGEST_EPOCH_S = 60.0
EPOCH_SHARE = 1 / 20
"""An epoch of a timed run lasts at most a minute and at most this share of the whole."""
FINAL_VALIDATION_SHARE = 0.15
"""A validation that takes more of a timed run than this is not made at its end."""
WARM_UP_STEPS = 3
"""First steps of a process are slower than the rest; each measurement replaces the one before."""
CORRECT_EVERY_SHARE, CORRECT_EVERY_S = 0.01, 0.5


class Clock:
    """Decides by counting where the length is in steps, so that a repetition decides alike; else by elapsed time.

    Time counts over all processes that took part in the run: a run that goes on has what was left of its minutes. Where
    time decides and several ranks train, it is that of rank 0, so that all decide alike; each must then ask as often.
    """

    def __init__(self, run: RunPlan, state: TrainingState, started: float, *, validation_samples: float = 0.0) -> None:
        self._run = run
        self.budget_s = None if run.minutes is None else run.minutes * 60.0
        self._started = started
        self._before_s = state.elapsed_s
        self._validation_samples = validation_samples
        self._steps_here = 0
        self._step_mark = state.step
        self._time_mark = self._busy_s(state)
        self._shown = (state.step, self.elapsed_s)

    @staticmethod
    def first_schedule(run: RunPlan) -> Schedule:
        """The schedule before any step."""
        return Schedule(total=run.steps or UNKNOWN_STEPS)

    @property
    def elapsed_s(self) -> float:
        """Seconds that this run has taken so far."""
        elapsed_s = self._before_s + time.monotonic() - self._started
        return elapsed_s if self.budget_s is None else ranks.first_says(elapsed_s)

    def is_over(self, state: TrainingState) -> bool:
        """Whether the last step has been taken."""
        if self.budget_s is None or state.step >= state.schedule.total:
            return state.step >= state.schedule.total
        half_a_step_s = (state.step_s or 0.0) / 2
        return state.over or self.elapsed_s + self._reserve_s(state) + half_a_step_s >= self.budget_s

    def epoch_is_complete(self, state: TrainingState) -> bool:
        """Whether an epoch ends after the steps taken so far."""
        if state.over or state.step - state.epoch_step >= self._run.steps_per_epoch:
            return True
        if self.budget_s is None:
            return False
        return self.elapsed_s - state.epoch_elapsed_s >= min(LONGEST_EPOCH_S, EPOCH_SHARE * self.budget_s)

    def wants_validation(self, state: TrainingState) -> bool:
        """Whether the epoch that ends now is validated."""
        if self.budget_s is None:
            return state.over or (state.epoch + 1) % self._run.validate_every == 0
        expected_s = self._validation_s(state)
        if state.over:
            return expected_s <= FINAL_VALIDATION_SHARE * self.budget_s
        fits = expected_s < self.budget_s - self.elapsed_s - self._reserve_s(state)
        return fits and state.validation_total_s + expected_s <= VALIDATION_SHARE * self.elapsed_s

    def corrected(self, state: TrainingState) -> dict[str, Any]:
        """Fields of the state to change: the measured time of a step and, in a timed run, the schedule that fits."""
        steps = state.step - self._step_mark
        busy_s = self._busy_s(state) - self._time_mark
        rare_s = 0.0 if self.budget_s is None else max(CORRECT_EVERY_S, CORRECT_EVERY_SHARE * self.budget_s)
        warming = self._steps_here < WARM_UP_STEPS
        if self.budget_s is None or steps == 0 or state.over or not (warming or busy_s >= rare_s):
            return {}
        measured_s = busy_s / steps
        step_s = measured_s if warming or state.step_s is None else (measured_s + state.step_s) / 2
        self._steps_here += steps
        self._step_mark, self._time_mark = state.step, self._busy_s(state)
        overhead = state.other_s / max(self.elapsed_s - state.other_s, 1e-9) if state.epoch else 0.0
        left_s = self.budget_s - self.elapsed_s - self._reserve_s(state)
        schedule = state.schedule.refitted(state.step, max(0.0, left_s), step_s * (1.0 + overhead))
        return {"step_s": step_s, "schedule": schedule}

    def tick(self, state: TrainingState) -> float:
        """What was done since the last call: seconds of a timed run, steps of another."""
        steps, elapsed_s = self._shown
        self._shown = (state.step, self.elapsed_s)
        return self._shown[1] - elapsed_s if self.budget_s is not None else float(state.step - steps)

    def _busy_s(self, state: TrainingState) -> float:
        return self.elapsed_s - state.other_s

    def _validation_s(self, state: TrainingState) -> float:
        """Seconds that a validation takes: the last one, or forward passes counted; 0 where nothing is known."""
        if state.validation_s is not None:
            return state.validation_s
        return self._validation_samples * FORWARD_SHARE * (state.step_s or 0.0)

    def _reserve_s(self, state: TrainingState) -> float:
        """Seconds to keep for what comes after the last step: validation, checkpoints, the picture."""
        if self.budget_s is None:
            return 0.0
        expected_s = self._validation_s(state)
        validation_s = expected_s if expected_s <= FINAL_VALIDATION_SHARE * self.budget_s else 0.0
        return validation_s + 3 * state.save_s + min(2.0, 0.02 * self.budget_s)
