"""One process's part of a run: it takes up the state that the last one saved and goes on from there."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from autofuse.foundation.console import Advance, log, say
from autofuse.foundation.machine import GIB, peak_memory_gib
from autofuse.plan.task import Task
from autofuse.sampling import ranks
from autofuse.sampling.batch import Batch
from autofuse.training.checkpoint import tensors_crc32
from autofuse.training.clock import Clock
from autofuse.training.ema import Average
from autofuse.training.guards import NON_FINITE_LIMIT, TOLD_PER_EPOCH, diverged, memory_named
from autofuse.training.journal import Journal, live_bar
from autofuse.training.model import FINISHED_NAME
from autofuse.training.run import RunPlan, run_name
from autofuse.training.saved import SavedRun
from autofuse.training.seeds import seed_everything
from autofuse.training.signals import Stop, Stopping
from autofuse.training.state import EpochRecord, FitResult, Mean, SkippedStep, TrainingState, ValidationResult
from autofuse.training.steps import Outcome, Stepper
from autofuse.training.streams import LoaderFactory
from autofuse.training.trainer import Progress, Trainer
from autofuse.training.validation import Validate, looked_at, put_together, scores

LOOK_EVERY_STEPS = 20
"""Steps between two looks at what happened, where a look makes the device wait (not on a CPU)."""
SAVE_EVERY_S = 120.0
"""Longest time between two checkpoints; one in the middle of an epoch changes nothing but what a stop costs."""


class Session:
    """Networks, their descent and the state of the run, between two checkpoints."""

    def __init__(
        self,
        task: Task,
        trainer: Trainer,
        run: RunPlan,
        folder: Path,
        device: torch.device,
        validate: Validate | None,
        stopping: Stopping,
        started: float,
    ) -> None:
        self._trainer, self._run, self._folder, self._device = trainer, run, folder, device
        self._validate, self._stopping = validate, stopping
        seed_everything(run.seed, "networks")
        self.nets = trainer.networks(task).to(device).train()
        self._average = Average(self.nets, trainer.ema_decay) if trainer.ema_decay > 0 else None
        self._stepper = Stepper(task, trainer, self.nets, run, device)
        self._saved = SavedRun(folder, run, self.nets, self._average, self._stepper)
        self.state = self._saved.resume() or TrainingState(schedule=Clock.first_schedule(run))
        self._saved.require_same(self.state.step)  # nothing is written before all have read
        patches = int(getattr(validate, "patches", 0) or 0)
        self._clock = Clock(run, self.state, started, validation_samples=patches / task.configuration.batch)
        title = f"{run_name(run)}, fold {run.fold}"
        self._journal = Journal(folder, title, self.state.history, self._clock.budget_s) if ranks.is_first() else None
        self._saved_at = time.monotonic()
        self._advance: Advance = lambda n=1, note="": None
        if run.compiled and device.type == "cuda":
            for net in self.nets.values():
                net.compile()

    def train(self, make_loader: LoaderFactory) -> FitResult:
        """Go on until the run is finished.

        Raises:
            Interrupted: after a signal, with the state saved.
        """
        if self.state.step == 0:  # a disk that cannot be written shows now, not after an epoch
            self._saved.require_disk()
            self._save()
        total = self._clock.budget_s or float(self._run.steps or 0)
        done = self.state.elapsed_s if self._clock.budget_s else float(self.state.step)
        try:
            with live_bar("training", total) as self._advance, _batches(make_loader, self.state.step) as batches:
                self._advance(done)
                while not (self.state.over and self.state.epoch_step == self.state.step):
                    self._go_on(batches)
        except Stop:  # a signal in the moment between two blocks
            self._stop()
        finally:
            if self._journal is not None:
                self._journal.close()
        return self._finish()

    def _go_on(self, batches: Iterator[Mapping[str, Batch]]) -> None:
        if self.state.step > self.state.epoch_step and self._clock.epoch_is_complete(self.state):
            self._end_epoch()
        else:
            with memory_named(str(self._device)):
                self._step(batches)
        if self._told_to(save=time.monotonic() - self._saved_at > SAVE_EVERY_S):
            self._save()

    def _told_to(self, *, save: bool) -> bool:
        """Whether all ranks save now, as the first decides; where a signal reached any of them, all stop.

        Raises:
            Interrupted: after a signal, with the state saved.
        """
        signal, save_now = ranks.largest([self._stopping.signal or 0, int(save and ranks.is_first())])
        if signal:
            self._stopping.signal = signal
            self._stop()
        return bool(save_now)

    def _step(self, batches: Iterator[Mapping[str, Batch]]) -> None:
        step, schedule = self.state.step, self.state.schedule
        batch = next(batches)
        timed = self._clock.budget_s is not None
        progress = Progress(step, schedule.total, schedule.done(step) if timed else None)
        self._stepper.take(step, batch, progress, schedule.factor(step))
        if self._average is not None:
            self._average.follow(step)
        self._update(step=step + 1, rate=schedule.factor(step))
        if self._device.type == "cpu" or (step + 1) % LOOK_EVERY_STEPS == 0 or step < LOOK_EVERY_STEPS:
            self._look()
        self._update(over=self._clock.is_over(self.state))

    def _look(self) -> None:
        """Take note of what the last steps did; correct the schedule where the length is a time."""
        for outcome in self._stepper.collect():
            self._note(outcome)
        self._update(**self._clock.corrected(self.state))
        loss, dice = self.state.means.get("loss", Mean()).value, self.state.dice
        note = ("" if loss is None else f"loss {loss:.3f}") + ("" if dice is None else f"  Dice {dice:.3f}")
        self._advance(self._clock.tick(self.state), note)

    def _note(self, outcome: Outcome) -> None:
        if outcome.overflow:
            return
        if outcome.failed:
            self._note_failure(outcome)
            return
        means = dict(self.state.means)
        values = {f"{outcome.objective}/{name}": value for name, value in outcome.terms.items()}
        for name, value in {"loss": outcome.loss, "gradient_norm": outcome.gradient_norm, **values}.items():
            means[name] = means.get(name, Mean()).plus(value)
        others = tuple(step for step in self.state.failing if step.objective != outcome.objective)
        self._update(means=means, failing=others)

    def _note_failure(self, outcome: Outcome) -> None:
        terms = tuple(name for name, value in outcome.terms.items() if value - value != 0.0)
        skipped = SkippedStep(step=outcome.step, objective=outcome.objective, cases=outcome.cases, terms=terms)
        kept = (*self.state.skipped, skipped)[-EpochRecord.LISTED :]
        failing = (*self.state.failing, skipped)
        self._update(skipped=kept, skipped_steps=self.state.skipped_steps + 1, failing=failing)
        what = ", ".join(terms) or "a gradient"
        tell = say if self.state.skipped_steps <= TOLD_PER_EPOCH else log().info
        tell(f"Step {outcome.step} was skipped: {what} not finite ({', '.join(outcome.cases)})")
        on_end = [step for step in failing if step.objective == outcome.objective]
        if len(on_end) >= NON_FINITE_LIMIT:
            raise diverged(on_end, self._trainer.learning_rate)

    def _end_epoch(self) -> None:
        self._look()
        result: ValidationResult | None = None
        began = self._clock.elapsed_s
        if self._validate is not None and self._clock.wants_validation(self.state):
            result = self._validated(self._validate)
        validation_s = self._clock.elapsed_s - began
        if result is not None:
            self._update(
                **scores(self.state, result),
                validation_s=validation_s,
                validation_total_s=self.state.validation_total_s + validation_s,
            )
            self._update(over=self._clock.is_over(self.state))
        record = self._record(result)
        if result is not None and self.state.best_step == self.state.step:
            self._saved.save_weights("best", self.state.step, self.state.best_dice)
        self._update(
            epoch=record.epoch,
            epoch_step=self.state.step,
            means={},
            skipped=(),
            skipped_steps=0,
            total_skipped=self.state.total_skipped + record.skipped_steps,
            history=(*self.state.history, record),
            other_s=self.state.other_s + self._clock.elapsed_s - began,
            epoch_elapsed_s=self._clock.elapsed_s,
        )
        self._saved.require_same(self.state.step)
        self._save()
        began = self._clock.elapsed_s
        if self._journal is not None:
            self._journal.add(record, self.state.history, last=self.state.over)
        self._update(other_s=self.state.other_s + self._clock.elapsed_s - began)

    def _validated(self, validate: Validate) -> ValidationResult:
        """What ``validate`` finds, its cases divided among the ranks where it lets them be.

        Raises:
            Interrupted: after a signal; the epoch is ended, and validated, by whoever goes on.
        """
        nets = self.nets if self._average is None else self._average.nets
        nets.eval()
        try:
            found = self._stopping.unless_stopped(lambda: looked_at(validate, nets, self._trainer, self._device))
        finally:
            self.nets.train()
        self._told_to(save=False)
        return put_together(validate, found)

    def _record(self, result: ValidationResult | None) -> EpochRecord:
        state, elapsed_s = self.state, self._clock.elapsed_s
        spent_s = elapsed_s - state.epoch_elapsed_s - (state.validation_s or 0.0 if result is not None else 0.0)
        watched = dict(self._trainer.watched(self.nets))
        before = state.history[-1].watched if state.history else {}
        return EpochRecord(
            epoch=state.epoch + 1,
            step=state.step,
            steps=state.schedule.total,
            learning_rate=self._trainer.learning_rate * state.rate,
            loss=state.means.get("loss", Mean()).value,
            gradient_norm=state.means.get("gradient_norm", Mean()).value,
            terms={name: mean.value for name, mean in state.means.items() if "/" in name},
            dice=None if result is None else result.mean_dice,
            dice_smooth=None if result is None else state.dice_smooth,
            dice_per_class={} if result is None else dict(result.per_class),
            watched=watched,
            remarks=self._trainer.remarks(before, watched),
            skipped_steps=state.skipped_steps,
            skipped=state.skipped,
            elapsed_s=round(elapsed_s, 3),
            step_s=round(spent_s / (state.step - state.epoch_step), 6),
            memory_gib=round(self._memory_gib(), 3),
        )

    def _memory_gib(self) -> float:
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) / GIB
        return peak_memory_gib()

    def _stop(self) -> None:
        self._look()
        self._save()
        raise self._stopping.error(self.state.step, str(self._folder))

    def _save(self) -> None:
        began = self._clock.elapsed_s
        for outcome in self._stepper.collect():
            self._note(outcome)
        self._saved.save(self.state.model_copy(update={"elapsed_s": began, "scales": self._stepper.scales()}))
        self._saved_at = time.monotonic()
        spent_s = self._clock.elapsed_s - began
        self._update(save_s=spent_s, other_s=self.state.other_s + spent_s)

    def _finish(self) -> FitResult:
        seconds = round(self._clock.elapsed_s, 3)
        if self._journal is not None:
            self._write_end(self._journal, seconds)
        ranks.wait()
        return FitResult.load(self._folder / FINISHED_NAME)

    def _write_end(self, journal: Journal, seconds: float) -> None:
        journal.draw(self.state.history)
        result = FitResult(
            run_digest=self._run.digest(),
            steps=self.state.step,
            epochs=self.state.epoch,
            seconds=seconds,
            dice=self.state.dice,
            best_dice=self.state.best_dice,
            best_step=self.state.best_step,
            weights_crc32=tensors_crc32(self._saved.weights()),
            best_crc32=None if self.state.best_step is None else self._saved.best_crc32(),
            skipped_steps=self.state.total_skipped,
        )
        result.save(self._folder / FINISHED_NAME)
        self._saved.save_weights("last", self.state.step, self.state.dice)

    def _update(self, **changes: Any) -> None:
        self.state = self.state.model_copy(update=changes)


@contextmanager
def _batches(make_loader: LoaderFactory, first_step: int) -> Iterator[Iterator[Mapping[str, Batch]]]:
    """The batches from ``first_step`` on; the loader is closed afterwards."""
    loader = make_loader(first_step)
    try:
        yield iter(loader)
    finally:
        close = getattr(loader, "close", None)
        if close is not None:
            close()
