"""Every registered trainer keeps the rules; ours see labelled voxels only and learn what they are shown."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from one_batch import dice, each_shows_one_class, learned_by_heart
from torch import Tensor

from autofuse.dataset.types import IGNORE
from autofuse.foundation.registry import PLANNERS, TRAINERS, load_registered, registered
from autofuse.plan.task import Task
from autofuse.sampling.batch import Batch
from autofuse.testing import check_planner, check_trainer, example_batch, example_task
from autofuse.training.trainer import Progress, Trainer

BEGIN = Progress(0, 100)


@pytest.mark.parametrize("name", registered(TRAINERS))
def test_registered_trainer_conforms(name: str) -> None:
    kind = load_registered(TRAINERS, name)
    assert kind.name == name
    results = check_trainer(kind)
    assert len(results) > 60 and all(result.passed for result in results)


@pytest.mark.parametrize("name", registered(PLANNERS))
def test_registered_planner_conforms(name: str) -> None:
    results = check_planner(load_registered(PLANNERS, name))
    assert len(results) > 100 and all(result.passed for result in results)


def test_ours_are_registered() -> None:
    assert {"supervised", "partial"} <= set(registered(TRAINERS))


def loss_and_gradient(trainer: Trainer, task: Task, batch: Batch) -> tuple[float, list[Tensor]]:
    torch.manual_seed(0)
    nets = trainer.networks(task)
    (objective,) = trainer.objectives(task)
    loss = torch.stack(list(objective.terms(nets, {"labelled": batch}, BEGIN).values())).sum()
    return loss.item(), list(torch.autograd.grad(loss, list(nets.parameters())))


@pytest.mark.parametrize("name", ["supervised", "partial"])
@pytest.mark.parametrize("regions", [False, True])
def test_two_annotators_who_differ_only_where_ignored_teach_the_same(name: str, regions: bool) -> None:
    """Labels A and B differ in some voxels; where those are ignored nothing can tell A from B."""
    task, trainer = example_task(regions=regions), load_registered(TRAINERS, name)()
    batch = example_batch(task)
    assert batch.target is not None
    disputed = torch.rand(batch.target.shape, generator=torch.Generator().manual_seed(3)) < 0.4
    other = torch.where(disputed, (batch.target + 1) % 3, batch.target)
    plain = [loss_and_gradient(trainer, task, replace(batch, target=truth))[0] for truth in (batch.target, other)]
    assert plain[0] != plain[1]
    masked = [
        loss_and_gradient(trainer, task, replace(batch, target=truth.masked_fill(disputed, IGNORE)))
        for truth in (batch.target, other)
    ]
    assert masked[0][0] == masked[1][0]
    assert all(torch.equal(one, two) for one, two in zip(masked[0][1], masked[1][1], strict=True))
    nothing, gradient = loss_and_gradient(trainer, task, example_batch(task, labelled="none"))
    assert nothing == 0 and not any(part.any() for part in gradient)


@pytest.mark.parametrize(("name", "labelled"), [("supervised", "dense"), ("partial", "sparse")])
def test_over_fits_one_small_case(name: str, labelled: str) -> None:
    """Dice above 0.95 on every voxel, also on those whose label it never saw."""
    task, trainer = example_task(dimensions=2), load_registered(TRAINERS, name)()
    truth = example_batch(task, seed=4).target
    batch = example_batch(task, labelled=labelled, seed=4)  # type: ignore[arg-type]
    assert truth is not None
    assert dice(trainer, learned_by_heart(trainer, task, batch, 100), batch, truth) > 0.95


def test_two_modalities_beat_either_alone() -> None:
    """Each modality shows one of the two classes only; judged on a batch that was not trained on."""
    task, trainer = example_task(dimensions=2), load_registered(TRAINERS, "supervised")()
    scores = []
    for kept in ((True, True), (True, False), (False, True)):
        nets = learned_by_heart(trainer, task, each_shows_one_class(task, 1, kept), 60)
        test = each_shows_one_class(task, 2, kept)
        assert test.target is not None
        scores.append(dice(trainer, nets, test, test.target))
    assert scores[0] > 0.9 and scores[0] > max(scores[1:]) + 0.3


def test_batch_dice_follows_the_dimensions_unless_told() -> None:
    kind = load_registered(TRAINERS, "supervised")
    for dimensions, together in ((2, True), (3, False)):
        task = example_task(dimensions=dimensions)  # type: ignore[arg-type]
        batch = example_batch(task)
        found = {choice: loss_and_gradient(kind(batch_dice=choice), task, batch)[0] for choice in (None, True, False)}
        assert found[None] == found[together] != found[not together]


def test_partial_differs_from_supervised_in_values_alone() -> None:
    supervised, partial = (load_registered(TRAINERS, name) for name in ("supervised", "partial"))
    same = supervised(foreground=2 / 3, batch_dice=True, case_weighting=0.5)
    task = example_task()
    batch = example_batch(task, labelled="sparse")
    assert loss_and_gradient(partial(), task, batch)[0] == loss_and_gradient(same, task, batch)[0]
    assert partial().streams() == same.streams()
