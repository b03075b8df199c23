"""autofuse doing what nnU-Net was asked to do: prepared images, prediction, training of one length; prints a JSON line.

    python autofuse_same.py prepared DATASET WORKSPACE NNUNET_JSON          distance of both tools' prepared cases
    python autofuse_same.py predict DATASET WORKSPACE RUN FOLDER IMAGES     how much of predicting is the network
    python autofuse_same.py teach DATASET WORKSPACE NNUNET_JSON STEPS FOLDER
                                                  train that long, predict what fold 0 holds out into FOLDER

``NNUNET_JSON`` is what ``nnunet_peer.py steps`` printed: patch, batch, network, and where its plans and files stand.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
from autofuse_peer import like_nnunet
from torch import nn

from autofuse.dataset import load_case, make_splits, open_dataset
from autofuse.foundation.console import configure
from autofuse.foundation.workspace import Workspace
from autofuse.inference.folder import predict_cases, require_predicted
from autofuse.inference.prediction import PredictOptions
from autofuse.plan.task import Task
from autofuse.plan.types import NormalisationPlan, Plan
from autofuse.preprocessing import prepare_dataset
from autofuse.preprocessing.prepare import prepare_case
from autofuse.road.runs import choose_run
from autofuse.training.loop import fit
from autofuse.training.model import load_model
from autofuse.training.run import make_trainer, plan_run, run_name
from autofuse_planners.schedule import choose_schedule
from autofuse_planners.thresholds import Thresholds

COMPARED_CASES = 8
_OUTSIDE = -1
"""What nnU-Net's prepared labels hold outside of the body."""


def prepared(dataset_folder: str, workspace_root: str, facts_file: str) -> dict[str, Any]:
    """Largest difference of prepared intensities, and the share of equal labels, over a few cases.

    Both prepare for nnU-Net's spacing and normalisation, which are read from its plans.
    """
    facts = json.loads(Path(facts_file).read_text())
    dataset = open_dataset(dataset_folder)
    plan = _as_nnunet_prepares(Plan.load(Workspace(Path(workspace_root), dataset.name).plan), facts)
    largest, equal, cases = 0.0, [], []
    for case in dataset.cases[:COMPARED_CASES]:
        files = [Path(facts["prepared"]) / f"{case.id}{end}.b2nd" for end in ("", "_seg")]
        theirs, their_label = (np.asarray(blosc2.open(str(file), mode="r")[:]) for file in files)
        ours = prepare_case(load_case(dataset, case), plan, plan.named("3d"))
        if ours.images.shape != theirs.shape or ours.label is None:
            raise RuntimeError(f"{case.id}: {ours.images.shape} here, {theirs.shape} in nnU-Net: nothing to compare")
        largest = max(largest, float(np.abs(ours.images - theirs).max()))
        equal.append(float((ours.label == np.where(their_label[0] == _OUTSIDE, 0, their_label[0])).mean()))
        cases.append(case.id)
    return {"cases": cases, "largest_difference": largest, "equal_labels": min(equal)}


def predict(dataset_folder: str, workspace_root: str, run: str, folder: str, images: str) -> dict[str, Any]:
    """Seconds that predicting every case of ``images`` takes, and how many of them the network does."""
    from autofuse.dataset.opening import images_as_dataset

    dataset = open_dataset(dataset_folder)
    (fold,) = choose_run(Workspace(Path(workspace_root), dataset.name), run)
    model = load_model(fold.folder)
    clocks = {name: Stopwatch(net) for name, net in model.nets.items()}
    timed = replace(model, nets=nn.ModuleDict(clocks))
    source = images_as_dataset(images, dataset.modalities, dataset.labels, dataset.file_ending)
    started = time.perf_counter()
    options = PredictOptions(mirror=False)
    require_predicted(predict_cases([timed], source, source.test_cases, Path(folder), options=options))
    return {"whole_s": time.perf_counter() - started, "network_s": sum(clock.seconds for clock in clocks.values())}


