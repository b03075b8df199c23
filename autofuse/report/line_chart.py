"""Lines over a common axis: learning curves of several folds in one drawing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from autofuse.report.drawing import (
    HALF,
    SERIES,
    Scale,
    dot,
    drawing,
    grid_below,
    grid_left,
    legend,
    path,
    series_class,
    ticks,
)

MOST_POINTS = 240
"""Of one line; more are thinned out, for nobody could see them."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 58.0, 12.0, 30.0, 42.0


@dataclass(frozen=True)
class Line:
    """A line of the chart.

    Attributes:
        points: (x, y), ascending in x.
        beside: the same quantity as it was measured, drawn thin behind the line.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    beside: tuple[tuple[float, float], ...] = ()


def line_chart(
    lines: Sequence[Line],
    *,
    across: str,
    upwards: str,
    description: str,
    limits: tuple[float, float] | None = None,
    height: float = 250,
    width: float = HALF,
) -> Markup:
    """The chart: a line per series with a legend below.

    Args:
        across, upwards: names of the axes.
        limits: of the values; as the points say if None.

    Raises:
        ValueError: without points.
    """
    points = [point for item in lines for point in (*item.points, *item.beside)]
    if not points:
        raise ValueError("a chart needs at least one point")
    low, high = limits or _room([value for _, value in points])
    x = Scale(min(0.0, *(at for at, _ in points)), max(at for at, _ in points), _LEFT, width - _RIGHT)
    y = Scale(low, high, height - _BOTTOM, _TOP)
    parts = grid_left(x, y, upwards, ticks(low, high)) + grid_below(x, y, across, ticks(x.low, x.high, 6))
    for index, item in enumerate(lines):
        style, dashed = f"line s{series_class(index)}", index >= SERIES
        if item.beside:
            parts.append(path(_placed(item.beside, x, y), f"{style} thin", dashed))
        if len(item.points) == 1:  # a single point makes no line
            ((across_at, value),) = item.points
            parts.append(dot(x.place(across_at), y.place(value), 3.5, f"f{series_class(index)}"))
        elif item.points:
            parts.append(path(_placed(item.points, x, y), style, dashed))
    names = [item.name for item in lines]
    entries, extra = legend(names, _LEFT, height + 12, width - _LEFT - _RIGHT) if len(names) > 1 else ([], 0.0)
    return drawing(height + extra + 4, description, parts + entries, width)


def thinned(points: Sequence[tuple[float, float]], most: int = MOST_POINTS) -> tuple[tuple[float, float], ...]:
    """At most about ``most`` points: means of neighbours, the last point as it is."""
    if len(points) <= most:
        return tuple(points)
    size = -(-len(points) // most)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    means = [(group[-1][0], sum(value for _, value in group) / len(group)) for group in groups]
    return (*means[:-1], points[-1])


def _placed(points: Sequence[tuple[float, float]], x: Scale, y: Scale) -> list[tuple[float, float]]:
    return [(x.place(at), y.place(value)) for at, value in thinned(points)]


def _room(values: Sequence[float]) -> tuple[float, float]:
    """Lowest and highest value with a little room, also where all are the same."""
    low, high = min(values), max(values)
    room = 0.04 * (high - low) or max(abs(high), 1.0) * 0.1
    return (0.0 if 0 <= low < 0.3 * high else low - room), high + room
