"""The plan that a training method is made for, where the workspace's plan has another network."""

from __future__ import annotations

from dataclasses import replace

from autofuse.foundation.console import say
from autofuse.foundation.errors import AutofuseError, DataError
from autofuse.foundation.registry import PLANNERS, TRAINERS, load_registered
from autofuse.plan.types import Budget, Configuration, Plan, TrainerChoice
from autofuse.road.fold import planned_fields
from autofuse.road.foreseeing import held_to_memory
from autofuse.road.groundwork import Ground


def suited(ground: Ground, trainer: str | None) -> Ground:
    """``ground`` with the network that ``trainer`` is made for, in a size whose steps fit the memory dial; as it is
    where any network will do, or one was asked for, and it fits.

    The plan in the workspace stays what it is: what is planned here goes with the run.

    Raises:
        UsageError: if there is no such trainer.
        DataError: if it teaches one mask, and modalities carry masks of their own.
        AutofuseError: if its network cannot be planned within the budget.
    """
    name = trainer or ground.plan.trainer.name
    method = load_registered(TRAINERS, name)
    if ground.plan.masks_per_modality and not method.masks_each:
        raise _teaches_one(name, ground)
    plan, asked = ground.plan, ground.plan.budget.topology
    topology = method.topology if asked is None else asked
    wanted = topology or _own(plan)
    if not fits(plan, topology, method.decoders):
        second = " with a second decoder" if method.decoders > 1 else ""
        say(f"The trainer {name!r} wants the topology {wanted}{second}: planned for it, under the same dials.")
        return replace(ground, plan=held(ground, plan_for(ground, plan, wanted, method.decoders), name))
    return ground if name == plan.trainer.name else replace(ground, plan=held(ground, plan, name))


def held(ground: Ground, plan: Plan, name: str) -> Plan:
    """``plan`` as it is where a step of the trainer called ``name`` fits its memory dial, else a smaller one like it.

    Raises:
        ResourceError: if nothing fits.
    """
    network = tried_configuration(plan).network

    def smaller(budget: Budget) -> Plan:
        return plan_for(ground, plan.model_copy(update={"budget": budget}), network.topology, network.decoders)

    found = held_to_memory(plan, smaller, TrainerChoice(name=name, fields=planned_fields(plan, name)))
    return plan if found.configurations == plan.configurations else found


def _teaches_one(name: str, ground: Ground) -> DataError:
    return DataError(
        f"The trainer {name!r} teaches one mask a case, and each modality of this data set carries a mask of its own.",
        file=ground.dataset.root,
        found="masks of " + ", ".join(ground.plan.modalities),
        expected=f"the trainer {ground.plan.trainer.name!r}, which has a head for each modality",
        remedy=f"Train with -t {ground.plan.trainer.name}; or make a data set of one modality with its masks.",
    )


def fits(plan: Plan, topology: str | None, decoders: int) -> bool:
    """Whether the plan's networks are of this topology (None: whatever they are), with as many decoders."""
    network = tried_configuration(plan).network
    return topology in (None, network.topology) and network.decoders >= decoders


def plan_for(ground: Ground, nominated: Plan, topology: str, decoders: int) -> Plan:
    """What the planner decides when this network is asked for, under the dials of ``nominated``.

    Raises:
        AutofuseError: if it cannot be planned.
    """
    budget = nominated.budget.model_copy(update={"topology": topology, "decoders": decoders})
    planner = load_registered(PLANNERS, nominated.planner)()
    plan: Plan = planner.plan(ground.fingerprint, ground.dataset.labels, budget)
    # The plan belongs to the workspace, whose dials ask for no such network.
    plan = plan.model_copy(update={"planner": nominated.planner, "budget": nominated.budget})
    tried = tried_configuration(plan)
    if not fits(plan, topology, decoders):
        raise AutofuseError(
            f"The planner {nominated.planner!r} plans {tried.network.topology} with {tried.network.decoders} "
            f"decoder(s) where {topology} with {decoders} is asked for."
        )
    if tried.memory_gib > nominated.budget.memory_gib:
        raise AutofuseError(f"It would take {tried.memory_gib:.2f} GiB of {nominated.budget.memory_gib:g}.")
    return plan


def tried_configuration(plan: Plan) -> Configuration:
    """What a pilot trains: the plan's choice; of a cascade the earlier stage, which takes half the time and is built
    alike."""
    chosen = plan.named(plan.configuration)
    return chosen if chosen.previous is None else plan.named(chosen.previous)


def _own(plan: Plan) -> str:
    return tried_configuration(plan).network.topology
