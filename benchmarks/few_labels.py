"""How far a few labels go: supervised on them, self-training and collaboration on the other cases too, and all labels.

    python benchmarks/few_labels.py --data Dataset104_Hippocampus --labelled 4 8 16 --splits 3 --seeds 3
    python benchmarks/few_labels.py --data Dataset104_Hippocampus --labelled 4 --sweep --name few_labels_sweep

A fixed part of the data set is kept aside and judges everybody. Of the rest, some cases keep their labels (each split
others), and the rest is unlabelled. All arms have one plan but for the network that a method is made for, one number of
steps and the same seeds, and are judged by their final weights; teachers take as many steps again, each, and
`supervised_thrice` has three times as many, which is what self-training takes in all. Differences to `supervised` come
with a 95 % paired bootstrap interval over people, splits and seeds. ``--pairs`` takes the first seed with the first
split, the second with the second, and so on, instead of every seed with every split. ``--sweep`` compares weights of
collaboration's terms, judged by other cases than those that judge the arms. Stopped, it goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import arms
import numpy as np
from arms import Arm, Dice, compare, linked_copy, mean, show, tagged, test_dice, train
from results_file import keep

from autofuse.dataset.opening import open_dataset

JUDGING = 20
"""Cases kept aside."""
SWEEP_JUDGING = 15
"""Cases that judge a sweep: of those that are not kept aside."""
ARMS = {
    "supervised": Arm("supervised", {}, trainer="supervised"),
    "supervised_thrice": Arm("supervised_thrice", {}, trainer="supervised"),
    "self_training": Arm("self_training", {}, trainer="self_training"),
    "collaboration": Arm("collaboration", {}, trainer="collaboration"),
}


def weighed(name: str, semantic: float, anatomical: float, teacher: float, **others: float) -> Arm:
    """Collaboration with these weights."""
    weights = {"semantic_weight": semantic, "anatomical_weight": anatomical, "teacher_weight": teacher}
    return Arm(name, {}, trainer="collaboration", settings={**weights, **others})


SWEPT = {
    arm.name: arm
    for arm in (
        weighed("labels_alone", 0.0, 0.0, 0.0),
        weighed("consistencies_1", 1.0, 1.0, 0.0),
        weighed("consistencies_0.1", 0.1, 0.1, 0.0),
        weighed("consistencies_3", 3.0, 3.0, 0.0),
        weighed("consistencies_1_beside_all_labels", 1.0, 1.0, 0.0, unlabelled_share=0.25),
        weighed("teacher_1", 0.0, 0.0, 1.0),
        weighed("teacher_1_consistencies_0.1", 0.1, 0.1, 1.0),
    )
}
"""How much unlabelled cases count. ``labels_alone`` has the same batches, and learns from the labelled ones only: with
a batch of two, one sample instead of two. ``beside_all_labels`` has both of them, and a third without a label."""


def few(source: Path, folder: Path, labelled: int | None, split: int, sweep: bool = False) -> Path:
    """A copy of the data set (nnU-Net's layout, images linked) with so many labels; None for all. Made once.

    ``sweep``: with other judges, and without those that judge the arms.
    """
    name = ("sweep_" if sweep else "") + ("all" if labelled is None else f"{labelled}_split{split}")
    copy = folder / name / source.name
    if copy.exists():
        return copy
    dataset = open_dataset(source)
    ids = [case.id for case in dataset.cases if case.label is not None]
    mixed = np.random.default_rng(0).permutation(ids).tolist()
    judges = mixed[JUDGING : JUDGING + SWEEP_JUDGING] if sweep else mixed[:JUDGING]
    unseen, aside = set(mixed[:JUDGING]) - set(judges), set(judges)
    training = [case for case in ids if case not in aside | unseen]
    kept = training if labelled is None else np.random.default_rng(1 + split).permutation(training)[:labelled].tolist()
    return linked_copy(source, copy, training, aside, labelled=kept)


def judged(arm: Arm, raw: Path, options: argparse.Namespace, seed: int) -> tuple[Dice, dict[str, Any]]:
    """Dice of the cases kept aside, and what was trained."""
    steps = options.steps * (3 if arm.name == "supervised_thrice" else 1)
    root = options.work / "workspaces" / f"{arm.name}_{raw.parent.name}_seed{seed}_{options.steps}"
    trained = train(arm, raw, root, steps=steps, seed=seed)
    return test_dice(trained), trained.described()


def main() -> None:
    """Run, print the table and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="densely labelled data set in nnU-Net's layout")
    parser.add_argument("--labelled", type=int, nargs="+", default=[4, 8, 16])
    parser.add_argument("--splits", type=int, default=3, help="other labelled cases (default: 3)")
    parser.add_argument("--seeds", type=int, default=3, help="of training (default: 3)")
    parser.add_argument("--pairs", action="store_true", help="a seed of its own for each split")
    parser.add_argument("--sweep", action="store_true", help="collaboration's weights, by other judges")
    parser.add_argument("--steps", type=int, default=500, help="of training an arm (default: 500)")
    parser.add_argument("--arms", nargs="+", choices=sorted(ARMS), default=list(ARMS))
    parser.add_argument("--work", type=Path, default=Path("autofuse_workspace/few_labels"), help="what is made")
    parser.add_argument("--name", default="few_labels", help="of the results file")
    options = parser.parse_args()
    source, options.work = options.data.resolve(), options.work.absolute()
    asked = list(SWEPT) if options.sweep else options.arms
    rows: list[dict[str, Any]] = []
    described: dict[str, Any] = {}
    for labelled in (*options.labelled, *(() if options.sweep else (None,))):
        dice: dict[str, Dice] = {}
        for split, seed in drawn(options, labelled):
            raw = few(source, options.work / "data", labelled, split, options.sweep)
            for name in ("supervised",) if labelled is None else dict.fromkeys(("supervised", *asked)):
                found, described[name] = judged({**ARMS, **SWEPT}[name], raw, options, seed)
                dice.setdefault(name, {}).update(tagged(found, 100 * split + seed))
        for name, found in dice.items():
            row = {"labelled": labelled or "all", "arm": name, "dice": mean(found)}
            if name != "supervised":
                row["less_supervised"] = compare(dice["supervised"], found, _people(found))
            rows.append(row)
        show("few labels", rows)
    kept = {key: value for key, value in vars(options).items() if key not in ("work", "data", "name")}
    kept |= {"arms": asked, "data": source.name}
    keep(options.name, {"options": kept, **arms.as_json({"rows": rows, "arms": described})})


def drawn(options: argparse.Namespace, labelled: int | None) -> list[tuple[int, int]]:
    """Splits and seeds; one split where all are labelled."""
    splits = range(1 if labelled is None else options.splits)
    if options.pairs:
        return [(split, split) for split in splits] if labelled else [(0, seed) for seed in range(options.splits)]
    return [(split, seed) for split in splits for seed in range(options.seeds)]


def _people(found: Dice) -> dict[str, str]:
    """Each case is one person, however often it was judged."""
    return {key: key.split("/", 1)[1] for key in found}


if __name__ == "__main__":
    main()
