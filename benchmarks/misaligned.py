"""Modalities that lie apart for good, each with a mask of its own: collaboration and what is left of it without each
consistency term, against concatenation as it is and each modality alone.

    python benchmarks/misaligned.py --seeds 3
    python benchmarks/misaligned.py --data Dataset101_BraTS13 --name misaligned_brats13

Phantoms of two modalities, each of which shows only some of the structures, or a data set of two aligned modalities
with one mask a case; the second modality of each case is shifted, rotated and warped by another transform, and its mask
with it. Nothing is registered. Most cases of a phantom have no label. Every mask is judged by itself, on the grid of
its own modality. `collaboration` and its parts make both masks with one network; `early` and `alone` make one each, so
that they train a network per modality, for as many steps. All arms have the same dials and seeds and are judged by
their final weights, by test cases where there are any, else by held-out cases. Differences to `early` come with a 95 %
paired bootstrap interval over persons and seeds. An interrupted benchmark goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import arms
import moved
from arms import Arm, Dice, add_arguments, compare, judge, mean, phantom, show, tagged
from moved import Move, moved_copy, spread_mm
from results_file import keep

from autofuse.plan.types import Plan


def as_it_is(plan: Plan) -> Plan:
    """The plan without registration."""
    return plan.model_copy(update={"registration": None})


def together(name: str, semantic: float, anatomical: float, **others: float) -> Arm:
    """Collaboration with these weights, whatever the plan says of them."""
    weights = {"semantic_weight": semantic, "anatomical_weight": anatomical}
    return Arm(name, {}, trainer="collaboration", settings={**weights, **others})


TOGETHER = (
    together("collaboration", 1.0, 1.0),
    together("without_semantic", 0.0, 1.0),
    together("without_anatomical", 1.0, 0.0),
    together("a_head_for_each", 0.0, 0.0),
    together("with_teacher", 1.0, 1.0, teacher_weight=1.0),
)
"""One network for both masks."""
EACH = (
    Arm("early", {"topology": "early"}, as_it_is, trainer="supervised"),
    Arm("alone", {}, as_it_is, trainer="supervised"),
)
"""One network for each mask."""
MODALITIES = 2


def of_each(arm: Arm, raw: Path, options: argparse.Namespace, seed: int) -> tuple[dict[str, Any], Dice]:
    """What was trained for the masks of the first modality, and the Dice of the masks of both, by their names."""
    made = moved.alone if arm.name == "alone" else moved.with_masks_of
    told, dice = {}, {}
    for channel in range(MODALITIES):
        trained, found = judge(arm, made(raw, channel, options.work / "data"), options, seed)
        told = told or trained.described()
        dice |= {f"{case}_{channel:04d}": value for case, value in found.items()}
    return told, dice


def source_of(options: argparse.Namespace, seed: int) -> Path:
    """The data set with a mask for each modality: a phantom, or a moved copy of the one that is named."""
    move = Move(options.shift_mm, options.rotated_degrees, options.warped_mm)
    if options.data is not None:
        return moved_copy(options.data.absolute(), options.work / "data", seed, move)
    apart = {"shift_mm": move.shift_mm, "rotated_degrees": move.rotated_degrees, "warped_mm": move.warped_mm}
    unlabelled = options.cases - options.labelled
    return phantom(options, seed, unlabelled=unlabelled, labels_per_modality=True, **apart)


def rows_of(dice: Mapping[str, Dice]) -> list[dict[str, Any]]:
    """A row an arm: mean Dice, that of each modality, and the difference to concatenation."""
    people = {name: name[:-5] for found in dice.values() for name in found}
    rows: list[dict[str, Any]] = []
    for name, found in dice.items():
        row: dict[str, Any] = {"arm": name, "dice": mean(found)}
        for channel in range(MODALITIES):
            own = {mask: value for mask, value in found.items() if mask.endswith(f"_{channel:04d}")}
            row[f"dice_of_modality_{channel}"] = mean(own)
        if name != "early":
            row["less_early"] = compare(dice["early"], found, people)
        rows.append(row)
    return rows


def main() -> None:
    """Run, print the table and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, "misaligned", shape=(40, 40, 40))
    parser.add_argument("--labelled", type=int, default=6, help="of a phantom's training cases (default: 6)")
    parser.add_argument("--data", type=Path, help="a data set of two aligned modalities instead of phantoms")
    parser.add_argument("--folds", type=int, default=2, help="trained of that data set, to be judged by (default: 2)")
    parser.add_argument("--shift-mm", type=float, default=8.0, help="of the second modality (default: 8)")
    parser.add_argument("--rotated-degrees", type=float, default=8.0, help="at most (default: 8)")
    parser.add_argument("--warped-mm", type=float, default=2.0, help="standard deviation an axis (default: 2)")
    parser.add_argument("--arms", nargs="+", help="only these beside early (default: all)")
    parser.add_argument("--name", default="misaligned", help="of the results file")
    options = parser.parse_args()
    options.work = options.work.absolute()
    dice: dict[str, Dice] = {}
    described: dict[str, Any] = {}
    apart_mm: list[float] = []
    for seed in range(options.seeds):
        raw = source_of(options, seed)
        apart_mm += spread_mm(raw)
        for arm in (*EACH, *TOGETHER):
            if options.arms is not None and arm.name not in ("early", *options.arms):
                continue
            if arm in EACH:
                told, found = of_each(arm, raw, options, seed)
            else:
                trained, found = judge(arm, raw, options, seed)
                told = trained.described()
            described[arm.name] = told
            dice.setdefault(arm.name, {}).update(tagged(found, seed))
    rows = rows_of(dice)
    show("misaligned", rows)
    names = ("seeds", "steps", "cases", "labelled", "shift_mm", "rotated_degrees", "warped_mm", "folds")
    asked = {key: getattr(options, key) for key in names} | {"data": options.data and options.data.name}
    figures = {"rows": rows, "arms": described, "masks_apart_mm": [round(mm, 2) for mm in apart_mm]}
    keep(options.name, {"options": asked, **arms.as_json(figures)})


if __name__ == "__main__":
    main()
