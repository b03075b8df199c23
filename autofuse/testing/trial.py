"""One trainer on one tiny task, and what the checks ask of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from autofuse.plan.task import Task
from autofuse.sampling.batch import Batch
from autofuse.testing.examples import Labelled, example_batch
from autofuse.training.trainer import Objective, Progress, Trainer

HALFWAY = Progress(step=50, steps=100)
"""Ramps and warm-ups are partly open here."""


@dataclass(frozen=True)
class Trial:
    """A trainer and a task."""

    trainer: Trainer
    task: Task

    def networks(self, seed: int = 1) -> nn.ModuleDict:
        """Fresh networks in training mode, a function of ``seed``."""
        torch.manual_seed(seed)
        return self.trainer.networks(self.task).train()

    def objectives(self) -> tuple[Objective, ...]:
        """The trainer's objectives."""
        return tuple(self.trainer.objectives(self.task))

    def batches(self, labelled: Labelled = "dense") -> dict[str, Batch]:
        """One batch per stream; streams of unlabelled cases get targets of IGNORE, as the engine gives them."""
        return {
            stream.name: example_batch(
                self.task, labelled="none" if stream.cases == "unlabelled" else labelled, seed=10 + number
            )
            for number, stream in enumerate(self.trainer.streams())
        }

    def terms(
        self, objective: Objective, nets: nn.ModuleDict, batches: Mapping[str, Batch], seed: int = 2
    ) -> dict[str, Tensor]:
        """The objective's terms half-way through training, with the random numbers of ``seed``."""
        torch.manual_seed(seed)
        return dict(objective.terms(nets, batches, HALFWAY))

    def loss(self, objective: Objective, nets: nn.ModuleDict, batches: Mapping[str, Batch], seed: int = 2) -> Tensor:
        """What the objective descends: the sum of its terms."""
        return torch.stack(
            [term.float().reshape(()) for term in self.terms(objective, nets, batches, seed).values()]
        ).sum()

    def segment(self, nets: nn.ModuleDict, batch: Batch) -> Tensor:
        """Logits as prediction gets them: eval mode, no gradients, no target."""
        with torch.no_grad():
            return self.trainer.segment(nets.eval(), replace(batch, target=None))


def without_modality(batch: Batch, sample: int, modality: int) -> Batch:
    """``batch`` where one sample lacks one modality: marked absent, and zero."""
    image, present = batch.image.clone(), batch.present.clone()
    image[sample, modality] = 0
    present[sample, modality] = False
    return replace(batch, image=image, present=present)


def one_sample(batch: Batch, sample: int) -> Batch:
    """The batch of that sample alone."""
    keep = slice(sample, sample + 1)
    return replace(
        batch,
        image=batch.image[keep],
        present=batch.present[keep],
        target=None if batch.target is None else batch.target[keep],
        prior=None if batch.prior is None else batch.prior[keep],
        cases=batch.cases[keep],
    )


def gradients(nets: nn.ModuleDict, names: tuple[str, ...]) -> list[Tensor]:
    """The gradients that the parameters of these networks hold."""
    return [weight.grad for name in names for weight in nets[name].parameters() if weight.grad is not None]


def snapshot(nets: nn.ModuleDict) -> dict[str, Tensor]:
    """A copy of every parameter and buffer."""
    return {name: value.detach().clone() for name, value in nets.state_dict().items()}


def changed(nets: nn.ModuleDict, before: Mapping[str, Tensor]) -> list[str]:
    """Names of parameters and buffers that differ from ``before``."""
    return [name for name, value in nets.state_dict().items() if not torch.equal(value, before[name])]
