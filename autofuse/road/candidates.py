"""Who takes part in a pilot: the plan's default, and each challenger with a plan of its own where it needs one."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import JsonValue

from autofuse.foundation.errors import AutofuseError
from autofuse.plan.types import Challenger, Configuration, Plan, TrainerChoice
from autofuse.road.fold import planned_fields
from autofuse.road.groundwork import Ground
from autofuse.road.pilot_record import LeftOut
from autofuse.road.suiting import fits, held, plan_for, tried_configuration


@dataclass(frozen=True)
class Candidate:
    """One way to train, with the plan that it is trained under.

    Attributes:
        plan: whose ``trainer`` is the candidate's, with all fields that differ from its defaults.
        configuration: that is tried: the plan's choice, or a cascade's earlier stage in its place.
        trained_under: the plan that the runs name; the nominating one unless the topology asks for another.
    """

    name: str
    plan: Plan
    configuration: Configuration
    trained_under: Plan
    because: str = ""

    @property
    def topology(self) -> str:
        """How modalities meet."""
        return self.configuration.network.topology


def candidates_of(ground: Ground, nominated: Plan) -> tuple[list[Candidate], list[LeftOut]]:
    """The default of ``nominated`` and its challengers in their order, and the challengers that cannot be planned."""
    found = [Candidate("", nominated, tried_configuration(nominated), nominated)]
    left_out = []
    for challenger in nominated.challengers:
        try:
            found.append(_challenger(ground, nominated, challenger))
        except AutofuseError as error:
            left_out.append(LeftOut(name=_words(challenger, nominated), problem=error.problem))
    return _named(found, nominated), left_out


def _challenger(ground: Ground, nominated: Plan, challenger: Challenger) -> Candidate:
    from autofuse.training.run import make_trainer

    under = nominated
    if not fits(nominated, challenger.topology, challenger.decoders):
        topology = challenger.topology or tried_configuration(nominated).network.topology
        under = plan_for(ground, nominated, topology, challenger.decoders)
    under = held(ground, under, challenger.trainer.name)
    choice = challenger.trainer
    trainer = TrainerChoice(name=choice.name, fields={**planned_fields(under, choice.name), **choice.fields})
    make_trainer(trainer.name, trainer.fields)  # is it installed, and does it have these fields?
    return Candidate(
        "", under.model_copy(update={"trainer": trainer}), tried_configuration(under), under, challenger.because
    )


def _named(candidates: list[Candidate], nominated: Plan) -> list[Candidate]:
    """The candidates with short names, each of its own; a topology is named only where they differ in it."""
    several = len({candidate.topology for candidate in candidates}) > 1
    named: list[Candidate] = []
    for candidate in candidates:
        trainer = candidate.plan.trainer
        name = _trainer_words(trainer, planned_fields(nominated, trainer.name))
        name += f" on {candidate.topology}" if several else ""
        taken = {item.name for item in named}
        number = 2
        unique = name
        while unique in taken:
            unique, number = f"{name} ({number})", number + 1
        named.append(
            Candidate(unique, candidate.plan, candidate.configuration, candidate.trained_under, candidate.because)
        )
    return named


def _words(challenger: Challenger, nominated: Plan) -> str:
    name = _trainer_words(challenger.trainer, planned_fields(nominated, challenger.trainer.name))
    return name if challenger.topology is None else f"{name} on {challenger.topology}"


def _trainer_words(trainer: TrainerChoice, planned: dict[str, JsonValue]) -> str:
    fields = {key: value for key, value in sorted(trainer.fields.items()) if planned.get(key) != value}
    return " ".join([trainer.name, *(f"{key}={value}" for key, value in fields.items())])
