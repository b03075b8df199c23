"""Scores as a table: CSV for spreadsheets, a rich table for people."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from autofuse.evaluation.types import ClassScore, ClassSummary, Scores, Statistic

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = tuple(name for name in ClassScore.model_fields if name != "name")


def to_csv(scores: Scores) -> str:
    """One row per case and class, one column per field of ``ClassScore``; what is not defined is left empty."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["case", "class", *COLUMNS])
    for case in scores.cases:
        for row in case.classes:
            cells = (getattr(row, name) for name in COLUMNS)
            writer.writerow([case.case, row.name, *("" if cell is None else cell for cell in cells)])
    for failure in scores.failed:
        writer.writerow([failure.case, "", "failed", *[""] * (len(COLUMNS) - 2), failure.problem])
    return stream.getvalue()


def summary_table(scores: Scores) -> Table:
    """A row per class: Dice with its interval, NSD, HD95, volume difference, and what was empty, missed or made up."""
    from rich.table import Table

    cases = f"{len(scores.cases)} case{'' if len(scores.cases) == 1 else 's'}"
    title = f"Scores of {cases}" + (f", {len(scores.failed)} failed" if scores.failed else "")
    table = Table(title=title, caption=_caption(scores), title_justify="left", caption_justify="left")
    table.add_column("class")
    for heading in ("Dice", "95 % interval", "median", "NSD", "HD95 mm", "volume ml", "empty", "missed", "false"):
        table.add_column(heading, justify="right")
    for row in scores.classes:
        table.add_row(row.name, *_cells(row))
    table.add_section()
    mean = _number(scores.mean_dice, 3)
    table.add_row("mean", f"[bold]{mean}[/bold]", _interval(scores.overall), _number(scores.overall.median, 3))
    return table


def case_table(scores: Scores, *, worst: int | None = None) -> Table:
    """A row per case with the Dice of each class, worst first; only the ``worst`` ones if given."""
    from rich.table import Table

    table = Table(title="Dice by case, worst first", title_justify="left")
    table.add_column("case")
    for item in scores.classes:
        table.add_column(item.name, justify="right")
    table.add_column("mean", justify="right")
    ordered = sorted(scores.cases, key=lambda case: (case.mean_dice is None, case.mean_dice, case.case))
    for case in ordered[:worst]:
        table.add_row(case.case, *(_number(row.dice, 3) for row in case.classes), _number(case.mean_dice, 3))
    return table


def _cells(row: ClassSummary) -> list[str]:
    dice, counts = row.statistics["dice"], (row.n_empty, row.n_missed, row.n_false_positive)
    return [
        _number(dice.mean, 3),
        _interval(dice),
        _number(dice.median, 3),
        _number(row.statistics["nsd"].mean, 3),
        _number(row.statistics["hd95_mm"].mean, 2),
        _number(row.statistics["volume_difference_ml"].mean, 2, sign=True),
        *(str(count) if count else "·" for count in counts),
    ]


def _caption(scores: Scores) -> str:
    tolerances = sorted(set(scores.tolerance_mm.values()))
    shown = " / ".join(f"{value:g}" for value in tolerances)
    return f"means over cases; NSD at {shown} mm; HD95 of both directions pooled; volume = predicted - reference"


def _interval(item: Statistic) -> str:
    return "–" if item.low is None or item.high is None else f"{item.low:.3f} – {item.high:.3f}"  # noqa: RUF001


def _number(value: float | None, digits: int, *, sign: bool = False) -> str:
    return "–" if value is None else f"{value:{'+' if sign else ''}.{digits}f}"  # noqa: RUF001