def teach(dataset_folder: str, workspace_root: str, facts_file: str, steps: str, folder: str) -> dict[str, Any]:
    """Train with nnU-Net's patch, batch and network for that many steps as a plan for them says; held-out masks."""
    facts = json.loads(Path(facts_file).read_text())
    dataset = open_dataset(dataset_folder)
    workspace = Workspace(Path(workspace_root), dataset.name)
    plan = like_nnunet(Plan.load(workspace.plan), facts)
    schedule, _ = choose_schedule(int(steps), Thresholds())
    plan = plan.model_copy(
        update={
            "trainer": plan.trainer.model_copy(update={"fields": {**plan.trainer.fields, **schedule}}),
            "steps": int(steps),
        }
    )
    plan.save(workspace.plan)
    task = Task(plan, plan.named("3d"))
    store = prepare_dataset(dataset, plan, task.configuration, workspace)
    training, held_out = make_splits(dataset).folds[0]
    trainer = make_trainer(plan.trainer.name, plan.trainer.fields)
    run = plan_run(
        task,
        plan.trainer.name,
        trainer,
        fold=0,
        labelled=training,
        held_out=held_out,
        steps=int(steps),
        precision="fp32",
    )
    started = time.perf_counter()
    place = workspace.run(run_name(run), 0)
    fit(task, trainer, store, run, place, device="cpu")
    trained_s = time.perf_counter() - started
    cases = [case for case in dataset.cases if case.id in set(held_out)]
    options = PredictOptions(mirror=False)
    require_predicted(predict_cases([load_model(place)], dataset, cases, Path(folder), options=options))
    return {"steps": int(steps), "trained_s": trained_s, "held_out": sorted(held_out), "schedule": schedule}


def _as_nnunet_prepares(plan: Plan, facts: Mapping[str, Any]) -> Plan:
    """``plan`` with the spacing, the order of axes and the normalisation of nnU-Net's plans."""
    theirs = json.loads(Path(facts["plans"]).read_text())
    chosen = theirs["configurations"]["3d_fullres"]
    norms = []
    for channel, (scheme, masked) in enumerate(
        zip(chosen["normalization_schemes"], chosen["use_mask_for_norm"], strict=True)
    ):
        statistics = theirs["foreground_intensity_properties_per_channel"][str(channel)]
        norms.append(_norm(scheme, masked, statistics))
    changed = like_nnunet(plan, facts)
    axes = theirs["transpose_forward"]
    # Its spacing is in the order that it put the axes in, as ours is.
    spacing_mm = tuple(float(value) for value in chosen["spacing"])
    configuration = changed.named("3d").model_copy(update={"spacing_mm": spacing_mm})
    others = tuple(item for item in changed.configurations if item.name != "3d")
    return changed.model_copy(
        update={
            "transpose": (axes[0], axes[1], axes[2]),
            "normalisation": tuple(norms),
            "configurations": (configuration, *others),
            "registration": None,
        }
    )


def _norm(scheme: str, masked: bool, statistics: Mapping[str, float]) -> NormalisationPlan:
    if scheme == "CTNormalization":
        return NormalisationPlan(
            scheme="ct",
            mean=statistics["mean"],
            std=statistics["std"],
            lower=statistics["percentile_00_5"],
            upper=statistics["percentile_99_5"],
        )
    if scheme == "ZScoreNormalization":
        return NormalisationPlan(scheme="zscore_nonzero" if masked else "zscore")
    return NormalisationPlan(scheme="rescale_0_1" if scheme == "RescaleTo01Normalization" else "none")


class Stopwatch(nn.Module):
    """A network that adds up how long it computes."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.seconds = 0.0

    def forward(self, *arguments: Any, **options: Any) -> Any:
        started = time.perf_counter()
        result = self.network(*arguments, **options)
        self.seconds += time.perf_counter() - started
        return result


def main(what: str, *words: str) -> None:
    """Do what the first word says and print what came of it."""
    configure(quiet=True)
    report = {"prepared": prepared, "predict": predict, "teach": teach}[what](*words)  # type: ignore[operator]
    sys.stdout.write("\n" + json.dumps(report) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
