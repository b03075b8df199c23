"""The mean teacher's floor: a spoiled teacher begins anew from the student, and counts again when it is good."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from autofuse.networks.fusing import SeveralHeads
from autofuse.plan.task import Task
from autofuse.sampling.batch import Batch
from autofuse.testing import example_batch, example_task
from autofuse.training.trainer import Progress
from autofuse_trainers.collaboration import Collaboration
from autofuse_trainers.collaboration.floor import TeacherWatch, dice_on, remarks

TRAINER = Collaboration(teacher_weight=1.0, teacher_decay=0.9, warm_up=0.0, ramp=0.1)


def seen(watch: TeacherWatch, student: float, teacher: float, times: int = 1) -> list[bool]:
    """Whether it fell, at each of so many looks."""
    fell = []
    for _ in range(times):
        watch.seen = torch.tensor(student), torch.tensor(teacher)
        watch.take_in()
        fell.append(bool(watch.judge(0.5)))
    return fell


def test_it_falls_once_and_recovers_when_it_is_good_again() -> None:
    watch = TeacherWatch()
    assert not any(seen(watch, 0.8, 0.8, 40))
    assert watch.best.item() == pytest.approx(0.8, abs=0.02) and watch.counts.item() == 1
    falling = seen(watch, 0.8, 0.0, 40)
    # 0.8 · 0.9^n passes half of 0.8 at the 7th look; the running Dice then begins at 0.
    assert falling.index(True) == 6 and sum(falling) == 1 and watch.counts.item() == 0
    assert watch.teacher.item() == pytest.approx(0.0, abs=1e-6)
    seen(watch, 0.8, 0.8, 6)
    assert watch.counts.item() == 0
    seen(watch, 0.8, 0.8, 1)
    assert watch.counts.item() == 1 and (watch.falls.item(), watch.recoveries.item()) == (1, 1)


def test_a_batch_without_foreground_says_nothing() -> None:
    watch = TeacherWatch()
    seen(watch, 0.8, 0.8, 10)
    before = watch.told()
    seen(watch, float("nan"), 0.0, 3)
    assert watch.told() == before
    empty = dice_on([torch.zeros(1, 1, 2, 2)], [torch.zeros(1, 2, 2).long()], torch.tensor([[False, True]]), ones(1))
    assert torch.isnan(empty)


def ones(modalities: int) -> torch.Tensor:
    return torch.ones(1, modalities, 1, 1, dtype=torch.bool)


def test_dice_is_that_of_labelled_voxels_that_a_modality_sees() -> None:
    members = torch.tensor([[False, True]])
    p = torch.tensor([[[[1.0, 0.0], [1.0, 1.0]]]])
    target = torch.tensor([[[1, 1], [0, -1]]])
    # p: two of three labelled voxels, t: two; one is shared: 2 · 1 / (2 + 2)
    assert dice_on([p], [target], members, ones(1)).item() == pytest.approx(0.5)
    assert dice_on([p, 0 * p], [target, target], members, ones(2)).item() == pytest.approx(2 / (2 + 4))
    half = torch.tensor([True, False]).view(1, 2, 1, 1)
    assert dice_on([p, 0 * p], [target, target], members, half).item() == pytest.approx(0.5)


def good_networks(task: Task, batch: Batch) -> nn.ModuleDict:
    """Student and teacher that know one batch by heart."""
    torch.manual_seed(0)
    nets = TRAINER.networks(task).train()
    (objective,) = TRAINER.objectives(task)
    optimiser = torch.optim.SGD(nets["segmenter"].parameters(), lr=0.05, momentum=0.9)
    still = Progress(1, 100)  # no look at this step
    for _ in range(30):
        optimiser.zero_grad()
        terms = objective.terms(nets, {"labelled": batch, "unlabelled": batch}, still)
        (terms["dice"] + terms["cross_entropy"]).backward()
        optimiser.step()
    nets["teacher"].load_state_dict(nets["segmenter"].state_dict())
    return nets


def go_on(nets: nn.ModuleDict, task: Task, batch: Batch, looks: range) -> list[dict[str, float]]:
    """What the watch tells after each look, and the weighted term; weights of the student stay."""
    (objective,) = TRAINER.objectives(task)
    told = []
    for number in looks:
        at = Progress(5 * number, 1000, done=0.5)
        torch.manual_seed(number)
        with torch.no_grad():
            terms = objective.terms(nets, {"labelled": batch, "unlabelled": batch}, at)
            TRAINER.after_step(nets, at)
        told.append(dict(TRAINER.watched(nets)) | {"term": terms["teacher"].item()})
    return told


def spoil(teacher: nn.Module, task: Task) -> None:
    """Make it sure of background everywhere."""
    with torch.no_grad():
        for weight in teacher.parameters():
            weight.zero_()
            if weight.shape == (task.outputs,):
                weight[0] = 20.0


def equal(one: nn.Module, other: nn.Module) -> bool:
    states = one.state_dict(), other.state_dict()
    return all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_a_spoiled_teacher_is_set_back_and_comes_back_and_a_resumed_run_goes_the_same_way() -> None:
    task = example_task(2, 2, topology="per_modality")
    batch = example_batch(task, samples=2)
    nets = good_networks(task, batch)
    assert isinstance(nets["segmenter"], SeveralHeads)
    calm = go_on(nets, task, batch, range(12))
    assert calm[-1]["falls"] == 0 and calm[-1]["counts"] == 1 and calm[-1]["student"] > 0.4
    last = calm[-1]
    for number in range(12, 40):
        spoil(nets["teacher"], task)
        (last,) = go_on(nets, task, batch, range(number, number + 1))
        if last["falls"]:
            break
    assert last["falls"] == 1 and last["counts"] == 0 and equal(nets["teacher"], nets["segmenter"])
    copy = TRAINER.networks(task).train()
    copy.load_state_dict(nets.state_dict())  # what a checkpoint holds
    rest, resumed = (go_on(kept, task, batch, range(60, 70)) for kept in (nets, copy))
    assert rest == resumed and equal(nets, copy)
    assert rest[0]["term"] == 0.0 and rest[-1]["counts"] == 1 and rest[-1]["recoveries"] == 1 and rest[-1]["falls"] == 1
    words = [*remarks(calm[-1], last, 0.5), *remarks(last, rest[-1], 0.5)]
    assert len(words) == 2 and "fell below its floor" in words[0] and "recovered" in words[1]
    assert not remarks(rest[-1], rest[-1], 0.5)


def test_without_a_floor_or_a_teacher_nobody_watches() -> None:
    task = example_task(2, 2, topology="per_modality")
    assert set(replace(TRAINER, teacher_floor=0.0).networks(task)) == {"segmenter", "teacher"}
    plain = Collaboration()
    nets = plain.networks(task)
    assert set(nets) == {"segmenter"} and plain.watched(nets) == {} and plain.remarks({}, {}) == ()
