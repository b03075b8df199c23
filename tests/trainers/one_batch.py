"""What tests of trainers share: the terms of one batch, learning it by heart, and how well that went."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from autofuse.plan.task import Task
from autofuse.sampling.batch import Batch
from autofuse.testing import example_batch
from autofuse.training.trainer import Progress, Trainer

HALFWAY = Progress(50, 100)


def terms_of(
    trainer: Trainer, nets: nn.ModuleDict, task: Task, batch: Batch, at: Progress = HALFWAY
) -> dict[str, Tensor]:
    """The terms of the trainer's one objective, random numbers fixed."""
    (objective,) = trainer.objectives(task)
    torch.manual_seed(7)
    return dict(objective.terms(nets, {"labelled": batch}, at))


def each_shows_one_class(task: Task, seed: int, kept: tuple[bool, bool] = (True, True), samples: int = 4) -> Batch:
    """A batch whose two modalities show one of the two classes each, with noise."""
    batch = example_batch(task, seed=seed, samples=samples)
    assert batch.target is not None
    noise = 0.1 * torch.randn(batch.image.shape, generator=torch.Generator().manual_seed(seed))
    image = torch.stack([batch.target == 1, batch.target == 2], dim=1) * 2.0 + noise
    return replace(batch, image=image, present=torch.tensor([kept] * samples))


def learned_by_heart(trainer: Trainer, task: Task, batch: Batch, steps: int) -> nn.ModuleDict:
    """The networks after so many steps on one batch, in eval mode."""
    torch.manual_seed(0)
    nets = trainer.networks(task).train()
    optimiser = torch.optim.SGD(nets.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    (objective,) = trainer.objectives(task)
    for step in range(steps):
        optimiser.zero_grad()
        loss = torch.stack(list(objective.terms(nets, {"labelled": batch}, Progress(step, steps)).values())).sum()
        loss.backward()
        nn.utils.clip_grad_norm_(nets.parameters(), trainer.gradient_clip)
        optimiser.step()
    return nets.eval()


def dice(trainer: Trainer, nets: nn.ModuleDict, batch: Batch, truth: Tensor) -> float:
    """The lower of the two classes' Dice."""
    with torch.no_grad():
        prediction = trainer.segment(nets, replace(batch, target=None)).argmax(1)
    scores = []
    for label in (1, 2):
        shared = ((prediction == label) & (truth == label)).sum()
        scores.append((2 * shared / ((prediction == label).sum() + (truth == label).sum())).item())
    return min(scores)
