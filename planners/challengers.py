"""What the arbiter may try against the default: other trainers, and topologies on the other side of a near border."""

from __future__ import annotations

from collections.abc import Sequence

from autofuse.plan.types import Challenger, Decision, TrainerChoice
from autofuse_planners.fusion import Rival


def choose_challengers(
    trainer: TrainerChoice, trainers: Sequence[Challenger], rivals: Sequence[Rival]
) -> tuple[tuple[Challenger, ...], Decision]:
    """Other trainers, and the default trainer on other topologies; who tries them plans each under the same dials.

    Args:
        trainer: of the plan; trainers: other methods that the annotation speaks for.
        rivals: topologies that the measured numbers speak for.
    """
    same = TrainerChoice(name=trainer.name)
    on_others = (Challenger(trainer=same, topology=rival.topology, because=rival.because) for rival in rivals)
    nominated = (*trainers, *on_others)
    return nominated, Decision(
        what="challengers",
        chosen="; ".join(f"{_name(item)}: {item.because}" for item in nominated) or "none",
        rule="nominated where a rule gives a reason; one replaces the default only if a trial shows that it is better",
        evidence={"nominated": [_name(item) for item in nominated]},
    )


def _name(challenger: Challenger) -> str:
    return f"{challenger.trainer.name} on {challenger.topology}" if challenger.topology else challenger.trainer.name
