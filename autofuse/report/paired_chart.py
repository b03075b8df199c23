"""Numbers of the same cases in several folders: a dot a case and folder, a line between dots of one case.

A panel per class; each line has the colour of what happened from one folder to the next: better, worse, or the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from autofuse.report.drawing import WIDTH, Scale, dot, drawing, grid_left, line, shortened, text, ticks

MOST_CASES = 120
"""Cases drawn in a panel, evenly spread from the lowest to the highest mean; all are in the means."""
MOST_PANELS = 24
_COLUMNS = 3
_HEIGHT, _TOP, _BOTTOM, _LEFT, _RIGHT = 250.0, 52.0, 40.0, 52.0, 10.0
_BETTER, _WORSE, _SAME = "s3", "s2", "s7"
_LETTER = 7.0
"""Units that a letter takes at most."""


@dataclass(frozen=True)
class Panel:
    """One class or region.

    Attributes:
        rows: case -> a number for each folder.
        means: for each folder the mean and the bounds of its interval, None where there are none.
    """

    title: str
    rows: Mapping[str, tuple[float, ...]]
    means: tuple[tuple[float, float | None, float | None], ...]


def paired_chart(
    panels: Sequence[Panel], names: Sequence[str], *, label: str, higher_is_better: bool, limits: tuple[float, float]
) -> Markup:
    """The chart; at most the first ``MOST_PANELS`` panels.

    Args:
        names: of the folders.
        label: name of the numbers' axis; limits: its ends.
    """
    shown = panels[:MOST_PANELS]
    columns = min(_COLUMNS, len(shown))
    lines = -(-len(shown) // columns)
    width, parts = WIDTH / columns, []
    for index, panel in enumerate(shown):
        left, top = index % columns * width, index // columns * _HEIGHT
        x = Scale(0, len(names), left + _LEFT, left + width - _RIGHT)
        y = Scale(*limits, top + _HEIGHT - _BOTTOM, top + _TOP)
        parts += _frame(panel, names, x, y, label)
        parts += _cases(panel, names, x, y, higher_is_better)
        parts += _means(panel, names, x, y)
    return drawing(lines * _HEIGHT, described(shown, names, label), parts)


def described(panels: Sequence[Panel], names: Sequence[str], label: str) -> str:
    """The chart in words, for those who do not see it."""
    told = []
    for panel in panels:
        means = ", ".join(f"{name} {mean:.3g}" for name, (mean, _, _) in zip(names, panel.means, strict=True))
        told.append(f"{panel.title}, {len(panel.rows)} cases: mean {label} {means}")
    return "; ".join(told) + "."


def spread_cases(rows: Mapping[str, tuple[float, ...]], most: int = MOST_CASES) -> list[str]:
    """At most ``most`` cases, evenly spread over the order of their means."""
    ordered = sorted(rows, key=lambda case: (sum(rows[case]), case))
    if len(ordered) <= most:
        return ordered
    return [ordered[round(index * (len(ordered) - 1) / (most - 1))] for index in range(most)]


def _frame(panel: Panel, names: Sequence[str], x: Scale, y: Scale, label: str) -> list[Markup]:
    parts = grid_left(x, y, label, ticks(y.low, y.high, 5))
    letters = int((x.stop - x.start) / len(names) / _LETTER)
    parts.append(text(x.start, y.stop - 28, shortened(f"{panel.title} ({len(panel.rows)} cases)", 36), size=13))
    for index, name in enumerate(names):
        parts.append(text(x.place(index + 0.5), y.start + 18, shortened(name, max(3, letters)), anchor="middle"))
    return parts


def _cases(panel: Panel, names: Sequence[str], x: Scale, y: Scale, higher_is_better: bool) -> list[Markup]:
    lines, dots = [], []
    for case in spread_cases(panel.rows):
        row = panel.rows[case]
        for index, value in enumerate(row):
            here = x.place(index + 0.5), y.place(value)
            dots.append(dot(*here, 2.6, "dot f1", f"{case}, {names[index]}: {value:.4g}"))
            if index + 1 < len(row):
                gain = (row[index + 1] - value) * (1 if higher_is_better else -1)
                style = _BETTER if gain > 0 else _WORSE if gain < 0 else _SAME
                lines.append(line(*here, x.place(index + 1.5), y.place(row[index + 1]), f"line thin {style}"))
    return [*lines, *dots]


def _means(panel: Panel, names: Sequence[str], x: Scale, y: Scale) -> list[Markup]:
    parts = []
    reach = min(0.32, 16 * len(names) / (x.stop - x.start))
    for index, (mean, low, high) in enumerate(panel.means):
        middle = x.place(index + 0.5 + reach * 0.75)
        if low is not None and high is not None:
            parts.append(line(middle, y.place(low), middle, y.place(high), "range s4"))
        parts.append(dot(middle, y.place(mean), 4.5, "f4", f"{names[index]}: mean {mean:.4g}"))
    return parts
