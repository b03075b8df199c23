"""One training step: every objective in turn, each moving only its own networks, without waiting for the device."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from autofuse.networks.presence import set_modality_dropout
from autofuse.plan.task import Task
from autofuse.sampling import ranks
from autofuse.sampling.batch import Batch
from autofuse.training.averaging import share_buffers
from autofuse.training.optimisers import Descent
from autofuse.training.run import RunPlan
from autofuse.training.seeds import seed_everything
from autofuse.training.state import LossScale
from autofuse.training.trainer import Progress, Trainer

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Outcome:
    """What one objective did in one step.

    Attributes:
        cases: seen in this step, by all ranks; terms: values by name; loss: their sum; both means over ranks.
        gradient_norm: before clipping; failed: nothing was moved, as something was not finite.
        overflow: it failed only because fp16 gradients were scaled too far, which mends itself.
    """

    step: int
    objective: str
    cases: tuple[str, ...]
    terms: Mapping[str, float]
    loss: float
    gradient_norm: float
    failed: bool
    overflow: bool


@dataclass(frozen=True)
class _Pending:
    step: int
    objective: str
    cases: tuple[str, ...]
    names: tuple[str, ...]
    values: Tensor  # one per name, then loss, gradient norm, failed, loss scale; on the device


class Stepper:
    """Takes steps, and keeps what they did on the device until it is collected."""

    def __init__(self, task: Task, trainer: Trainer, nets: nn.ModuleDict, run: RunPlan, device: torch.device) -> None:
        self.nets = nets
        self._trainer = trainer
        self._run = run
        self._device = device
        self.descents = [
            Descent(objective, nets, trainer, fp16=run.precision == "fp16") for objective in trainer.objectives(task)
        ]
        self._parameters = list(nets.parameters())
        self._pending: list[_Pending] = []

    def take(self, step: int, batches: Mapping[str, Batch], progress: Progress, factor: float) -> None:
        """One step of every objective that is due; ``factor`` scales the learning rate.

        Every random number drawn below depends on the seed and the step alone, so a run that goes on from a checkpoint
        draws what it would have drawn, and so does every rank.
        """
        seed_everything(self._run.seed, "step", step)
        trainer = self._trainer
        set_modality_dropout(self.nets, trainer.dropout_in_force(progress), trainer.whole_samples)
        learning_rate = self._trainer.learning_rate * factor
        for descent in self.descents:
            if step % descent.objective.every == 0:
                self._descend(descent, step, batches, progress, learning_rate)
        self._forget_gradients()
        share_buffers(self.nets)
        with torch.no_grad():
            self._trainer.after_step(self.nets, progress)

    def collect(self) -> list[Outcome]:
        """What the steps since the last call did; waits for the device once."""
        if not self._pending:
            return []
        numbers = iter(torch.cat([pending.values for pending in self._pending]).cpu().tolist())
        outcomes = [_outcome(pending, [next(numbers) for _ in pending.values]) for pending in self._pending]
        self._pending.clear()
        return outcomes

    def scales(self) -> dict[str, LossScale]:
        """The loss scale of each objective."""
        return {descent.objective.name: descent.scale for descent in self.descents}

    def _descend(
        self, descent: Descent, step: int, batches: Mapping[str, Batch], progress: Progress, learning_rate: float
    ) -> None:
        self._forget_gradients()
        others = descent.remember_others()
        with self._precision():
            terms = dict(descent.objective.terms(self.nets, batches, progress))
        if not terms:
            return
        values = [term.float().reshape(()) for term in terms.values()]
        loss = torch.stack(values).sum()
        scale = descent.loss_scale.clone()
        norm, failed = descent.step(loss, learning_rate)
        descent.restore_others(others)
        with torch.no_grad():
            shared = ranks.mean_over_ranks(torch.stack([*values, loss]))
            numbers = torch.cat([shared, torch.stack([norm, failed, scale])])
        cases = tuple(dict.fromkeys(case for batch in batches.values() for case in batch.step_cases or batch.cases))
        self._pending.append(_Pending(step, descent.objective.name, cases, tuple(terms), numbers))

    def _precision(self) -> AbstractContextManager[object]:
        kind = _AUTOCAST.get(self._run.precision, torch.bfloat16)
        return torch.autocast(self._device.type, dtype=kind, enabled=self._run.precision in _AUTOCAST)

    def _forget_gradients(self) -> None:
        for parameter in self._parameters:
            parameter.grad = None


def _outcome(pending: _Pending, numbers: list[float]) -> Outcome:
    *terms, loss, norm, failed, scale = numbers
    finite_loss = loss - loss == 0.0
    return Outcome(
        step=pending.step,
        objective=pending.objective,
        cases=pending.cases,
        terms=dict(zip(pending.names, terms, strict=True)),
        loss=loss,
        gradient_norm=norm,
        failed=failed > 0,
        overflow=failed > 0 and finite_loss and scale > 1.0,
    )
