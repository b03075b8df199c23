"""autofuse's side of the training comparison, on nnU-Net's planned patch, batch and network; prints one JSON line.

    python autofuse_peer.py DATASET WORKSPACE NNUNET_JSON STEPS

The plan of the workspace gets nnU-Net's network and patch in its 3D configuration, the fold is trained for STEPS steps
by the ordinary loop from the prepared store, and the bare network (same loss and optimiser, fixed random input) is
timed at the same precision. STEPS may name one: ``5:fp32``; the default is what the machine computes fastest.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from autofuse.dataset import make_splits, open_dataset
from autofuse.foundation.console import configure
from autofuse.foundation.workspace import Workspace
from autofuse.plan.task import Task
from autofuse.plan.types import NetworkPlan, Plan
from autofuse.preprocessing import prepare_dataset
from autofuse.sampling.batch import Batch
from autofuse.training.loop import fit, numerics
from autofuse.training.run import plan_run, run_name
from autofuse.training.steps import Stepper
from autofuse.training.streams import store_loader
from autofuse.training.trainer import Progress
from autofuse_trainers.supervised import Supervised

_WARM_UP = 2


def like_nnunet(plan: Plan, facts: Mapping[str, Any]) -> Plan:
    """``plan`` with nnU-Net's patch, batch and network in its 3D configuration, and nothing else changed."""
    network = NetworkPlan(
        features=tuple(facts["features"]),
        kernels=tuple(tuple(kernel) for kernel in facts["kernels"]),
        strides=tuple(tuple(stride) for stride in facts["strides"]),
        blocks=tuple(facts["blocks"]),
        decoder_blocks=tuple(facts["decoder_blocks"]),
    )
    changed = plan.named("3d").model_copy(
        update={"patch": tuple(facts["patch"]), "batch": facts["batch"], "network": network}
    )
    others = tuple(item for item in plan.configurations if item.name != "3d")
    return plan.model_copy(update={"configurations": (changed, *others), "configuration": "3d"})


class Stopwatch:
    """A loader that notes when each batch is asked for: the gaps are whole training steps, loading included."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        self.asked: list[float] = []
        self.first: Mapping[str, Batch] | None = None

    def __iter__(self) -> Iterator[Mapping[str, Batch]]:
        batches = iter(self.loader)
        while True:
            self.asked.append(time.perf_counter())
            batch = next(batches)
            self.first = self.first or batch
            yield batch

    def close(self) -> None:
        self.loader.close()

    def seconds(self) -> list[float]:
        """Length of each step after the warm-up."""
        return [after - before for before, after in zip(self.asked, self.asked[1:], strict=False)][_WARM_UP:]


def main(dataset_folder: Path, workspace_root: Path, facts: Mapping[str, Any], length: str) -> None:
    """Time training steps and the bare network's, and leave a run that prediction can use."""
    configure(quiet=True)
    steps, _, precision = length.partition(":")
    dataset = open_dataset(dataset_folder)
    workspace = Workspace(workspace_root, dataset.name)
    plan = like_nnunet(Plan.load(workspace.plan), facts)
    plan.save(workspace.plan)
    task = Task(plan, plan.named("3d"))
    store = prepare_dataset(dataset, plan, task.configuration, workspace)
    training, held_out = make_splits(dataset).folds[0]
    trainer = Supervised()
    run = plan_run(
        task,
        "supervised",
        trainer,
        fold=0,
        labelled=training,
        held_out=held_out,
        steps=int(steps) + _WARM_UP + 1,
        precision=precision or None,  # type: ignore[arg-type]
    )
    # One epoch: no checkpoint falls between the steps that are timed.
    run = run.model_copy(update={"steps_per_epoch": run.steps})
    watches: list[Stopwatch] = []
    device = torch.device("cpu")

    def loaders(first: int) -> Stopwatch:
        watches.append(Stopwatch(store_loader(task, trainer, store, run, device)(first)))
        return watches[-1]

    fit(task, trainer, store, run, workspace.run(run_name(run), 0), device=device, loader_factory=loaders)
    batch = watches[0].first
    assert batch is not None
    report = {
        "step_s": watches[0].seconds(),
        "bare_step_s": bare_steps(task, trainer, run, batch, int(steps)),
        "precision": run.precision,
        "patch": list(task.configuration.patch),
        "batch": task.configuration.batch,
        "features": list(task.configuration.network.features),
        "run": run_name(run),
    }
    sys.stdout.write("\n" + json.dumps(report) + "\n")


def bare_steps(task: Task, trainer: Supervised, run: Any, batch: Mapping[str, Batch], steps: int) -> list[float]:
    """Seconds of forward, loss, backward and optimiser on one fixed random batch."""
    noise = {name: replace(item, image=torch.randn_like(item.image)) for name, item in batch.items()}
    seconds = []
    with numerics(run, torch.device("cpu")):
        stepper = Stepper(task, trainer, trainer.networks(task).train(), run, torch.device("cpu"))
        for index in range(steps + _WARM_UP):
            started = time.perf_counter()
            stepper.take(index, noise, Progress(index, steps + _WARM_UP), 1.0)
            stepper.collect()
            if index >= _WARM_UP:
                seconds.append(time.perf_counter() - started)
    return seconds


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(Path(sys.argv[3]).read_text()), sys.argv[4])
