"""Fusion scores as tables: CSV for spreadsheets, rich tables for people."""

from __future__ import annotations

import csv
import io
from collections import Counter
from typing import TYPE_CHECKING

from autofuse.evaluation.fusion.types import DICE, FUSED, METRICS, FusionScores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Group, RenderableType
    from rich.table import Table

_HEADINGS = {
    "entropy": ("entropy", 2),
    "standard_deviation": ("SD", 1),
    "spatial_frequency": ("SF", 1),
    "mutual_information": ("MI", 2),
    "scd": ("SCD", 3),
    "vif": ("VIF", 3),
    "qabf": ("Qabf", 3),
    "ssim": ("SSIM", 3),
    DICE: ("Dice", 3),
}
"""What a metric is called in a table, and how many digits it has there."""
_FLAGS_SHOWN = 5


def to_csv(scores: FusionScores) -> str:
    """One row per case and row of the table; what is not defined is left empty."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["case", "row", *METRICS, DICE, "background_share", "entropy_ceiling", "doubt"])
    dice = {item.case: item.dice for item in scores.dice}
    for case in scores.cases:
        for name, score in case.rows.items():
            cells = [*(getattr(score, metric) for metric in METRICS), dice.get(case.case, {}).get(name)]
            cells += [case.background_share, case.entropy_ceiling, score.doubt]
            writer.writerow([case.case, name, *("" if cell is None else cell for cell in cells)])
    for failure in scores.failed:
        writer.writerow([failure.case, "failed", *[""] * (len(METRICS) + 3), failure.problem])
    return stream.getvalue()


def fusion_table(scores: FusionScores) -> Group:
    """Means of every row, how far the fused images lead over the best trivial fusion, and what is doubtful."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [_means(scores)]
    if scores.leads:
        parts.append(_leads(scores))
    parts += [Text(line, style="yellow") for line in _flag_lines(scores)]
    parts += [Text(line) for line in _notes(scores)]
    return Group(*parts)


def _means(scores: FusionScores) -> Table:
    from rich.table import Table

    shown = [*METRICS, *([DICE] if scores.dice else [])]
    count = f"{len(scores.cases)} case{'' if len(scores.cases) == 1 else 's'}"
    title = f"Means over {count}" + (f", {len(scores.failed)} failed" if scores.failed else "")
    table = Table(title=title, caption=_caption(scores), title_justify="left", caption_justify="left")
    table.add_column("image")
    for metric in shown:
        table.add_column(_HEADINGS[metric][0], justify="right")
    for row, statistics in scores.rows.items():
        cells = [_number(statistics[metric].mean, _HEADINGS[metric][1]) for metric in shown]
        table.add_row(row, *cells, style="bold" if row == FUSED else None)
    return table


def _leads(scores: FusionScores) -> Table:
    from rich.table import Table

    table = Table(title="Fused images against the best trivial fusion of each metric", title_justify="left")
    for column in ("metric", "best trivial", "difference", "95 % interval", "cases", "subjects"):
        table.add_column(column, justify="left" if column in ("metric", "best trivial") else "right")
    for lead in scores.leads:
        (heading, digits), gain = _HEADINGS[lead.metric], lead.gain
        # One subject drawn again and again is no interval.
        bounds = f"{gain.lower:+.{digits}f} to {gain.upper:+.{digits}f}" if gain.subjects > 1 else "–"  # noqa: RUF001
        cells = [f"{gain.difference:+.{digits}f}", bounds, str(gain.cases), str(gain.subjects)]
        table.add_row(heading, lead.rival, *cells)
    return table


def _caption(scores: FusionScores) -> str:
    shares = _span([case.background_share for case in scores.cases], ".0%")
    ceilings = _span([case.entropy_ceiling for case in scores.cases], ".2f")
    return (
        f"{shares} of the voxels are background in every source; constant there, an image has at most {ceilings} bits "
        "of entropy"
    )


def _span(values: Sequence[float], form: str) -> str:
    ends = dict.fromkeys((f"{min(values):{form}}", f"{max(values):{form}}"))
    return " to ".join(ends)


def _flag_lines(scores: FusionScores) -> list[str]:
    counts = Counter(flag.row for flag in scores.flags)
    lines = [f"Doubtful entropy: {row}, {count} of {len(scores.cases)} cases" for row, count in counts.items()]
    return lines + [f"  {flag.case}, {flag.row}: {flag.reason}" for flag in scores.flags[:_FLAGS_SHOWN]]


def _notes(scores: FusionScores) -> list[str]:
    lines = [f"failed: {item.case}: {item.problem}" for item in scores.failed]
    lines += [f"{case.case}: {text}" for case in scores.cases for text in case.warnings]
    part = scores.segmented
    if part is not None:
        lines.append(f"Dice: {len(part.counted)} cases count, segmented as {part.modality} by {part.segmenter}")
        lines += [f"  no Dice: {case}: {why}" for case, why in part.left_out.items()]
    return lines


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"  # noqa: RUF001
