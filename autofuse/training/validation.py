"""What a validation is to the loop, and how the ranks of a training share one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from autofuse.sampling import ranks
from autofuse.training.guards import memory_named
from autofuse.training.state import TrainingState, ValidationResult
from autofuse.training.trainer import Trainer

Validate = Callable[[nn.ModuleDict, Trainer], ValidationResult]

SMOOTHING = 0.7
"""Of the moving average of validation Dice, by which the best weights are chosen."""


@runtime_checkable
class Divisible(Protocol):
    """A validation whose cases can be divided among ranks; others are made by every rank."""

    def part(self, nets: nn.ModuleDict, trainer: Trainer, rank: int, count: int) -> Tensor:
        """Scores of every ``count``-th case from ``rank`` on, and 0 for the others; the parts add up to the whole."""
        ...

    def result(self, scores: Tensor) -> ValidationResult:
        """What the whole says."""
        ...


@torch.no_grad()
def looked_at(validate: Validate, nets: nn.ModuleDict, trainer: Trainer, device: torch.device) -> Any:
    """What this rank has found, in a form for ``put_together``; no other rank is waited for.

    Raises:
        ResourceError: where it runs out of memory.
    """
    with memory_named(str(device)):
        if ranks.count() > 1 and isinstance(validate, Divisible):
            return validate.part(nets, trainer, ranks.rank(), ranks.count())
        return validate(nets, trainer)


def put_together(validate: Validate, found: Any) -> ValidationResult:
    """What all ranks have found."""
    if isinstance(found, Tensor):
        assert isinstance(validate, Divisible), "only such a validation gives scores"
        return validate.result(ranks.sum_over_ranks(found))
    assert isinstance(found, ValidationResult)
    return found


def scores(state: TrainingState, result: ValidationResult) -> dict[str, Any]:
    """Fields of the state to change: the Dice, its moving average, and the best so far."""
    before = state.dice_smooth
    smooth = result.mean_dice if before is None else SMOOTHING * before + (1 - SMOOTHING) * result.mean_dice
    changes: dict[str, Any] = {"dice": result.mean_dice, "dice_smooth": smooth}
    if state.best_dice is None or smooth > state.best_dice:
        changes |= {"best_dice": smooth, "best_step": state.step}
    return changes
