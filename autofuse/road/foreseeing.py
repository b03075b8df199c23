"""The plan held to its memory dial: what training really takes is foreseen by a step of the method that will train.

A planner's formula knows networks; what a method does with one (second forward passes, several objectives, averages of
weights) shows only in its own step. Where that takes more than the dial allows, the planner is asked again with a
dial turned down in proportion, until the step fits: so its rules decide what gives way, and the same fingerprint, dials
and versions give the same plan.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

from autofuse.foundation.console import say
from autofuse.foundation.errors import ResourceError, UsageError
from autofuse.foundation.values import short_hash
from autofuse.plan.memory import FOOTPRINTS
from autofuse.plan.types import Budget, Configuration, Decision, Plan, TrainerChoice

SURELY_BELOW = 1 / 3
"""Share of the dial below which the planner's prediction is not checked: no method was found to take three times it."""
ROUNDS = 5
_HASTE = 0.98
"""A dial is turned down a little further than in proportion: what does not depend on the patch stays."""

Replan = Callable[[Budget], Plan]
_Seen = tuple[Configuration, float | None]


def held_to_memory(plan: Plan, replan: Replan, trainer: TrainerChoice | None = None) -> Plan:
    """``plan`` as it is where a step fits its dial, with what was foreseen on record; else a smaller one that fits.

    Args:
        replan: the plan under another budget.
        trainer: that will train; the plan's own if None.

    Raises:
        ResourceError: if nothing fits.
    """
    dial_gib, method = plan.budget.memory_gib, trainer or plan.trainer
    if all(item.memory_gib < SURELY_BELOW * dial_gib for item in trained_configurations(plan)):
        return plan
    first, budget = plan, plan.budget
    for _ in range(ROUNDS):
        configuration, peak_gib = _largest(plan, method)
        if peak_gib is None:
            return first
        if peak_gib <= dial_gib:
            return _recorded(plan, first, method, configuration, peak_gib)
        say(f"A step of {method.name} would take {peak_gib:.2f} GiB of {dial_gib:g}: planned smaller.")
        budget = _turned_down(budget, dial_gib, peak_gib)
        try:
            plan = replan(budget).model_copy(update={"planner": first.planner, "budget": first.budget})
        except ResourceError:
            break
    raise ResourceError(
        f"No plan was found that lets {method.name} train within the memory dial.",
        found=f"{peak_gib:.2f} GiB in configuration {configuration.name!r}",
        expected=f"at most {dial_gib:g} GiB",
        remedy="Give more with --memory (--vram on a GPU), or choose another trainer.",
    )


def _turned_down(budget: Budget, dial_gib: float, peak_gib: float) -> Budget:
    """The budget with what it leaves for tensors reduced in proportion; what the process itself takes stays."""
    base_gib = FOOTPRINTS[budget.device, budget.precision].base_gib
    share = max(dial_gib - base_gib, 0.0) / (peak_gib - base_gib) if math.isfinite(peak_gib) else 0.5
    return budget.model_copy(update={"memory_gib": base_gib + (budget.memory_gib - base_gib) * share * _HASTE})


def trained_configurations(plan: Plan) -> tuple[Configuration, ...]:
    """The plan's choice, after the earlier stage that it needs."""
    chosen = plan.named(plan.configuration)
    return (chosen,) if chosen.previous is None else (plan.named(chosen.previous), chosen)


def _largest(plan: Plan, method: TrainerChoice) -> _Seen:
    """The configuration that takes most, and how much; None where that cannot be foreseen."""
    found: list[_Seen] = [(item, _foreseen(_Asked(plan, item, method))) for item in trained_configurations(plan)]
    return max(found, key=lambda seen: float("-inf") if seen[1] is None else seen[1])


class _Asked:
    """A plan, a configuration and a method, equal to others of which a step takes the same memory."""

    def __init__(self, plan: Plan, configuration: Configuration, method: TrainerChoice) -> None:
        self.plan, self.configuration, self.method = plan, configuration, method
        matters = (plan.labels, configuration, method, plan.budget)
        parts = [item.model_dump(mode="json") for item in matters]
        masks = len(plan.modalities) if plan.masks_per_modality else 1
        self._key = short_hash({"parts": parts, "modalities": len(plan.modalities), "masks": masks})

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Asked) and self._key == other._key


@lru_cache(maxsize=64)
def _foreseen(asked: _Asked) -> float | None:
    from autofuse.plan.task import Task
    from autofuse.training.memory import foreseen_memory_gib
    from autofuse.training.run import make_trainer

    plan, method = asked.plan, asked.method
    task = Task(plan, asked.configuration)
    try:
        trainer = make_trainer(method.name, method.fields)
        return foreseen_memory_gib(task, method.name, trainer, plan.budget.precision, plan.budget.device)
    except UsageError:  # the method wants another network; it is planned for when the method is to train
        return None


def _recorded(plan: Plan, first: Plan, method: TrainerChoice, largest: Configuration, peak_gib: float) -> Plan:
    """``plan`` with one more decision: what a step was foreseen to take, and what gave way for it."""
    before = first.named(first.configuration)
    chosen = plan.named(plan.configuration)
    changed = (before.patch, before.batch) != (chosen.patch, chosen.batch)
    decision = Decision(
        what="memory",
        chosen=f"{peak_gib:.2f} GiB of {plan.budget.memory_gib:g}",
        rule=f"a training step of {method.name} was foreseen with every pass that it makes, and has to fit the dial",
        evidence={
            "configuration": largest.name,
            "foreseen_gib": round(peak_gib, 3),
            "formula_gib": round(largest.memory_gib, 3),
            "dial_gib": plan.budget.memory_gib,
            "device": plan.budget.device,
        },
        alternatives=(f"patch {_by(before.patch)}, batch {before.batch}: takes more",) if changed else (),
    )
    return plan.model_copy(update={"decisions": (*plan.decisions, decision)})


def _by(sizes: tuple[int, ...]) -> str:
    return " x ".join(str(size) for size in sizes)
