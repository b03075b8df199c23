"""A trained model: a run folder read back, verified, ready to predict."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from autofuse.foundation.errors import ModelError, UsageError
from autofuse.plan.task import Task
from autofuse.plan.types import Plan
from autofuse.training.checkpoint import fill_networks, load_checkpoint, prediction_weights
from autofuse.training.run import RunPlan, make_trainer
from autofuse.training.trainer import Trainer

RUN_NAME, PLAN_NAME, FINISHED_NAME = "run.json", "plan.json", "finished.json"
Which = Literal["last", "best"]


@dataclass(frozen=True)
class Model:
    """Everything that prediction needs: what was planned, the method, and its networks in evaluation mode."""

    task: Task
    trainer: Trainer
    nets: nn.ModuleDict
    run: RunPlan


def checkpoint_path(run_folder: Path, which: Which) -> Path:
    """Where the last or the best weights of a run stand."""
    return run_folder / f"{which}.safetensors"


def load_model(run_folder: Path, which: Which = "last", device: str | torch.device = "cpu") -> Model:
    """The model in ``run_folder``, from run.json, plan.json and the checkpoint beside them; nothing else is read.

    Raises:
        ModelError: if one of them is missing, damaged or foreign, or its trainer is not installed.
    """
    run = RunPlan.load(run_folder / RUN_NAME)
    task = load_task(run_folder, run)
    try:
        trainer = make_trainer(run.trainer, run.fields)
    except UsageError as error:
        raise ModelError(
            f"The trainer {run.trainer!r} that made this model cannot be used here: {error.problem}",
            file=run_folder / RUN_NAME,
            found=error.found,
            expected=error.expected,
            remedy=error.remedy or f"It was made with autofuse {run.autofuse_version}.",
        ) from error
    nets = trainer.networks(task)
    path = checkpoint_path(run_folder, which)
    tensors, _ = load_checkpoint(path, run.digest())
    fill_networks(nets, prediction_weights(tensors), path)
    return Model(task, trainer, nets.to(device).eval().requires_grad_(False), run)


def load_task(run_folder: Path, run: RunPlan) -> Task:
    """The plan in ``run_folder`` and the configuration that the run trains.

    Raises:
        ModelError: if the plan is missing, damaged, not the one that the run was made for, or lacks the configuration.
    """
    path = run_folder / PLAN_NAME
    plan = Plan.load(path)
    if plan.digest() != run.plan_digest:
        raise ModelError(
            "This run was made for another plan than the one beside it.",
            file=path,
            found=plan.digest()[:12],
            expected=run.plan_digest[:12],
            remedy="Copy the run folder as a whole, or train again.",
        )
    try:
        return Task(plan, plan.named(run.configuration))
    except KeyError:
        raise ModelError(
            f"The plan has no configuration {run.configuration!r}.",
            file=path,
            expected="one of " + ", ".join(item.name for item in plan.configurations),
        ) from None
