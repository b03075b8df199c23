"""How far scribbles go: the partial baseline, CmFNet with its parts switched off one by one, and pseudo labels.

    python benchmarks/scribbles.py compare                  # two-modality phantoms; --data DIR --folds N for a data set
    python benchmarks/scribbles.py sweep                    # weights, on cases of training folds only
    python benchmarks/scribbles.py cost                     # seconds and memory of a step, against `supervised`

All arms of a comparison have one plan (patch, width, batch), one number of steps and the same seeds; they differ in the
trainer, in the topology that it is made for, and in what is switched off. They are judged by dense truth and their
final weights; differences come with a 95 % paired bootstrap interval over people and seeds. Results go to
``benchmarks/results/scribbles_*.json``. What is made lies in ``--work``; an interrupted benchmark goes on there.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import arms
from arms import Arm, Dice, add_arguments, compare, judge, on, phantom, show
from results_file import keep

from autofuse.dataset.opening import open_dataset

SCRIBBLED = {"scribbles": 0.05}
"""Of each class's voxels, on half of the slices."""


def cmfnet(name: str, topology: str = "specific_shared", **settings: Any) -> Arm:
    """CmFNet, or a part of it."""
    return Arm(name, {}, on(topology), trainer="cmfnet", settings=settings)


PARTIAL = Arm("partial", {}, trainer="partial")
ARMS = {
    arm.name: arm
    for arm in (
        PARTIAL,
        cmfnet("cmfnet"),
        cmfnet("without_intra", intra_weight=0.0),
        cmfnet("without_inter", inter_weight=0.0),
        cmfnet("without_both", intra_weight=0.0, inter_weight=0.0),
        cmfnet("without_cross", topology="late"),
        Arm("pseudo_labels", {}, on("early", 2), trainer="pseudo_labels"),
    )
}
SWEPT = {
    "inter_weight": (0.0, 0.1, 0.3, 1.0),
    "intra_weight": (0.0, 1.0, 8.0),
    "pseudo_weight": (0.0, 1.0, 8.0),
}
"""One term at a time, the others as they are by default. Published weights of such terms differ by 80 times."""


def compared(options: argparse.Namespace) -> dict[str, Any]:
    """Dice of the arms, and each less that of ``partial``."""
    dice: dict[str, Dice] = {}
    described: dict[str, Any] = {}
    people: dict[str, str] = {}
    for seed in range(options.seeds):
        raw = phantom(options, seed, **SCRIBBLED) if options.data is None else options.data.resolve()
        if options.data is not None:
            people |= {f"seed{seed}/{case.id}": case.subject for case in open_dataset(raw).cases}
        for name in dict.fromkeys((PARTIAL.name, *options.arms)):
            trained, found = judge(ARMS[name], raw, options, seed)
            dice.setdefault(name, {}).update(arms.tagged(found, seed))
            described[name] = trained.described()
    rows: list[dict[str, Any]] = [{"arm": name, "dice": arms.mean(found)} for name, found in dice.items()]
    for row in rows[1:]:
        row["less_partial"] = compare(dice[PARTIAL.name], dice[row["arm"]], people)
    return {"rows": rows, "arms": described}


def sweep(options: argparse.Namespace) -> dict[str, Any]:
    """Dice under each weight of one term, judged by cases that a training fold holds out."""
    dice: dict[tuple[str, float], Dice] = {}
    swept = [(term, weight) for term in options.terms for weight in SWEPT[term]]
    for seed in range(options.seeds):
        raw = phantom(options, 100 + seed, **SCRIBBLED) if options.data is None else options.data.resolve()
        for term, weight in swept:
            arm = _weighed(term, weight)
            root = options.work / "workspaces" / f"{arm.name}_{raw.name}_seed{seed}_{options.steps}"
            trained = arms.train(arm, raw, root, steps=options.steps, seed=seed, folds=(options.fold,))
            dice.setdefault((term, weight), {}).update(arms.tagged(arms.held_out_dice(trained), seed))
    rows = [{"term": term, "weight": f"{weight:g}", "dice": arms.mean(found)} for (term, weight), found in dice.items()]
    return {"rows": rows}


