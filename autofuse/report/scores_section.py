"""The part of the report on scores: a table with intervals and a drawing of all cases for each set of masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autofuse.evaluation.table import tolerance_words
from autofuse.evaluation.types import ClassSummary, Scores, Statistic
from autofuse.foundation.plain_table import PlainTable
from autofuse.report.page import Block, Drawing, Drawings, Heading, Numbers, Section, Words, counted
from autofuse.report.strip_chart import MOST_DOTS, Strip, described, strip_chart

MOST_CASES = 60
"""Rows of the table of cases, the worst first."""
MOST_CLASSES = 40
"""Rows of a drawing, and columns of the table of cases."""
MOST_DETAILED = 6
"""Sets of masks with a table and a drawing of their own; all are in the overview."""
NONE = "-"


@dataclass(frozen=True)
class Judged:
    """Masks that were scored. ``title`` says whose and of which cases; ``note`` what to know about them."""

    title: str
    scores: Scores
    note: str = ""


def scores_section(judged: Sequence[Judged], *, named_problems: bool = True) -> Section:
    """All sets of masks, the most important first.

    Args:
        named_problems: say why a case could not be scored; these words may name cases and files.
    """
    if not judged:
        return Section("scores", "Scores", (Words("Nothing is scored yet."),))
    blocks: list[Block] = [Numbers(_overview(judged))] if len(judged) > 1 else []
    for item in judged[:MOST_DETAILED]:
        blocks += _details(item, named_problems)
    rest = len(judged) - MOST_DETAILED
    if rest > 0:
        blocks.append(Words(f"{rest} more of the overview have no tables here; they stand in the workspace's scores."))
    return Section("scores", "Scores", tuple(blocks))


def class_table(scores: Scores) -> PlainTable:
    """A row per class: means with their intervals, and how often the class was empty, missed or made up."""
    rows = [_class_row(row) for row in scores.classes]
    dice = scores.overall
    rows.append(("mean", _number(scores.mean_dice), _interval(dice), _number(dice.median), *[""] * 7))
    columns = (
        "class", "Dice", "95 % interval", "median", "NSD", "95 % interval", "HD95 mm", "volume ml", "empty", "missed",
        "false",
    )  # fmt: skip
    note = (
        f"Means over {counted(len(scores.cases), 'case')} with bootstrap intervals ({scores.bootstrap_samples:,} "
        f"resamples); NSD at {tolerance_words(scores.tolerance_mm)}; HD95 of both directions pooled; volume = "
        "predicted - reference. "
        "Empty: neither mask nor reference; missed: only the reference; false: only the mask."
    )
    return PlainTable("By class", columns, tuple(rows), marked=frozenset({len(rows) - 1}), note=note)


def dice_strips(scores: Scores) -> list[Strip]:
    """A row per class with the Dice of every case."""
    strips = []
    for index, item in enumerate(scores.classes[:MOST_CLASSES]):
        values = [(case.case, dice) for case in scores.cases if (dice := case.classes[index].dice) is not None]
        dice_of_all = item.statistics["dice"]
        strips.append(Strip(item.name, tuple(values), dice_of_all.mean, dice_of_all.low, dice_of_all.high))
    return strips


def _details(item: Judged, named_problems: bool) -> list[Block]:
    scores = item.scores
    blocks: list[Block] = [Heading(item.title)]
    if item.note:
        blocks.append(Words(item.note))
    if scores.failed:
        words = f"Not scored, and in no mean: {counted(len(scores.failed), 'case')}."
        if named_problems:
            words += " " + " ".join(f"{case.case}: {case.problem}" for case in scores.failed[:5])
        blocks.append(Words(words, warns=True))
    blocks.append(Numbers(class_table(scores)))
    strips = dice_strips(scores)
    if any(strip.values for strip in strips):
        chart = strip_chart(strips, across="Dice", description=described(strips), limits=(0.0, 1.0))
        caption = "Dice: a dot per case, the box of the middle half with the median; below, the mean and its interval."
        if len(scores.cases) > MOST_DOTS:
            caption = "Dice: the box of the middle half with the median; below, the mean and its interval."
        if len(scores.classes) > MOST_CLASSES:
            caption += f" The first {MOST_CLASSES} of {len(scores.classes)} classes."
        blocks.append(Drawings((Drawing(chart, caption),)))
    return [*blocks, Numbers(_case_table(scores), sortable=True)]


def _case_table(scores: Scores) -> PlainTable:
    ordered = sorted(scores.cases, key=lambda case: (case.mean_dice is None, case.mean_dice, case.case))
    rows = [
        (case.case, *(_number(row.dice) for row in case.classes[:MOST_CLASSES]), _number(case.mean_dice))
        for case in ordered[:MOST_CASES]
    ]
    left_out = len(ordered) - len(rows)
    note = f"Left out, and better: {counted(left_out, 'case')}; scores.csv has all." if left_out else ""
    columns = ("case", *(item.name for item in scores.classes[:MOST_CLASSES]), "mean")
    return PlainTable("Dice by case, worst first", columns, tuple(rows), note=note)


def _overview(judged: Sequence[Judged]) -> PlainTable:
    rows = []
    for item in judged:
        scores = item.scores
        cases = f"{len(scores.cases)}{f' ({len(scores.failed)} failed)' if scores.failed else ''}"
        rows.append((item.title, cases, _number(scores.mean_dice), _interval(scores.overall)))
    note = "Mean Dice: over classes of the mean over cases; the interval is that of the mean over cases."
    return PlainTable("All that was scored", ("masks", "cases", "mean Dice", "95 % interval"), tuple(rows), note=note)


def _class_row(row: ClassSummary) -> tuple[str, ...]:
    dice, nsd = row.statistics["dice"], row.statistics["nsd"]
    volume = row.statistics["volume_difference_ml"].mean
    return (
        row.name,
        _number(dice.mean),
        _interval(dice),
        _number(dice.median),
        _number(nsd.mean),
        _interval(nsd),
        _number(row.statistics["hd95_mm"].mean, 2),
        NONE if volume is None else f"{volume:+.2f}",
        *(str(count) for count in (row.n_empty, row.n_missed, row.n_false_positive)),
    )


def _interval(item: Statistic) -> str:
    return NONE if item.low is None or item.high is None else f"{item.low:.3f} to {item.high:.3f}"


def _number(value: float | None, digits: int = 3) -> str:
    return NONE if value is None else f"{value:.{digits}f}"
