"""How fusion holds up when data are not as they should be: shifted, incomplete, on grids of their own.

    python benchmarks/fusion.py shifts                     # phantoms; --data DIR for a data set of two modalities
    python benchmarks/fusion.py subsets
    python benchmarks/fusion.py grids

Every arm of a comparison is trained for the same steps with the same seeds and judged by its final weights. Differences
come with a 95 % paired bootstrap interval over cases and seeds. Results go to ``benchmarks/results/fusion_*.json``.
What is made lies in ``--work``; an interrupted benchmark goes on there.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import arms
from arms import Arm, Dice, add_arguments, compare, judge, phantom, show, trained_on
from results_file import keep

from autofuse.phantom import PhantomOptions
from autofuse.plan.types import Plan

SHIFTS_MM = (0.0, 2.0, 4.0, 8.0, 16.0)
HARD = 0.1
"""A subset is hard if zero-filled early fusion loses more than this against all modalities."""

PLANNED = Arm("planned", {})
EARLY = Arm("early", {"topology": "early"}, lambda plan: plan.model_copy(update={"registration": None}))
MISSING = Arm("stems", {"expect_missing": True})


def without_dropout(plan: Plan) -> Plan:
    """The plan with every modality shown in every step."""
    configurations = tuple(
        item.model_copy(update={"network": item.network.model_copy(update={"modality_dropout": 0.0})})
        for item in plan.configurations
    )
    return plan.model_copy(update={"configurations": configurations, "registration": None})


ZERO_FILLED = Arm("early", {"topology": "early"}, without_dropout)


def shifts(options: argparse.Namespace) -> dict[str, Any]:
    """Dice under an injected rigid shift of the second modality: as planned, and concatenated as it is."""
    dice: dict[tuple[str, float], Dice] = {}
    described: dict[str, Any] = {}
    for seed in range(options.seeds):
        for shift_mm in sorted({0.0, *options.shifts}):
            raw = _shifted_data(options, seed, shift_mm)
            for arm in (PLANNED, EARLY):
                # Where nothing is shifted, both arms have one plan, and would give the same weights.
                trained, found = judge(arm if shift_mm else EARLY, raw, options, seed)
                dice.setdefault((arm.name, shift_mm), {}).update(arms.tagged(found, seed))
                described[f"{arm.name} at {shift_mm:g} mm"] = trained.described()
    # Every seed has phantoms of its own, but always the same patients of a given data set.
    people = {case: case.split("/")[1] for case in dice[PLANNED.name, 0.0]} if options.data else {}
    rows = []
    for (name, shift_mm), found in dice.items():
        against = None if shift_mm == 0 else compare(dice[name, 0.0], found, people)
        rows.append({"arm": name, "shift_mm": shift_mm, "dice": arms.mean(found), "against_no_shift": against})
    return {"rows": sorted(rows, key=lambda row: (row["arm"], row["shift_mm"])), "arms": described}


def subsets(options: argparse.Namespace) -> dict[str, Any]:
    """Dice with every subset of three modalities: stems with dropout, and early fusion with zeros for absent ones."""
    names = PhantomOptions(modalities=3).channel_names()
    dice: dict[tuple[str, tuple[int, ...]], Dice] = {}
    described: dict[str, Any] = {}
    for seed in range(options.seeds):
        raw = phantom(options, seed, modalities=3)
        for arm in (MISSING, ZERO_FILLED):
            trained, _ = trained_on(arm, raw, options, seed)
            described[arm.name] = trained.described()
            for kept in arms.subsets(len(names)):
                label = "".join(str(channel) for channel in kept)
                filled = arm is ZERO_FILLED
                folder = options.work / f"images_{arm.name}_seed{seed}_{label}"
                images = arms.only(raw / "imagesTs", kept, folder, zero_filled=filled)
                found = arms.test_dice(trained, images, f"subset_{label}")
                dice.setdefault((arm.name, kept), {}).update(arms.tagged(found, seed))
    return {"rows": _subset_rows(dice, names), "arms": described}


def _subset_rows(dice: dict[tuple[str, tuple[int, ...]], Dice], names: Sequence[str]) -> list[dict[str, Any]]:
    """A row per subset, one for all hard ones together, their means over cases and seeds."""
    complete = tuple(range(len(names)))
    whole = arms.mean(dice[ZERO_FILLED.name, complete])
    rows, hard = [], []
    for kept in arms.subsets(len(names)):
        early, stems = dice[ZERO_FILLED.name, kept], dice[MISSING.name, kept]
        is_hard = whole - arms.mean(early) > HARD
        hard += [kept] if is_hard else []
        rows.append(_subset_row(" + ".join(names[index] for index in kept), early, stems, is_hard))
    if hard:
        pooled = [_pooled([dice[arm.name, kept] for kept in hard]) for arm in (ZERO_FILLED, MISSING)]
        rows.append(_subset_row("all hard subsets", pooled[0], pooled[1], True))
    return rows


def _subset_row(name: str, early: Dice, stems: Dice, is_hard: bool) -> dict[str, Any]:
    difference = compare(early, stems)
    return {
        "kept": name,
        "hard": is_hard,
        "early": arms.mean(early),
        "stems": arms.mean(stems),
        "stems_less_early": difference,
    }


def _pooled(parts: Sequence[Dice]) -> Dice:
    """Per case the mean over several subsets."""
    return {
        case: sum(values) / len(values)
        for case in parts[0]
        if (values := [part[case] for part in parts if part[case] is not None])
    }


def grids(options: argparse.Namespace) -> dict[str, Any]:
    """Dice with a second modality at a quarter of the resolution that sees 70 %: as it is, and resampled by hand."""
    dice: dict[str, Dice] = {"own grids": {}, "by hand": {}}
    described: dict[str, Any] = {}
    for seed in range(options.seeds):
        raw = phantom(options, seed, coarse=4.0, narrow=0.7)
        by_hand = arms.rewritten(raw, raw.with_name(f"{raw.name}_by_hand"), resample_by_hand)
        for name, arm, data in (("own grids", PLANNED, raw), ("by hand", EARLY, by_hand)):
            trained, found = judge(arm, data, options, seed)
            dice[name].update(arms.tagged(found, seed))
            described[name] = trained.described()
    rows = [{"arm": name, "dice": arms.mean(found)} for name, found in dice.items()]
    rows[0]["against_by_hand"] = compare(dice["by hand"], dice["own grids"])
    return {"rows": rows, "arms": described}


def resample_by_hand(first: Path, second: Path, to: Path) -> None:
    """What a person would do today: SimpleITK's linear resampling onto the first image's grid, zeros outside."""
    import SimpleITK

    fixed, moving = SimpleITK.ReadImage(str(first)), SimpleITK.ReadImage(str(second))
    resampled = SimpleITK.Resample(
        moving, fixed, SimpleITK.Transform(), SimpleITK.sitkLinear, 0.0, SimpleITK.sitkFloat32
    )
    SimpleITK.WriteImage(resampled, str(to))


def _shifted_data(options: argparse.Namespace, seed: int, shift_mm: float) -> Path:
    if options.data is None:
        return phantom(options, seed, shift_mm=shift_mm)
    raw: Path = options.data.resolve()
    if shift_mm == 0:
        return raw
    copy = options.work / f"shifted_{shift_mm:g}_seed{seed}" / raw.name
    copy.parent.mkdir(parents=True, exist_ok=True)
    return arms.rewritten(raw, copy, lambda first, second, to: shift_image(second, to, shift_mm, seed))


def shift_image(source: Path, to: Path, shift_mm: float, seed: int) -> None:
    """The image with its content moved by ``shift_mm``, where its name and the seed say; zeros enter."""
    import zlib

    import numpy as np

    from autofuse.alignment.regrid import regrid
    from autofuse.alignment.types import Rigid
    from autofuse.images import read_image, write_image

    random = np.random.default_rng([seed, zlib.crc32(source.name.encode())])
    direction = random.standard_normal(3)
    x, y, z = (float(part) for part in direction / np.linalg.norm(direction) * shift_mm)
    image = read_image(source)
    moved, _ = regrid(image.voxels, image.geometry, image.geometry, Rigid(shift_mm=(x, y, z)), order=1)
    write_image(to, moved, image.geometry)


BENCHMARKS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "shifts": shifts,
    "subsets": subsets,
    "grids": grids,
}


def main() -> None:
    """Run one benchmark, print its table and keep its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="benchmark", required=True)
    for name, run in BENCHMARKS.items():
        command = commands.add_parser(name, description=run.__doc__)
        add_arguments(command, "fusion")
        command.add_argument("--name", default=f"fusion_{name}", help="of the results file")
        if name == "shifts":
            command.add_argument(
                "--data", type=Path, help="data set to shift instead of phantoms, judged by held-out cases"
            )
            command.add_argument("--shifts", type=float, nargs="+", default=SHIFTS_MM, help="in mm, beside none")
            command.add_argument("--folds", type=int, default=4, help="of that data set, all trained (default: 4)")
    options = parser.parse_args()
    options.work = options.work.absolute()
    results = BENCHMARKS[options.benchmark](options)
    show(f"{options.benchmark}: {options.seeds} seeds, {options.steps} steps", results["rows"])
    asked = {"seeds": options.seeds, "steps": options.steps, "cases": options.cases}
    asked |= {"data": options.data.name if options.data else "phantom"}
    keep(options.name, {"options": asked, **arms.as_json(results)})


if __name__ == "__main__":
    main()
