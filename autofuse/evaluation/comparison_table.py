"""A comparison as tables: CSV for spreadsheets, rich tables for people."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from autofuse.evaluation.comparable import COMPARABLE, Values
from autofuse.evaluation.comparison_types import Comparison, PairedDifference, Ranked

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

DASH = "–"  # noqa: RUF001


def pairs_to_csv(comparison: Comparison) -> str:
    """One row per two folders, class and metric, one column per field of ``PairedDifference``."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    columns = tuple(PairedDifference.model_fields)
    writer.writerow(["class" if name == "class_name" else name for name in columns])
    for pair in comparison.pairs:
        cells = (getattr(pair, name) for name in columns)
        writer.writerow(["" if cell is None else cell for cell in cells])
    return stream.getvalue()


def cases_to_csv(names: Sequence[str], values: Sequence[Values]) -> str:
    """One row per case, class and metric, one column per folder; what is missing stands there as worst."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["case", "class", "metric", *names])
    for item in values:
        for case, row in item.by_case.items():
            writer.writerow([case, item.class_name, item.metric.name, *row])
    return stream.getvalue()


def comparison_tables(comparison: Comparison) -> Group:
    """Ranks, then a table for every two folders."""
    from rich.console import Group

    couples = dict.fromkeys((pair.first, pair.second) for pair in comparison.pairs)
    tables = [_pair_table(comparison, first, second) for first, second in couples]
    return Group(_rank_table(comparison), *tables)


def _rank_table(comparison: Comparison) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"Ranks on {comparison.cases} cases", caption=rank_caption(comparison), title_justify="left")
    table.caption_justify = "left"
    table.add_column("folder")
    for heading in ("place", "mean rank", "95 % interval", "keeps its place", "missing"):
        table.add_column(heading, justify="right")
    missing = {item.name: len(item.missing) for item in comparison.folders}
    for row in comparison.ranks:
        count = str(missing[row.name]) if missing[row.name] else "·"
        table.add_row(escape(row.name), str(row.place), f"{row.mean_rank:.2f}", interval(row, 2), stays(row), count)
    return table


def _pair_table(comparison: Comparison, first: str, second: str) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"{escape(second)} compared with {escape(first)}", title_justify="left")
    table.add_column("class")
    table.add_column("metric")
    for heading in (first, second, "difference", "95 % interval", "better", "worse"):
        table.add_column(escape(heading), justify="right", overflow="fold")
    table.add_column("p (Holm)", justify="right")
    for pair in comparison.pairs:
        if (pair.first, pair.second) == (first, second):
            means = (number(pair, pair.first_mean), number(pair, pair.second_mean))
            gap = number(pair, pair.difference, sign=True)
            counts = (str(pair.better), str(pair.worse))
            title = COMPARABLE[pair.metric].title
            table.add_row(escape(pair.class_name), title, *means, gap, pair_interval(pair), *counts, p_words(pair))
    return table


def rank_caption(comparison: Comparison) -> str:
    """How ranks and intervals were made, in one sentence each."""
    return (
        "rank within each case over classes and metrics, then the mean; "
        f"intervals over {comparison.subjects} subject{'' if comparison.subjects == 1 else 's'}, "
        f"{comparison.resamples} resamples; a case without a mask counts as worst"
    )


def stays(row: Ranked) -> str:
    """Share of the resamples in which the folder keeps its place."""
    return f"{row.places[row.place - 1]:.0%}" if row.places else DASH


def interval(row: Ranked, digits: int) -> str:
    """The bounds of a mean rank."""
    return DASH if row.lower is None or row.upper is None else f"{row.lower:.{digits}f} {DASH} {row.upper:.{digits}f}"


def pair_interval(pair: PairedDifference) -> str:
    """The bounds of a difference."""
    if pair.lower is None or pair.upper is None:
        return DASH
    return f"{number(pair, pair.lower, sign=True)} … {number(pair, pair.upper, sign=True)}"


def number(pair: PairedDifference, value: float, *, sign: bool = False) -> str:
    """A value of the pair's metric: two digits for millimetres, three for shares."""
    digits = 2 if pair.metric.endswith("_mm") else 3
    return f"{value:{'+' if sign else ''}.{digits}f}"


def p_words(pair: PairedDifference) -> str:
    """The corrected p-value, marked where it is below 0.05; or why there is none."""
    if pair.p_holm is None:
        return pair.note or DASH
    text = "< 0.001" if pair.p_holm < 0.001 else f"{pair.p_holm:.3f}"
    return f"{text} *" if pair.significant else text
