"""A trained fold without its patients: the values that prediction reads, and the weights that predict."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from autofuse.foundation.errors import ModelError
from autofuse.plan.types import Plan
from autofuse.sharing.layout import FINISHED, PLAN, RUN
from autofuse.sharing.private import Secrets
from autofuse.sharing.soundness import require_sound_plan, require_sound_run
from autofuse.sharing.types import Member
from autofuse.training.checkpoint import (
    NET,
    About,
    load_checkpoint,
    prediction_weights,
    prefixed,
    shapes_of,
    tensors_crc32,
)
from autofuse.training.model import checkpoint_path
from autofuse.training.run import RunPlan
from autofuse.training.state import FitResult


@dataclass(frozen=True)
class ReducedFold:
    """What of one fold goes into a bundle.

    Attributes:
        texts: its values as JSON, by file name.
        tensors, about: its weights, as ``save_checkpoint`` takes them.
    """

    member: Member
    texts: dict[str, str]
    tensors: dict[str, Tensor]
    about: About


def reduce_fold(folder: Path, name: str, secrets: Secrets, *, earlier: bool) -> ReducedFold:
    """The fold in ``folder`` as a member of the model called ``name``.

    Lists of cases and subjects are emptied, and the plan is that of a data set called like the model. Decisions that
    name a case are left out of it. Since run, result and weights name the plan by its hash, each names the new one.

    Raises:
        ModelError: if the fold is not finished, one of its files is missing or damaged, or an import would refuse it.
    """
    run = RunPlan.load(folder / RUN)
    result = FitResult.load(folder / FINISHED)
    tensors, about = load_checkpoint(checkpoint_path(folder, "last"), run.digest())
    weights = prefixed(NET, prediction_weights(tensors))
    if result.run_digest != run.digest() or result.weights_crc32 != tensors_crc32(weights):
        raise ModelError(
            "The weights beside this result are not those that the training ended with.",
            file=folder,
            found=f"weights {tensors_crc32(weights):08x}",
            expected=f"weights {result.weights_crc32:08x}",
            remedy="Copy the run folder again from where it came, or finish the training.",
        )
    plan = reduce_plan(Plan.load(folder / PLAN), name, secrets)
    reduced = reduce_run(run, plan)
    ended = result.model_copy(
        update={"run_digest": reduced.digest(), "best_dice": None, "best_step": None, "best_crc32": None}
    )
    member = member_of(folder.parent.name, run, plan, earlier=earlier)
    # What could not be imported shall not be exported.
    require_sound_plan(plan, folder / PLAN)
    require_sound_run(reduced, plan, shapes_of(weights), folder / RUN)
    texts = {RUN: reduced.to_json(), PLAN: plan.to_json(), FINISHED: ended.to_json()}
    return ReducedFold(member, texts, weights, About(run_digest=reduced.digest(), step=about.step))


def member_of(name: str, run: RunPlan, plan: Plan, *, earlier: bool) -> Member:
    """What is said of one fold of the run called ``name``."""
    return Member(
        run=name,
        fold=run.fold,
        earlier=earlier,
        configuration=run.configuration,
        trainer=run.trainer,
        topology=plan.named(run.configuration).network.topology,
        labelled=len(run.labelled),
        unlabelled=len(run.unlabelled),
        held_out=len(run.held_out),
    )


def reduce_plan(plan: Plan, name: str, secrets: Secrets) -> Plan:
    """``plan`` for a data set called ``name``, without the decisions that give a case or a path away."""
    kept = tuple(item for item in plan.decisions if secrets.found_in_value(item.model_dump(mode="json")) is None)
    return plan.model_copy(update={"dataset": name, "decisions": kept})


def reduce_run(run: RunPlan, plan: Plan) -> RunPlan:
    """``run`` under the reduced ``plan``, without the cases that it trained and held out."""
    nobody: dict[str, Any] = {"labelled": (), "unlabelled": (), "held_out": (), "subjects": {}, "taught_by": None}
    return run.model_copy(update={"plan_digest": plan.digest(), **nobody})
