"""What a fused image costs in Dice: concatenation, one modality alone, the brightest voxel, Fuse4Seg in its modes.

    python benchmarks/fused.py compare                  # phantoms of two modalities
    python benchmarks/fused.py compare --data DIR       # real images; for each seed another case is kept aside
    python benchmarks/fused.py compare --atlas DIR      # T1, T2 and PD of one average brain, half against half
    python benchmarks/fused.py sweep                    # the weight of the fusion loss, on cases of training folds only
    python benchmarks/fused.py cost                     # seconds and memory of a leader's step, against `joint`

All arms of a comparison have one patch, width and batch, one number of steps and the same seeds. They are judged by
their final weights; differences from concatenation and from the brightest voxel come with a 95 % paired bootstrap
interval over people and seeds. ``brightest``, ``mean``, ``saliency`` and ``pyramid`` are the follower on an image that
a fixed rule fuses: nobody learns to fuse. Results go to ``benchmarks/results/fused_*.json``. What is made lies in
``--work``; an interrupted benchmark goes on there.
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
from arms import (
    Arm,
    Dice,
    add_arguments,
    compare,
    held_out_dice,
    judge,
    kept_aside,
    on,
    one_modality,
    phantom,
    show,
    tagged,
    train,
)
from atlas import atlas_halves
from results_file import keep

from autofuse.dataset.opening import open_dataset

MODES = ("joint", "first_order", "gauss_newton", "unrolled")
SWEPT = (0.01, 0.1, 1.0)
SWEPT_MODE = "joint"


def fusing(name: str, **settings: Any) -> Arm:
    """Fuse4Seg, planned at the size of concatenation."""
    return Arm(name, {}, on("image_level"), trainer="fuse4seg", settings=settings)


CONCATENATED, BRIGHTEST = (
    Arm("concatenated", {}, trainer="supervised"),
    fusing("brightest", bilevel="fixed", aggregate="max"),
)
ARMS = {
    arm.name: arm
    for arm in (
        CONCATENATED,
        BRIGHTEST,
        *(fusing(how, bilevel="fixed", aggregate=how) for how in ("mean", "saliency", "pyramid")),
        *(fusing(mode, bilevel=mode, aggregate="pyramid") for mode in MODES),
        *(fusing(f"{mode}_from_mean", bilevel=mode, aggregate="mean") for mode in MODES[:2]),
        *(fusing(f"{mode}_from_brightest", bilevel=mode, aggregate="max") for mode in MODES[:2]),
        fusing("joint_and_sources", bilevel="joint", aggregate="pyramid", sees="fused_and_sources"),
    )
}


def source_of(options: argparse.Namespace, seed: int) -> Path:
    """The data set of this seed, with test cases that judge."""
    folder = options.work / "data"
    if options.atlas is not None:
        return atlas_halves(options.atlas.resolve(), folder)
    if options.data is not None:
        return kept_aside(options.data.resolve(), folder, options.judges, seed, parsed(options.regions))
    return phantom(options, seed)


def parsed(regions: list[str] | None) -> dict[str, list[int]] | None:
    """``["whole=1,2,3,4"]`` as ``{"whole": [1, 2, 3, 4]}``."""
    pairs = [given.split("=") for given in regions or ()]
    return {name: [int(value) for value in values.split(",")] for name, values in pairs} or None


def compared(options: argparse.Namespace) -> dict[str, Any]:
    """Dice of the arms, each less that of concatenation and that of the brightest voxel."""
    dice: dict[str, Dice] = {}
    described: dict[str, Any] = {}
    people: dict[str, str] = {}
    for seed in range(options.seeds):
        raw = source_of(options, seed)
        opened = open_dataset(raw)
        # Real people stay who they are from seed to seed; every phantom has people of its own.
        own = f"seed{seed}/" if options.data is None and options.atlas is None else ""
        people |= {f"seed{seed}/{case.id}": own + case.subject for case in (*opened.cases, *opened.test_cases)}
        for name in dict.fromkeys((CONCATENATED.name, BRIGHTEST.name, *options.arms)):
            trained, found = judge(ARMS[name], raw, options, seed)
            dice.setdefault(name, {}).update(tagged(found, seed))
            described[name] = trained.described()
        for channel, modality in enumerate(opened.modalities if options.alone else ()):
            name = f"{modality.name} alone"
            trained, found = judge(
                Arm("alone", {}, trainer="supervised"), one_modality(raw, channel, raw.parent), options, seed
            )
            dice.setdefault(name, {}).update(tagged(found, seed))
            described[name] = trained.described()
    rows: list[dict[str, Any]] = [{"arm": name, "dice": arms.mean(found)} for name, found in dice.items()]
    for row in rows:
        for other in (CONCATENATED.name, BRIGHTEST.name):
            if row["arm"] != other:
                row[f"less_{other}"] = compare(dice[other], dice[row["arm"]], people)
    return {"rows": rows, "arms": described}


def sweep(options: argparse.Namespace) -> dict[str, Any]:
    """Dice under each weight of the fusion loss, judged by cases that a training fold holds out."""
    dice: dict[float, Dice] = {}
    for seed in range(options.seeds):
        raw = phantom(options, 100 + seed) if options.data is None else options.data.resolve()
        for weight in SWEPT:
            arm = fusing(f"sweep_{weight:g}", bilevel=SWEPT_MODE, fusion_weight=weight)
            root = options.work / "workspaces" / f"{arm.name}_{raw.name}_seed{seed}_{options.steps}"
            trained = train(arm, raw, root, steps=options.steps, seed=seed, folds=(options.fold,))
            dice.setdefault(weight, {}).update(tagged(held_out_dice(trained), seed))
    return {"mode": SWEPT_MODE, "rows": [{"fusion_weight": w, "dice": arms.mean(found)} for w, found in dice.items()]}


def cost(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of a training step and peak memory, each way in a process of its own, as multiples of ``joint``.

    The leader steps at every step here, so that the modes' own cost shows; in use it steps once in ``follower_steps``.
    """
    here = Path(__file__).with_name("one_step.py")
    rows = []
    for mode in ("fixed", *MODES, "supervised"):
        fused = mode != "supervised"
        asked = {
            "trainer": "fuse4seg" if fused else "supervised",
            "topology": "image_level" if fused else "early",
            "settings": {"bilevel": mode, "follower_steps": 1, "warm_up": 0.0} if fused else {},
            "patch": options.patch,
            "features": options.features,
            "modalities": options.modalities,
        }
        found = subprocess.run(
            [sys.executable, str(here), json.dumps(asked)], capture_output=True, text=True, check=True
        )
        rows.append({"mode": mode, **json.loads(found.stdout)})
    joint = next(row for row in rows if row["mode"] == "joint")
    for row in rows:
        row["time_ratio"] = row["step_s"] / joint["step_s"]
        row["memory_ratio"] = row["step_gib"] / joint["step_gib"]
    return {"rows": rows}


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
        command.add_argument("--name", default=f"fused_{name}", help="of the results file")
        if name == "cost":
            command.add_argument("--patch", type=int, nargs="+", default=[40, 40, 40])
            command.add_argument("--features", type=int, nargs="+", default=[8, 16, 32, 64])
            command.add_argument("--modalities", type=int, default=2)
            continue
        add_arguments(command, "fused", shape=(40, 40, 40))
        command.add_argument("--data", type=Path, help="a data set of modalities that lie on each other")
        if name == "sweep":
            command.add_argument("--fold", type=int, default=1, help="whose held-out cases judge (default: 1)")
        else:
            command.add_argument("--judges", type=int, default=1, help="of --data, kept aside for a seed (default: 1)")
            command.add_argument(
                "--regions", nargs="+", metavar="NAME=V,V", help="of --data, nested, instead of its classes"
            )
            command.add_argument("--atlas", type=Path, help="the ICBM average and its tissue maps")
            command.add_argument(
                "--arms", nargs="+", choices=sorted(ARMS), default=["mean", "pyramid", "joint", "first_order"]
            )
            command.add_argument("--no-alone", dest="alone", action="store_false", help="no single modalities")
    options = parser.parse_args()
    asked = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
    if options.benchmark != "cost":
        options.work = options.work.absolute()
        atlas = asked.pop("atlas", None)
        asked["data"] = options.data.name if options.data else "ICBM average" if atlas else "phantom"
        del asked["work"], asked["shape"]
    results = BENCHMARKS[options.benchmark](options)
    show(options.benchmark, results["rows"])
    keep(options.name, {"options": asked, **arms.as_json(results)})


if __name__ == "__main__":
    main()
