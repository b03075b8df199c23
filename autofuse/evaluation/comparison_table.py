"""A comparison as tables: CSV for spreadsheets, plain words for people, on a terminal or a page."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from autofuse.evaluation.comparable import COMPARABLE, Values
from autofuse.evaluation.comparison_types import Comparison, PairedDifference, Ranked
from autofuse.evaluation.significance import LEAST_SUBJECTS
from autofuse.foundation.plain_table import PlainTable

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


def comparison_tables(comparison: Comparison, *, baseline_only: bool = False) -> tuple[PlainTable, ...]:
    """Ranks, then a table for every two folders, or for every folder and the first one only."""
    baseline = comparison.folders[0].name
    couples = dict.fromkeys(
        (pair.first, pair.second) for pair in comparison.pairs if not baseline_only or pair.first == baseline
    )
    return (rank_table(comparison), *(pair_table(comparison, first, second) for first, second in couples))


def rank_table(comparison: Comparison) -> PlainTable:
    """A row per folder, best first."""
    missing = {item.name: len(item.missing) for item in comparison.folders}
    rows = []
    for row in comparison.ranks:
        count = str(missing[row.name]) if missing[row.name] else "·"
        rows.append((row.name, str(row.place), f"{row.mean_rank:.2f}", _rank_bounds(row), _stays(row), count))
    return PlainTable(
        title=f"Ranks on {comparison.cases} cases",
        columns=("folder", "place", "mean rank", "95 % interval", "keeps its place", "missing"),
        rows=tuple(rows),
        note=rank_caption(comparison),
    )


def pair_table(comparison: Comparison, first: str, second: str) -> PlainTable:
    """A row per class or region and metric: both means, what lies between them, and whether it is more than chance."""
    pairs = [pair for pair in comparison.pairs if (pair.first, pair.second) == (first, second)]
    rows = []
    for pair in pairs:
        rows.append(
            (
                pair.class_name,
                COMPARABLE[pair.metric].title,
                _number(pair, pair.first_mean),
                _number(pair, pair.second_mean),
                _number(pair, pair.difference, sign=True),
                _pair_bounds(pair),
                str(pair.better),
                str(pair.worse),
                _p_words(pair),
            )
        )
    return PlainTable(
        title=f"{second} compared with {first}",
        columns=("class", "metric", first, second, "difference", "95 % interval", "better", "worse", "p (Holm)"),
        rows=tuple(rows),
        words=frozenset({0, 1}),
        marked=frozenset(index for index, pair in enumerate(pairs) if pair.significant),
        note=pair_caption(comparison, first, second),
    )


def pair_caption(comparison: Comparison, first: str, second: str) -> str:
    """How the differences are to be read."""
    words = f"difference: {second} - {first}, mean over cases; better, worse: cases"
    if comparison.tests:
        words += (
            f"; p: Wilcoxon's signed-rank test over subjects, corrected by Holm for {comparison.tests} "
            f"test{'' if comparison.tests == 1 else 's'}, * below 0.05"
        )
    if any(pair.p is None and pair.better + pair.worse for pair in comparison.pairs):
        words += f"; too few: fewer than {LEAST_SUBJECTS} subjects differ, which no test could call significant"
    return words


def rank_caption(comparison: Comparison) -> str:
    """How ranks and intervals were made, in one sentence each."""
    return (
        "rank within each case over classes and metrics, then the mean; "
        f"intervals over {comparison.subjects} subject{'' if comparison.subjects == 1 else 's'}, "
        f"{comparison.resamples} resamples; a case without a mask counts as worst"
    )


def _stays(row: Ranked) -> str:
    """Share of the resamples in which the folder keeps its place."""
    return f"{row.places[row.place - 1]:.0%}" if row.places else DASH


def _rank_bounds(row: Ranked) -> str:
    """The bounds of a mean rank."""
    return DASH if row.lower is None or row.upper is None else f"{row.lower:.2f} {DASH} {row.upper:.2f}"


def _pair_bounds(pair: PairedDifference) -> str:
    """The bounds of a difference."""
    if pair.lower is None or pair.upper is None:
        return DASH
    return f"{_number(pair, pair.lower, sign=True)} … {_number(pair, pair.upper, sign=True)}"


def _number(pair: PairedDifference, value: float, *, sign: bool = False) -> str:
    """A value of the pair's metric: two digits for millimetres, three for shares."""
    digits = 2 if pair.metric.endswith("_mm") else 3
    return f"{value:{'+' if sign else ''}.{digits}f}"


def _p_words(pair: PairedDifference) -> str:
    """The corrected p-value, marked where it is below 0.05; or, in short, why there is none."""
    if pair.p_holm is None:
        return "too few" if pair.better or pair.worse else "equal"
    text = "< 0.001" if pair.p_holm < 0.001 else f"{pair.p_holm:.3f}"
    return f"{text} *" if pair.significant else text
