"""Where a run stands: what a checkpoint must hold beside tensors so that training goes on as if undisturbed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from pydantic import Field

from autofuse.foundation.values import StoredValue, Value, is_empty
from autofuse.training.schedule import Schedule


@dataclass(frozen=True)
class ValidationResult:
    """What a validation found: mean foreground Dice in [0, 1], and per class (None where it is in no reference)."""

    mean_dice: float
    per_class: Mapping[str, float | None] = field(default_factory=dict)


class SkippedStep(Value):
    """A step that moved no weight, since its loss or gradient was not finite."""

    step: int
    objective: str
    cases: tuple[str, ...]
    terms: tuple[str, ...]


class EpochRecord(Value):
    """One epoch as a line of log.jsonl. All but the last three fields are those of any undisturbed run.

    Attributes:
        step: steps done at its end; steps: of the whole training (an estimate where the length is in minutes).
        loss: mean of the summed terms; terms: mean of each, by ``<objective>/<term>``; gradient_norm: mean, unclipped.
        dice, dice_smooth: of the validation and its moving average; None where none was made.
        skipped: steps without effect, at most ``LISTED`` of ``skipped_steps``.
        watched: of the trainer's networks (``Trainer.watched``); remarks: what of it people were told.
    """

    LISTED: ClassVar[int] = 20

    epoch: int
    step: int
    steps: int
    learning_rate: float
    loss: float | None
    terms: dict[str, float | None]
    gradient_norm: float | None
    dice: float | None = None
    dice_smooth: float | None = None
    dice_per_class: dict[str, float | None] = Field(default_factory=dict)
    watched: dict[str, float] = Field(default_factory=dict, exclude_if=is_empty)
    remarks: tuple[str, ...] = Field(default=(), exclude_if=is_empty)
    skipped_steps: int = 0
    skipped: tuple[SkippedStep, ...] = ()
    elapsed_s: float
    step_s: float
    memory_gib: float


class Mean(Value):
    """A mean that is under way."""

    total: float = 0.0
    count: int = 0

    @property
    def value(self) -> float | None:
        """The mean so far, None of nothing."""
        return self.total / self.count if self.count else None

    def plus(self, value: float) -> Mean:
        """With one more value."""
        return Mean(total=self.total + value, count=self.count + 1)


class LossScale(Value):
    """The factor that keeps fp16 gradients above zero; 1 in other precisions. ``calm``: steps since it last changed."""

    scale: float = 1.0
    calm: float = 0.0


class TrainingState(Value):
    """Everything of a run that is not a tensor.

    Attributes:
        step: steps done; over: whether that was the last one.
        epoch: epochs done; epoch_step, epoch_elapsed_s: when the present one began.
        elapsed_s: time that counted so far, over all processes that took part; other_s: the part not spent in steps.
        rate: learning rate of the last step relative to the first.
        means: of the present epoch, by "loss", "gradient_norm" and ``<objective>/<term>``.
        skipped, skipped_steps: of the present epoch; total_skipped: of the epochs before.
        failing: the non-finite steps since an objective's last good one.
        validation_s, validation_total_s: time of the last validation and of all; save_s: of the last checkpoint.
    """

    step: int = 0
    over: bool = False
    epoch: int = 0
    epoch_step: int = 0
    epoch_elapsed_s: float = 0.0
    elapsed_s: float = 0.0
    other_s: float = 0.0
    schedule: Schedule
    step_s: float | None = None
    rate: float = 1.0
    means: dict[str, Mean] = Field(default_factory=dict)
    skipped: tuple[SkippedStep, ...] = ()
    skipped_steps: int = 0
    total_skipped: int = 0
    failing: tuple[SkippedStep, ...] = ()
    scales: dict[str, LossScale] = Field(default_factory=dict)
    dice: float | None = None
    dice_smooth: float | None = None
    best_dice: float | None = None
    best_step: int | None = None
    validation_s: float | None = None
    validation_total_s: float = 0.0
    save_s: float = 0.0
    history: tuple[EpochRecord, ...] = ()


class FitResult(StoredValue):
    """How a run ended; stands as finished.json in its folder.

    Attributes:
        run_digest: of run.json.
        steps, epochs, seconds: that it took, over all processes that took part.
        dice: of the last validation; best_dice: the best moving average, reached at best_step.
        weights_crc32: of the weights in last.safetensors; best_crc32: in best.safetensors.
    """

    kind: ClassVar[str] = "finished_run"

    run_digest: str
    steps: int
    epochs: int
    seconds: float
    dice: float | None
    best_dice: float | None
    best_step: int | None
    weights_crc32: int
    best_crc32: int | None
    skipped_steps: int
