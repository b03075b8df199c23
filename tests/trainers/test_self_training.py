"""Self-training: what teachers say moves the student, where they were not sure nothing does, and it grows on a ramp."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from autofuse.dataset.types import IGNORE
from autofuse.plan.task import Task
from autofuse.testing import example_batch, example_task
from autofuse.training.trainer import Progress
from autofuse_trainers.self_training import SelfTraining

HALFWAY = Progress(50, 100)


def terms(trainer: SelfTraining, task: Task, taught: Tensor | None = None, at: Progress = HALFWAY) -> dict[str, Tensor]:
    """The terms of one labelled and one taught batch; ``taught`` replaces what teachers say."""
    torch.manual_seed(0)
    nets = trainer.networks(task).train()
    labelled, unlabelled = example_batch(task, seed=1), example_batch(task, seed=2)
    if taught is not None:
        unlabelled = replace(unlabelled, target=taught)
    (objective,) = trainer.objectives(task)
    found = dict(objective.terms(nets, {"labelled": labelled, "unlabelled": unlabelled}, at))
    if any(value.requires_grad for name, value in found.items() if name.startswith("taught")):
        torch.stack([value for name, value in found.items() if name.startswith("taught")]).sum().backward()
    found["gradient"] = torch.stack(
        [torch.zeros(()) if weight.grad is None else weight.grad.abs().sum() for weight in nets.parameters()]
    ).sum()
    return found


@pytest.mark.parametrize("regions", [False, True])
def test_what_teachers_say_moves_the_student(regions: bool) -> None:
    task = example_task(2, 2, regions=regions)
    found = terms(SelfTraining(), task)
    assert {name for name in found if name.startswith("taught")} == {"taught_dice", "taught_cross_entropy"}
    assert found["gradient"].item() > 0
    everywhere = torch.zeros_like(example_batch(task).target)  # type: ignore[arg-type]
    assert (
        terms(SelfTraining(), task, everywhere)["taught_cross_entropy"].item() != found["taught_cross_entropy"].item()
    )


def test_where_teachers_are_not_sure_nothing_is_learned() -> None:
    task = example_task(2, 2)
    found = terms(SelfTraining(), task, torch.full_like(example_batch(task).target, IGNORE))  # type: ignore[arg-type]
    assert found["taught_dice"].item() == found["taught_cross_entropy"].item() == found["gradient"].item() == 0


def test_what_teachers_say_counts_more_and_more() -> None:
    task, trainer = example_task(2, 2), SelfTraining(ramp=0.4)
    early, later, ended = (
        terms(trainer, task, at=Progress(step, 100))["taught_cross_entropy"].item() for step in (0, 20, 60)
    )
    assert early < 0.01 * ended
    assert early < later < ended
    assert terms(SelfTraining(ramp=0.0), task, at=Progress(0, 100))["taught_cross_entropy"].item() == pytest.approx(
        ended
    )
    assert terms(SelfTraining(unlabelled_weight=0.0), task)["taught_cross_entropy"].item() == 0


def test_teachers_are_asked_for_by_fields() -> None:
    teaching = SelfTraining(teacher="partial", members=3, rounds=2, confidence=0.9).teaching()
    assert (teaching.trainer, teaching.members, teaching.rounds, teaching.confidence) == ("partial", 3, 2, 0.9)
    assert teaching.trainings == 7
    labelled, unlabelled = SelfTraining(unlabelled_share=0.25).streams()
    assert (labelled.cases, labelled.taught, labelled.share) == ("labelled", False, 0.75)
    assert (unlabelled.cases, unlabelled.taught, unlabelled.share) == ("unlabelled", True, 0.25)
