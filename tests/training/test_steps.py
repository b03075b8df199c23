"""One step moves what it should, as far as it should, and nothing else."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_training import CASES, Pair, Tiny, blobs, tiny_run, tiny_task
from torch import nn

from autofuse.foundation.errors import ModelError
from autofuse.training.ema import Average
from autofuse.training.optimisers import Descent
from autofuse.training.state import LossScale
from autofuse.training.steps import Stepper
from autofuse.training.trainer import Objective, Progress, Trainer

CPU = torch.device("cpu")
PAIR_BATCHES = {"upper": blobs(CASES[:3], 1), "lower": blobs(CASES[3:], 2)}


def stepper_of(trainer: Trainer, **run: Any) -> Stepper:
    torch.manual_seed(0)
    nets = trainer.networks(tiny_task())
    return Stepper(tiny_task(), trainer, nets, tiny_run(tiny_task(), trainer, **run), CPU)


def weights_of(net: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_each_objective_moves_only_its_networks() -> None:
    stepper = stepper_of(Pair())
    lead, follow = stepper.descents
    for descent, moved, still in ((lead, "leader", "follower"), (follow, "follower", "leader")):
        stepper.descents = [descent]
        before = {name: weights_of(net) for name, net in stepper.nets.items()}
        stepper.take(0, PAIR_BATCHES, Progress(0, 10), 1.0)
        assert not same(before[moved], weights_of(stepper.nets[moved]))
        assert same(before[still], weights_of(stepper.nets[still])), "weights and running statistics stay"
        assert all(parameter.grad is None for parameter in stepper.nets.parameters())


def test_an_objective_is_taken_when_it_is_due() -> None:
    stepper = stepper_of(Pair(follower_every=3))
    for step in range(7):
        stepper.take(step, PAIR_BATCHES, Progress(step, 10), 1.0)
    taken = [(outcome.step, outcome.objective) for outcome in stepper.collect()]
    assert [step for step, name in taken if name == "lead"] == list(range(7))
    assert [step for step, name in taken if name == "follow"] == [0, 3, 6]
    assert stepper.collect() == []


def test_descent_is_sgd_with_nesterov_momentum_decay_and_clipping() -> None:
    trainer = Tiny(dropout=0.0, gradient_clip=0.5, momentum=0.99, weight_decay=0.01)
    stepper = stepper_of(trainer)
    reference = copy.deepcopy(stepper.nets)
    sgd = torch.optim.SGD(reference.parameters(), lr=1.0, momentum=0.99, nesterov=True, weight_decay=0.01, fused=False)
    for step in range(5):
        batches = {"labelled": blobs(CASES, step)}
        stepper.take(step, batches, Progress(step, 5), 0.5)
        loss = sum(trainer.objectives(tiny_task())[0].terms(reference, batches, Progress(step, 5)).values())
        sgd.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(reference.parameters(), 0.5)
        sgd.param_groups[0]["lr"] = 0.5 * trainer.learning_rate
        sgd.step()
        outcome = stepper.collect()[0]
        assert outcome.gradient_norm == pytest.approx(float(norm), rel=1e-5) and outcome.gradient_norm > 0.5
    for mine, theirs in zip(stepper.nets.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def test_a_step_that_is_not_finite_changes_nothing_and_is_named() -> None:
    stepper = stepper_of(Tiny(poison="case_0"))
    stepper.take(0, {"labelled": blobs(("case_1",), 0)}, Progress(0, 10), 1.0)
    before, momentum = weights_of(stepper.nets), {k: v.clone() for k, v in stepper.descents[0].momentum().items()}
    stepper.take(1, {"labelled": blobs(("case_0",), 1)}, Progress(1, 10), 1.0)
    good, bad = stepper.collect()
    assert not good.failed and bad.failed and not bad.overflow
    assert bad.cases == ("case_0",) and good.cases == ("case_1",)
    assert same(before, weights_of(stepper.nets)) and same(momentum, stepper.descents[0].momentum())


def test_a_first_step_that_is_skipped_leaves_no_momentum_behind() -> None:
    stepper = stepper_of(Tiny(poison="case_0", weight_decay=0.0))
    stepper.take(0, {"labelled": blobs(("case_0",), 1)}, Progress(0, 10), 1.0)
    assert all(not buffer.any() for buffer in stepper.descents[0].momentum().values())


def test_loss_scaling_recovers_from_overflow_and_changes_no_step() -> None:
    network = nn.ModuleDict({"net": nn.Linear(4, 1)})
    plain = copy.deepcopy(network)
    objective = Objective("fit", ("net",), lambda *_: {})
    trainer = Tiny(gradient_clip=0.1)
    scaled, unscaled = (
        Descent(objective, nets, trainer, fp16=fp16) for nets, fp16 in ((network, True), (plain, False))
    )
    scaled.scale = LossScale(scale=3e38, calm=0)
    steps = 0
    while True:
        _, failed = scaled.step(network["net"](torch.full((2, 4), 100.0)).square().mean(), 0.01)
        steps += 1
        for parameter in network.parameters():
            parameter.grad = None
        if not failed:
            break
    assert steps > 1 and scaled.scale.scale == pytest.approx(3e38 * 0.5 ** (steps - 1))
    unscaled.step(plain["net"](torch.full((2, 4), 100.0)).square().mean(), 0.01)
    for mine, theirs in zip(network.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_an_objective_must_move_networks_that_exist() -> None:
    with pytest.raises(ModelError, match="does not build"):
        Descent(Objective("x", ("nobody",), lambda *_: {}), Pair().networks(tiny_task()), Pair(), fp16=False)


def test_the_average_follows_the_weights() -> None:
    nets = nn.ModuleDict({"net": nn.Linear(2, 2)})
    average = Average(nets, 0.9)
    first = nets["net"].weight.detach().clone()
    with torch.no_grad():
        nets["net"].weight.add_(1.0)
    average.follow(10**6)
    torch.testing.assert_close(average.nets["net"].weight, first + 0.1)
    for step in range(200):
        average.follow(step)
    torch.testing.assert_close(average.nets["net"].weight, nets["net"].weight, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_random_numbers_depend_on_seed_and_step_alone(precision: str) -> None:
    one, other = (stepper_of(Tiny(dropout=0.5), precision=precision) for _ in range(2))
    for step in range(3):
        torch.rand(step)  # somebody else draws in between
        one.take(step, {"labelled": blobs(CASES, step)}, Progress(step, 3), 1.0)
    for step in range(3):
        other.take(step, {"labelled": blobs(CASES, step)}, Progress(step, 3), 1.0)
    assert same(weights_of(one.nets), weights_of(other.nets))


def test_a_ramp_grows_from_its_start_and_stays() -> None:
    grown = [Progress(step, 10).ramp(0.4, 0.2) for step in range(10)]
    assert grown[0] == grown[2] == pytest.approx(math.exp(-5))
    assert grown[2:7] == sorted(set(grown))
    assert grown[4] == pytest.approx(math.exp(-5 / 4)) and grown[6:] == [1.0] * 4
    assert Progress(5, 10).ramp(0.0) == 1.0
    assert Progress(1, 10).ramp(0.0, 0.5) < 0.01 and Progress(5, 10).ramp(0.0, 0.5) == 1.0


@pytest.mark.parametrize(
    ("start", "ramp", "shares"),
    [(0.0, 0.5, (0.0, 0.5, 1.0, 1.0)), (0.25, 0.5, (0.0, 0.0, 0.5, 1.0)), (0.5, 0.0, (0.0, 0.0, 1.0, 1.0))],
)
def test_modality_dropout_grows_over_a_share_of_the_training(
    start: float, ramp: float, shares: tuple[float, ...]
) -> None:
    trainer = replace(Tiny(), dropout_start=start, dropout_ramp=ramp)
    assert tuple(trainer.dropout_in_force(Progress(step, 8)) for step in (0, 2, 4, 7)) == shares
