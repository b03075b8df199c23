"""The memory of a training step, foreseen without allocating any of it."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from autofuse.foundation.errors import UsageError
from autofuse.foundation.machine import GIB
from autofuse.networks import TOPOLOGIES
from autofuse.testing.examples import example_task
from autofuse.training.memory import (
    OVERHEAD,
    PROCESS_GIB,
    _Living,
    foreseen_memory_gib,
    made_up_batches,
    stepped_memory_gib,
    traced_memory_gib,
)
from autofuse.training.run import make_trainer
from autofuse.training.trainer import Trainer

TASK = example_task()
MIB = 1 << 20


def traced_bytes(name: str, topology: str = "early", trainer: Trainer | None = None) -> int:
    task = example_task(topology=topology)
    return round(traced_memory_gib(task, name, trainer or make_trainer(name), "fp32") * GIB)


def test_what_is_alive_at_a_time_is_added_up() -> None:
    with FakeTensorMode(), _Living() as living:
        first = torch.empty(MIB // 4)  # 1 MiB
        second = first + 1  # 2 MiB now
        view = second[: MIB // 8]  # nothing new
        del first, second
        third = view * 2  # 1.5 MiB: the view keeps its whole storage
    assert living.peak_bytes == 2 * MIB
    assert living.live_bytes == 3 * MIB // 2
    del view, third
    assert living.live_bytes == 0


def test_nothing_of_it_is_allocated() -> None:
    with FakeTensorMode(), _Living() as living:
        torch.empty(1 << 40)  # 4 TiB
    assert living.peak_bytes == 4 << 40


def test_momentum_and_averages_of_weights_are_counted() -> None:
    task, plain = TASK, make_trainer("supervised")
    parameters = sum(item.numel() for item in plain.networks(task).parameters())
    still = traced_bytes("supervised", trainer=replace(plain, momentum=0.0))
    assert traced_bytes("supervised") - still == 4 * parameters
    averaged = traced_bytes("supervised", trainer=replace(plain, ema_decay=0.99))
    assert averaged - traced_bytes("supervised") == 4 * parameters


def test_a_second_forward_pass_is_counted() -> None:
    assert traced_bytes("cmfnet", "specific_shared") > 1.2 * traced_bytes("supervised", "specific_shared")


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_every_topology_can_be_traced(topology: str) -> None:
    assert traced_bytes("partial", topology) > MIB // 4


def test_a_target_for_each_modality_is_made_up_where_each_has_its_own() -> None:
    task = example_task(topology="per_modality")
    own = replace(task, plan=task.plan.model_copy(update={"masks_per_modality": True}))
    trainer = make_trainer("collaboration")
    for of_task, axes in ((task, 4), (own, 5)):
        batches = made_up_batches(of_task, trainer, torch.device("cpu"))
        assert {batch.target.ndim for batch in batches.values()} == {axes}
    assert traced_memory_gib(own, "collaboration", trainer, "fp32") > 0


def test_batch_counts_in_proportion() -> None:
    configuration = TASK.configuration.model_copy(update={"batch": 8})
    larger = replace(TASK, configuration=configuration)
    trainer = make_trainer("supervised")
    one, four = (traced_memory_gib(task, "supervised", trainer, "fp32") for task in (TASK, larger))
    assert 3.0 < four / one <= 4.0  # weights do not grow


def test_all_random_generators_stay_as_they_were() -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    wanted = torch.rand(3), np.random.rand(3), random.random()
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    traced_bytes("supervised")
    stepped_memory_gib(TASK, "supervised", make_trainer("supervised"), "fp32", torch.device("cpu"), lambda device: 0.0)
    assert torch.equal(torch.rand(3), wanted[0])
    assert np.array_equal(np.random.rand(3), wanted[1])
    assert random.random() == wanted[2]


def test_a_foreseen_peak_is_the_process_and_its_tensors() -> None:
    trainer = make_trainer("supervised")
    traced = traced_memory_gib(TASK, "supervised", trainer, "fp32")
    expected = PROCESS_GIB["cpu"] + OVERHEAD["cpu", "fp32"] * traced
    assert foreseen_memory_gib(TASK, "supervised", trainer, "fp32") == expected
    assert foreseen_memory_gib(TASK, "supervised", trainer, "fp32") == expected  # and again the same


def test_real_steps_tell_the_gauge_where_they_ran() -> None:
    seen = []
    gauge = lambda device: float(seen.append(device) or 2.5)  # noqa: E731
    trainer = make_trainer("supervised")
    assert stepped_memory_gib(TASK, "supervised", trainer, "fp32", torch.device("cpu"), gauge) == 2.5
    assert seen == [torch.device("cpu")]


def test_steps_that_run_out_of_memory_take_infinitely_much() -> None:
    def short(device: torch.device) -> float:
        raise torch.OutOfMemoryError("no room")

    trainer = make_trainer("supervised")
    assert stepped_memory_gib(TASK, "supervised", trainer, "fp32", torch.device("cpu"), short) == float("inf")


def test_a_trainer_that_cannot_be_traced_is_not_foreseen() -> None:
    class Odd(type(make_trainer("supervised"))):  # type: ignore[misc]
        def networks(self, task: object) -> object:
            raise RuntimeError("needs what fake tensors do not have")

    assert foreseen_memory_gib(TASK, "supervised", Odd(), "fp32") is None


def test_a_trainer_that_refuses_the_plan_says_so() -> None:
    with pytest.raises(UsageError):
        foreseen_memory_gib(TASK, "fuse4seg", make_trainer("fuse4seg"), "fp32")
