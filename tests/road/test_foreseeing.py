"""A plan is held to its memory dial by what a step of its method takes, not by a formula alone."""

from __future__ import annotations

import pytest

from autofuse.foundation.errors import ResourceError
from autofuse.plan.memory import FOOTPRINTS
from autofuse.plan.types import Budget, Plan, TrainerChoice
from autofuse.road.foreseeing import held_to_memory
from autofuse.testing.examples import example_task
from autofuse.training.memory import foreseen_memory_gib
from autofuse.training.run import make_trainer

BASE_GIB = FOOTPRINTS["cpu", "fp32"].base_gib
EDGES = (48, 40, 32, 24, 16, 8)


def plan_of(edge: int, memory_gib: float) -> Plan:
    """A plan whose formula says little more than nothing about a patch of this edge."""
    task = example_task(topology="early")
    changes = {"patch": (edge,) * 3, "memory_gib": memory_gib}
    configuration = task.configuration.model_copy(update=changes)
    budget = Budget(memory_gib=memory_gib)
    return task.plan.model_copy(update={"configurations": (configuration,), "budget": budget})


def peak_gib(plan: Plan, name: str) -> float:
    from autofuse.plan.task import Task

    found = foreseen_memory_gib(Task(plan, plan.configurations[0]), name, make_trainer(name), "fp32")
    assert found is not None
    return found


def replanned(asked: list[float]):  # type: ignore[no-untyped-def]
    """A planner whose formula grows with the volume and gives the largest edge that its dial allows."""

    def plan(budget: Budget) -> Plan:
        asked.append(budget.memory_gib)
        for edge in EDGES:
            if BASE_GIB + 1e-7 * edge**3 <= budget.memory_gib:
                return plan_of(edge, budget.memory_gib)
        raise ResourceError("The memory dial is too low for any network.")

    return plan


def test_a_step_that_does_not_fit_is_planned_smaller_until_it_does() -> None:
    dial_gib = round(BASE_GIB + 1.05e-7 * 40**3, 4)  # the planner's formula allows 40; a step takes more than that
    asked: list[float] = []
    first = plan_of(40, dial_gib)
    assert peak_gib(first, "partial") > dial_gib
    held = held_to_memory(first, replanned(asked), TrainerChoice(name="partial"))
    assert held.configurations[0].patch < (40, 40, 40)
    assert peak_gib(held, "partial") <= dial_gib
    assert held.budget == first.budget
    assert asked == sorted(asked, reverse=True)
    decision = held.decisions[-1]
    assert decision.what == "memory"
    assert decision.evidence["foreseen_gib"] == round(peak_gib(held, "partial"), 3)
    assert decision.alternatives == ("patch 40 x 40 x 40, batch 2: takes more",)
    again = held_to_memory(first, replanned([]), TrainerChoice(name="partial"))
    assert again == held


def test_a_step_that_fits_is_only_recorded() -> None:
    first = plan_of(16, 0.6)
    held = held_to_memory(first, replanned([]))
    assert held.configurations == first.configurations
    assert held.decisions[:-1] == first.decisions
    assert held.decisions[-1].evidence["dial_gib"] == 0.6


def test_what_is_far_below_the_dial_is_not_traced() -> None:
    first = plan_of(16, 0.6).model_copy(update={"budget": Budget(memory_gib=60.0)})
    assert held_to_memory(first, replanned([])) is first


def test_where_nothing_fits_that_is_said_with_numbers() -> None:
    first = plan_of(48, 0.46)
    with pytest.raises(ResourceError, match="partial") as refused:
        held_to_memory(first, lambda budget: first, TrainerChoice(name="partial"))
    assert "0.46 GiB" in str(refused.value.expected)


def test_a_method_that_wants_another_network_is_left_to_its_own_plan() -> None:
    first = plan_of(16, 0.6)
    assert held_to_memory(first, replanned([]), TrainerChoice(name="fuse4seg")) == first
