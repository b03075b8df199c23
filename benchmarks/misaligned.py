"""Few labels and modalities that lie apart for good: concatenated, one alone, a head for each, collaboration.

    python benchmarks/misaligned.py --seeds 3

Phantoms of two modalities, each of which shows only some of the structures; the second is moved and rotated in each
case by another rigid transform, and nothing is registered. Most cases have no label. All arms have the same dials,
steps and seeds, are judged by 12 test cases and their final weights, and compared with `early`, concatenation as it is,
by a 95 % paired bootstrap interval over cases and seeds. An interrupted benchmark goes on.
"""

from __future__ import annotations

import argparse
from typing import Any

import arms
from arms import Arm, Dice, add_arguments, compare, mean, one_modality, phantom, show, tagged, test_dice, train
from results_file import keep

from autofuse.plan.types import Plan

SHIFT_MM, ROTATED_DEGREES = 8.0, 8.0


def as_it_is(plan: Plan) -> Plan:
    """The plan without registration."""
    return plan.model_copy(update={"registration": None})


ARMS = (
    Arm("early", {"topology": "early"}, as_it_is, trainer="supervised"),
    Arm("one_alone", {}, as_it_is, trainer="supervised"),
    Arm("per_modality", {"topology": "per_modality"}, as_it_is, trainer="supervised"),
    Arm(
        "collaboration",
        {"topology": "per_modality"},
        as_it_is,
        trainer="collaboration",
        settings={"aligned": False},
    ),
)


def main() -> None:
    """Run, print the table and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, "misaligned", shape=(40, 40, 40))
    parser.add_argument("--labelled", type=int, default=6, help="of the training cases (default: 6)")
    parser.add_argument("--name", default="misaligned", help="of the results file")
    options = parser.parse_args()
    options.work = options.work.absolute()
    dice: dict[str, Dice] = {}
    described: dict[str, Any] = {}
    for seed in range(options.seeds):
        apart = {"shift_mm": SHIFT_MM, "rotated_degrees": ROTATED_DEGREES}
        raw = phantom(options, seed, unlabelled=options.cases - options.labelled, **apart)
        for arm in ARMS:
            data = one_modality(raw, 0, raw.parent) if arm.name == "one_alone" else raw
            root = options.work / "workspaces" / f"{arm.name}_{raw.name}_seed{seed}_{options.steps}"
            trained = train(arm, data, root, steps=options.steps, seed=seed)
            described[arm.name] = trained.described()
            dice.setdefault(arm.name, {}).update(tagged(test_dice(trained), seed))
    rows: list[dict[str, Any]] = [{"arm": name, "dice": mean(found)} for name, found in dice.items()]
    for row in rows[1:]:
        row["less_early"] = compare(dice["early"], dice[row["arm"]])
    show("misaligned", rows)
    asked = {key: getattr(options, key) for key in ("seeds", "steps", "cases", "labelled")}
    keep(options.name, {"options": asked, **arms.as_json({"rows": rows, "arms": described})})


if __name__ == "__main__":
    main()
