"""Peak memory of training: foreseen by a traced step, beside what a process really took, per trainer and topology.

    python benchmarks/memory.py                      all pairs that work together; goes on where it was stopped
    python benchmarks/memory.py --only supervised    one trainer

Each pair trains three steps in a process of its own on made-up batches; its largest resident size is compared. The
processes are forked from one that has imported everything and computed nothing: a child's record of its largest size
begins with what it holds then.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys

import torch
from one_step import task_of
from results_file import HERE, keep

from autofuse.foundation.errors import UsageError
from autofuse.foundation.machine import Precision, peak_memory_gib, tune_allocator
from autofuse.networks import TOPOLOGIES
from autofuse.networks.cost import network_cost
from autofuse.plan.memory import training_memory_gib
from autofuse.training.memory import foreseen_memory_gib, stepped_memory_gib, traced_memory_gib
from autofuse.training.run import make_trainer

PATCH, FEATURES, MODALITIES = (64, 64, 64), (16, 32, 64), 2
SETTING = {
    "patch": list(PATCH),
    "features": list(FEATURES),
    "modalities": MODALITIES,
    "batch": 2,
    "torch": str(torch.__version__),
}
TRAINERS = ("supervised", "partial", "self_training", "pseudo_labels", "collaboration", "fuse4seg", "cmfnet")
BF16 = {("supervised", "early"), ("supervised", "specific_shared"), ("cmfnet", "specific_shared")}


Pair = tuple[str, str, Precision]


def pairs(only: str | None) -> list[Pair]:
    """(trainer, topology, precision) that can be tried; which of them refuse each other shows when they are."""
    chosen = [name for name in TRAINERS if only in (None, name)]
    plain: list[Pair] = [(name, topology, "fp32") for name in chosen for topology in TOPOLOGIES]
    return [(name, topology, "bf16") for name, topology, _ in plain if (name, topology) in BF16] + plain


def one(pair: Pair) -> dict[str, float]:
    """What is foreseen, what the planner's formula says and what was taken, in GiB; nothing where the two refuse."""
    trainer, topology, precision = pair
    tune_allocator()
    asked = {"modalities": MODALITIES, "patch": PATCH, "features": FEATURES, "topology": topology}
    task, method = task_of(asked), make_trainer(trainer)
    try:
        traced = traced_memory_gib(task, trainer, method, precision)
    except UsageError:
        return {}
    foreseen = foreseen_memory_gib(task, trainer, method, precision)
    assert foreseen is not None, "what is traced is foreseen"
    network = task.configuration.network.model_copy(update={"decoders": method.decoders})
    cost = network_cost(network, MODALITIES, task.outputs, PATCH)
    logits = task.outputs * PATCH[0] * PATCH[1] * PATCH[2]
    formula = training_memory_gib(cost, task.configuration.batch, precision, logits=logits)
    idle = peak_memory_gib()
    taken = stepped_memory_gib(task, trainer, method, precision, torch.device("cpu"), lambda device: peak_memory_gib())
    found = {"traced_gib": traced, "foreseen_gib": foreseen, "formula_gib": formula, "idle_gib": idle}
    found |= {"taken_gib": taken, "foreseen_ratio": foreseen / taken, "formula_ratio": formula / taken}
    return {name: round(value, 4) for name, value in found.items()}


def kept_rows() -> list[dict[str, object]]:
    """What an earlier call measured in the same setting."""
    path = HERE / "results" / "memory.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    return list(found["rows"]) if found.get("setting") == SETTING else []


def main() -> None:
    """Measure every pair that was not measured before, one after another; the table is written after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=TRAINERS)
    rows, children = kept_rows(), multiprocessing.get_context("fork")
    known = {(row["trainer"], row["topology"], row["precision"]) for row in rows}
    for pair in pairs(parser.parse_args().only):
        if pair in known:
            continue
        with children.Pool(1) as process:
            found = process.apply(one, (pair,))
        if found:
            rows.append({"trainer": pair[0], "topology": pair[1], "precision": pair[2], **found})
            sys.stderr.write(json.dumps(rows[-1]) + "\n")
            keep("memory", {"setting": SETTING, "rows": rows})


if __name__ == "__main__":
    main()
