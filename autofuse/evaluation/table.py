"""Scores as a table: CSV for spreadsheets, a rich table for people."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

from autofuse.evaluation.types import ClassScore, ClassSummary, Lesion, Scores, Statistic
from autofuse.foundation.plain_table import PlainTable

if TYPE_CHECKING:
    from rich.table import Table

    from autofuse.evaluation.scoring import LesionRule

_COLUMNS = tuple(name for name in ClassScore.model_fields if name not in ("name", "lesions"))
_LESION_COLUMNS = tuple(name for name in Lesion.model_fields if name != "centre")


def to_csv(scores: Scores) -> str:
    """One row per case and class, one column per field of ``ClassScore``; what is not defined is left empty. Where each
    modality has masks of its own, a row per mask and class, with a column that names the modality."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    columns = [name for name in _COLUMNS if scores.lesions is not None or not name.startswith("lesion_")]
    own = bool(scores.modalities)
    writer.writerow(["case", *(["modality"] if own else []), "class", *columns])
    for case in scores.cases:
        for row in case.classes:
            cells = (getattr(row, name) for name in columns)
            whose = [case.modality] if own else []
            writer.writerow([case.case, *whose, row.name, *("" if cell is None else cell for cell in cells)])
    for failure in scores.failed:
        whose = [""] if own else []
        writer.writerow([failure.case, *whose, "", "failed", *[""] * (len(columns) - 2), failure.problem])
    return stream.getvalue()


def lesions_to_csv(scores: Scores) -> str:
    """One row per true lesion and per false positive; ``z``, ``y``, ``x``: the voxel in the middle of its box."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["case", "class", "z", "y", "x", *_LESION_COLUMNS])
    for case in scores.cases:
        for row in case.classes:
            for item in row.lesions:
                writer.writerow([case.case, row.name, *item.centre, *(getattr(item, name) for name in _LESION_COLUMNS)])
    return stream.getvalue()


def summary_table(scores: Scores) -> Table:
    """A row per class: Dice with its interval, NSD, HD95, volume difference, and what was empty, missed or made up; and
    one per modality with masks of its own."""
    from rich.table import Table

    what = "mask" if scores.modalities else "case"
    cases = f"{len(scores.cases)} {what}{'' if len(scores.cases) == 1 else 's'}"
    title = f"Scores of {cases}" + (f", {len(scores.failed)} failed" if scores.failed else "")
    table = Table(title=title, caption=_caption(scores), title_justify="left", caption_justify="left")
    table.add_column("class")
    for heading in ("Dice", "95 % interval", "median", "NSD", "HD95 mm", "volume ml", "empty", "missed", "false"):
        table.add_column(heading, justify="right")
    for row in scores.classes:
        table.add_row(row.name, *_cells(row))
    table.add_section()
    for item in scores.modalities:
        whose = f"mean of {item.name}, {item.masks} mask{'' if item.masks == 1 else 's'}"
        table.add_row(whose, _number(item.mean_dice, 3), _interval(item.overall), _number(item.overall.median, 3))
    mean = _number(scores.mean_dice, 3)
    table.add_row("mean", f"[bold]{mean}[/bold]", _interval(scores.overall), _number(scores.overall.median, 3))
    return table


def lesion_table(scores: Scores) -> PlainTable:
    """A row per class: Dice and HD95 lesion by lesion, and how many were found, missed and made up, over all cases."""
    assert scores.lesions is not None
    rows = []
    for row in scores.classes:
        dice, hd95, found = row.statistics["lesion_dice"], row.statistics["lesion_hd95_mm"], row.detection
        assert found is not None
        numbers = (_number(dice.mean, 3), _interval(dice), _number(hd95.mean, 2), _interval(hd95, 2))
        rows.append((row.name, *numbers, str(found.tp), str(found.fn), str(found.fp), _number(found.f1, 3)))
    return PlainTable(
        title=f"Lesion by lesion ({scores.lesions.name})",
        columns=("class", "Dice", "95 % interval", "HD95 mm", "95 % interval", "found", "missed", "false", "F1"),
        rows=tuple(rows),
        note=lesion_caption(scores.lesions),
    )


def lesion_caption(rule: LesionRule) -> str:
    """The rule in one line."""
    distance = "the image's diagonal" if rule.distance_mm is None else f"{rule.distance_mm:g} mm"
    steps = f"{rule.dilation} step{'' if rule.dilation == 1 else 's'}"
    joined = f"lesions that meet when dilated by {steps} are one" if rule.dilation else "lesions are not dilated"
    ignored = f"up to {rule.volume_mm3:g} mm³ ignored" if rule.volume_mm3 else "none ignored"
    return f"{joined}, {ignored}; missed and false ones: Dice 0, HD95 {distance}; found, missed, false: over all cases"


def case_table(scores: Scores, *, worst: int | None = None) -> Table:
    """A row per case with the Dice of each class, worst first; only the ``worst`` ones if given."""
    from rich.table import Table

    table = Table(title="Dice by case, worst first", title_justify="left")
    table.add_column("case")
    if scores.modalities:
        table.add_column("modality")
    for item in scores.classes:
        table.add_column(item.name, justify="right")
    table.add_column("mean", justify="right")
    ordered = sorted(scores.cases, key=lambda case: (case.mean_dice is None, case.mean_dice, case.case))
    for case in ordered[:worst]:
        whose = (case.modality,) if scores.modalities else ()
        table.add_row(case.case, *whose, *(_number(row.dice, 3) for row in case.classes), _number(case.mean_dice, 3))
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
    what = "masks" if scores.modalities else "cases"
    persons = what if scores.subjects == len(scores.cases) else f"{scores.subjects} subjects"
    return (
        f"means over {what}, intervals over {persons}; NSD at {tolerance_words(scores.tolerance_mm)}; "
        "HD95 of both directions pooled; volume = predicted - reference"
    )


def tolerance_words(tolerance_mm: Mapping[str, float]) -> str:
    """The tolerances of NSD: one number, or one by each name."""
    if len(set(tolerance_mm.values())) == 1:
        return f"{next(iter(tolerance_mm.values())):g} mm"
    return ", ".join(f"{name} {value:g} mm" for name, value in tolerance_mm.items())


def _interval(item: Statistic, digits: int = 3) -> str:
    return "–" if item.low is None or item.high is None else f"{item.low:.{digits}f} – {item.high:.{digits}f}"  # noqa: RUF001


def _number(value: float | None, digits: int, *, sign: bool = False) -> str:
    return "–" if value is None else f"{value:{'+' if sign else ''}.{digits}f}"  # noqa: RUF001
