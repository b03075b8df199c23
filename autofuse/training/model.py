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
from autofuse.training.checkpoint import (
    NET,
    fill_networks,
    load_checkpoint,
    prediction_weights,
    prefixed,
    tensors_crc32,
)
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

    @property
    def weights_crc32(self) -> int:
        """CRC-32 of the weights that predict, named as in a file; finished.json says the same."""
        return tensors_crc32(prefixed(NET, {name: tensor.cpu() for name, tensor in self.nets.state_dict().items()}))


@dataclass(frozen=True)
class StoredModel:
    """A model whose weights stay in its folder until it is their turn, so that ten take no more memory than one.

    Attributes:
        weights_crc32: of the weights that predict, as they were when the model was opened.
    """

    task: Task
    trainer: Trainer
    run: RunPlan
    folder: Path
    which: Which
    weights_crc32: int

    def load(self, device: str | torch.device = "cpu") -> Model:
        """The model with its weights.

        Raises:
            ModelError: as ``load_model``, or if they are not those that were there before.
        """
        model = load_model(self.folder, self.which, device)
        if model.run != self.run or model.weights_crc32 != self.weights_crc32:
            raise ModelError(
                "This model was changed while it was in use.",
                file=checkpoint_path(self.folder, self.which),
                found=f"{model.weights_crc32:08x}",
                expected=f"{self.weights_crc32:08x}",
                remedy="Run the same command again.",
            )
        return model


AnyModel = Model | StoredModel


def open_model(run_folder: Path, which: Which = "last") -> StoredModel:
    """The model in ``run_folder``, found to be whole; its weights are let go again.

    Raises:
        ModelError: as ``load_model``.
    """
    model = load_model(run_folder, which)
    return StoredModel(model.task, model.trainer, model.run, run_folder, which, model.weights_crc32)


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