def _weighed(term: str, weight: float) -> Arm:
    name = f"sweep_{term}_{weight:g}"
    if term == "pseudo_weight":
        return Arm(name, {}, on("early", 2), trainer="pseudo_labels", settings={term: weight})
    return cmfnet(name, **{term: weight})


def cost(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of a training step and peak memory, each way in a process of its own, and as multiples of supervised."""
    cases = {
        "supervised": ("supervised", "early", {}),
        "partial": ("partial", "early", {}),
        "partial on specific_shared": ("partial", "specific_shared", {}),
        "cmfnet": ("cmfnet", "specific_shared", {}),
        "cmfnet without the CRF": ("cmfnet", "specific_shared", {"intra_weight": 0.0}),
        "cmfnet without consistency": ("cmfnet", "specific_shared", {"inter_weight": 0.0}),
        "pseudo_labels": ("pseudo_labels", "early", {}),
        "self_training": ("self_training", "early", {}),
        "supervised on per_modality": ("supervised", "per_modality", {}),
        "collaboration": ("collaboration", "per_modality", {}),
        "collaboration, modalities apart": ("collaboration", "per_modality", {"aligned": False}),
        "collaboration with a mean teacher": ("collaboration", "per_modality", {"teacher_weight": 1.0}),
    }
    here = Path(__file__).with_name("one_step.py")
    rows = []
    for name, (trainer, topology, settings) in cases.items():
        asked = {"trainer": trainer, "topology": topology, "settings": settings, "patch": options.patch}
        asked |= {"features": options.features, "modalities": options.modalities}
        command = [sys.executable, str(here), json.dumps(asked)]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        rows.append({"arm": name, **found})
    first = rows[0]
    for row in rows:
        row["time_ratio"] = row["step_s"] / first["step_s"]
        row["memory_ratio"] = row["step_gib"] / first["step_gib"]
    return {"rows": rows, "patch": options.patch, "features": options.features, "modalities": options.modalities}


BENCHMARKS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "compare": compared,
    "sweep": sweep,
    "cost": cost,
}


def main() -> None:
    """Run one benchmark, print its table and keep its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="benchmark", required=True)
    for name, run in BENCHMARKS.items():
        command = commands.add_parser(name, description=run.__doc__)
        command.add_argument("--name", default=f"scribbles_{name}", help="of the results file")
        if name == "cost":
            command.add_argument("--patch", type=int, nargs="+", default=[48, 48, 48])
            command.add_argument("--features", type=int, nargs="+", default=[8, 16, 32, 64])
            command.add_argument("--modalities", type=int, default=2)
            continue
        add_arguments(command, "scribbles", shape=(40, 40, 40))
        command.add_argument("--data", type=Path, help="scribbled data set with labelsTr_dense")
        if name == "sweep":
            command.add_argument("--terms", nargs="+", choices=sorted(SWEPT), default=list(SWEPT))
            command.add_argument("--fold", type=int, default=1, help="whose held-out cases judge (default: 1)")
        else:
            command.add_argument("--folds", type=int, default=5, help="of the data set, all trained (default: 5)")
            command.add_argument("--arms", nargs="+", choices=sorted(ARMS), default=list(ARMS))
    options = parser.parse_args()
    asked = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
    if options.benchmark != "cost":
        options.work = options.work.absolute()
        asked["data"] = options.data.name if options.data else "phantom"
        del asked["work"], asked["shape"]
    results = BENCHMARKS[options.benchmark](options)
    show(options.benchmark, results["rows"])
    keep(options.name, {"options": asked, **arms.as_json(results)})


if __name__ == "__main__":
    main()
