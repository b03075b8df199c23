"""A comparison of folders of masks as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor

from autofuse.evaluation.comparable import COMPARABLE, Metric, Values
from autofuse.evaluation.comparison_table import comparison_tables
from autofuse.evaluation.comparison_types import Comparison
from autofuse.evaluation.table import lesion_caption, tolerance_words
from autofuse.foundation.plain_table import PlainTable
from autofuse.report.page import Block, Drawing, Drawings, Numbers, Page, Points, Section, Words, render
from autofuse.report.paired_chart import MOST_CASES, MOST_PANELS, Panel, paired_chart

_MOST_MISSING = 100
"""Missing cases named on the page."""


def comparison_page(comparison: Comparison, values: Sequence[Values]) -> str:
    """The page as HTML text.

    Args:
        values: by case, as ``compare_scores`` gives them.
    """
    ranks, *pairs = comparison_tables(comparison)
    best = [row.name for row in comparison.ranks if row.place == 1]
    missing = sum(len(item.missing) for item in comparison.folders)
    page = Page(
        title=f"Comparison on {comparison.dataset}",
        subtitle=", ".join(item.name for item in comparison.folders),
        facts=(
            ("first place", ", ".join(best)),
            ("cases", str(comparison.cases)),
            ("subjects", str(comparison.subjects)),
            ("tests below 0.05", f"{sum(pair.significant for pair in comparison.pairs)} of {comparison.tests}"),
        ),
        sections=(
            Section("ranks", "Ranks", (Numbers(ranks), Numbers(_folders(comparison)))),
            Section("differences", "Differences", (*_conclusions(comparison), *(Numbers(table) for table in pairs))),
            Section("cases", "Case by case", tuple(_charts(comparison, values))),
            *_missing(comparison),
            Section("rules", "How it was made", (Points(tuple(_rules(comparison))),)),
        ),
        warnings=(_warning(missing),) if missing else (),
        ending="Made by autofuse.",
    )
    return render(page)


def _warning(missing: int) -> str:
    return f"{missing} mask{' is' if missing == 1 else 's are'} missing or could not be scored, and counted as worst."


def _folders(comparison: Comparison) -> PlainTable:
    rows = [(item.name, item.folder, str(item.scored), str(len(item.missing))) for item in comparison.folders]
    return PlainTable("Folders", ("name", "folder", "scored", "missing"), tuple(rows), words=frozenset({0, 1}))


def _conclusions(comparison: Comparison) -> list[Block]:
    """Which differences are more than chance, in words."""
    told = []
    for pair in comparison.pairs:
        if pair.significant:
            word = "better" if pair.better > pair.worse else "worse" if pair.better < pair.worse else "other"
            told.append(
                f"{pair.class_name}, {COMPARABLE[pair.metric].title}: {pair.second} is {word} than {pair.first} "
                f"(better in {pair.better}, worse in {pair.worse} of {pair.cases} cases)."
            )
    if told:
        return [Words("More than chance (p below 0.05 after correction):"), Points(tuple(told))]
    if comparison.tests:
        return [Words("No difference is more than chance (p below 0.05 after correction).")]
    return [Words("There are too few subjects that differ for a test; the intervals are what there is.", warns=True)]


def _charts(comparison: Comparison, values: Sequence[Values]) -> list[Block]:
    """A drawing for each metric, with a panel for each class."""
    names = [item.name for item in comparison.folders]
    blocks: list[Block] = []
    for metric in dict.fromkeys(item.metric for item in values):
        panels = [_panel(comparison, item) for item in values if item.metric == metric and item.by_case]
        if not panels:
            continue
        svg = paired_chart(
            panels,
            names,
            label=metric.title,
            higher_is_better=metric.higher_is_better,
            limits=_limits(metric, panels),
        )
        blocks.append(Drawings((Drawing(svg, _caption(metric.title, panels)),)))
    return blocks


def _limits(metric: Metric, panels: Sequence[Panel]) -> tuple[float, float]:
    """Ends of the axis: shares up to 1 and from 0, or from above where all are high; distances from 0."""
    numbers = [number for panel in panels for row in panel.rows.values() for number in row]
    if metric.worst is None:
        return 0.0, 1.04 * max(numbers) or 1.0
    low = floor(10 * min(numbers)) / 10
    return (low if 0.5 <= low < 1 else 0.0), 1.0


def _panel(comparison: Comparison, values: Values) -> Panel:
    means = {
        mean.name: (mean.mean, mean.low, mean.high)
        for mean in comparison.means
        if (mean.class_name, mean.metric) == (values.class_name, values.metric.name)
    }
    return Panel(values.class_name, values.by_case, tuple(means[item.name] for item in comparison.folders))


def _caption(title: str, panels: Sequence[Panel]) -> str:
    text = (
        f"{title}: a dot for each case, a line between the dots of one case (green: better, orange: worse); beside "
        "them the mean with its 95 % interval over subjects."
    )
    if any(len(panel.rows) > MOST_CASES for panel in panels):
        text += f" {MOST_CASES} cases of each class are drawn, evenly spread; all are in the means."
    if len(panels) > MOST_PANELS:
        text += f" The first {MOST_PANELS} of {len(panels)} classes are drawn."
    return text


def _missing(comparison: Comparison) -> tuple[Section, ...]:
    """Cases that count as worst and cases that nobody could be judged by, with the reasons; nothing without any."""
    rows = [(item.name, case.case, _first_line(case.problem)) for item in comparison.folders for case in item.missing]
    rows += [("all: left out", case.case, _first_line(case.problem)) for case in comparison.left_out]
    if not rows:
        return ()
    note = "" if len(rows) <= _MOST_MISSING else f"{len(rows) - _MOST_MISSING} more stand in comparison.json."
    table = PlainTable(
        "Cases without a score",
        ("folder", "case", "why"),
        tuple(rows[:_MOST_MISSING]),
        words=frozenset({0, 1, 2}),
        note=note,
    )
    return (Section("missing", "Missing", (Numbers(table),)),)


def _first_line(problem: str) -> str:
    return problem.splitlines()[0] if problem else ""


def _rules(comparison: Comparison) -> list[str]:
    rules = [
        "All folders are scored on the same cases. A mask that is missing or cannot be scored counts as worst: Dice, "
        "NSD and F1 0, HD95 the diagonal of the image (lesion-wise: the rule's distance, if that is longer). So does a "
        "distance where only one of truth and mask has the class.",
        "A class that neither the truth nor any mask of a case has is left out there.",
        f"Intervals: {comparison.confidence:.0%}, bootstrap over subjects (percentiles; differences and ranks: "
        f"{comparison.resamples:,} resamples).",
        "Tests: Wilcoxon's signed-rank test (two-sided) on each subject's mean difference; p-values corrected by Holm "
        f"for all {comparison.tests} tests of this page.",
        "Ranks: within each case for every class and metric, averaged over these, then over cases; equal numbers "
        "share their ranks. A folder keeps its place in this share of the resamples.",
        f"NSD within {tolerance_words(comparison.tolerance_mm)}.",
    ]
    if comparison.regions:
        united = "; ".join(f"{item.name} = {', '.join(map(str, item.raw_values))}" for item in comparison.regions)
        rules.append(f"Regions, as unions of label values: {united}.")
    if comparison.lesions is not None:
        rules.append(f"Lesions ({comparison.lesions.name}): {lesion_caption(comparison.lesions)}.")
    return rules
