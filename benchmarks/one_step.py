"""Seconds and memory of one training step of a trainer on a made-up batch, as JSON; a process of its own measures one.

In the precision that training takes on this machine.

python benchmarks/one_step.py '{"trainer": "partial", "topology": "early", "settings": {}, "patch": [48, 48, 48],
                                "features": [8, 16, 32, 64], "modalities": 2}'
"""

from __future__ import annotations

import json
import statistics
import sys
import time

import torch

from autofuse.foundation.machine import default_precision, peak_memory_gib, tune_allocator
from autofuse.plan.task import Task
from autofuse.sampling.batch import Batch
from autofuse.testing.examples import example_task
from autofuse.training.run import make_trainer
from autofuse.training.trainer import Progress

STEPS, WARM_UP, BATCH = 8, 2, 2


def task_of(asked: dict[str, object]) -> Task:
    """Three classes, a U-Net of these widths with strides of 2, on this patch."""
    patch, features = tuple(asked["patch"]), tuple(asked["features"])  # type: ignore[arg-type]
    plain = example_task(int(asked["modalities"]), len(patch), classes=3, topology=str(asked["topology"]))  # type: ignore[arg-type, call-overload]
    ones, twos, threes = ((edge,) * len(patch) for edge in (1, 2, 3))
    network = plain.configuration.network.model_copy(
        update={
            "features": features,
            "kernels": (threes,) * len(features),
            "strides": (ones, *(twos,) * (len(features) - 1)),
            "blocks": (2,) * len(features),
            "decoder_blocks": (2,) * (len(features) - 1),
        }
    )
    configuration = plain.configuration.model_copy(update={"network": network, "patch": patch, "batch": BATCH})
    return Task(plain.plan.model_copy(update={"configurations": (configuration,)}), configuration)


def drawn(task: Task, samples: int) -> Batch:
    """Noise, and 5 % of its voxels labelled at random."""
    patch = task.configuration.patch
    return Batch(
        image=torch.randn(samples, task.modalities, *patch),
        present=torch.ones(samples, task.modalities, dtype=torch.bool),
        target=torch.where(torch.rand(samples, *patch) < 0.05, torch.randint(0, 4, (samples, *patch)), -1),
        spacing_mm=(1.0,) * len(patch),
    )


def main() -> None:
    """Measure what the argument asks for and print it."""
    asked = json.loads(sys.argv[1])
    tune_allocator()
    torch.manual_seed(0)
    task = task_of(asked)
    trainer = make_trainer(asked["trainer"], asked["settings"])
    nets = trainer.networks(task).train()
    batches = {stream.name: drawn(task, max(1, round(stream.share * BATCH))) for stream in trainer.streams()}
    objectives = trainer.objectives(task)
    precision = default_precision("cpu")
    before, seconds = peak_memory_gib(), []
    for step in range(WARM_UP + STEPS):
        started = time.perf_counter()
        for objective in objectives:
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                terms = objective.terms(nets, batches, Progress(step + STEPS, 20))
            torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
            nets.zero_grad()
        seconds.append(time.perf_counter() - started)
    step_gib = peak_memory_gib() - before
    found = {"step_s": statistics.median(seconds[WARM_UP:]), "step_gib": step_gib, "precision": precision}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
