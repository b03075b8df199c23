"""Numbers of many cases, a row per class: a dot a case, the box of the middle half, the mean with its interval."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from autofuse.report.drawing import (
    WIDTH,
    Scale,
    box,
    dot,
    drawing,
    grid_below,
    line,
    series_class,
    shortened,
    text,
    ticks,
)

MOST_DOTS = 300
"""Of one row; with more cases only the box is drawn."""
_ROW, _TOP, _BOTTOM = 46.0, 10.0, 42.0
_NAMED_WIDTH, _NAME_LETTERS = 172.0, 24
_SPREAD = 11.0


@dataclass(frozen=True)
class Strip:
    """One row.

    Attributes:
        values: (what it belongs to, value).
        mean, low, high: the mean and its interval; None where they are not defined.
    """

    name: str
    values: tuple[tuple[str, float], ...]
    mean: float | None = None
    low: float | None = None
    high: float | None = None


def strip_chart(
    strips: Sequence[Strip], *, across: str, description: str, limits: tuple[float, float] | None = None
) -> Markup:
    """The chart.

    Args:
        across: name of the axis.
        limits: of the values; from 0 to the largest if None.

    Raises:
        ValueError: without a value.
    """
    values = [value for strip in strips for _, value in strip.values]
    if not values:
        raise ValueError("a chart needs at least one value")
    low, high = limits or (min(0.0, *values), max(*values, 1e-9) * 1.04)
    height = _TOP + _ROW * len(strips)
    x = Scale(low, high, _NAMED_WIDTH, WIDTH - 16)
    parts = grid_below(x, Scale(0, 1, height, _TOP), across, ticks(low, high, 10))
    for index, strip in enumerate(strips):
        parts += _row(strip, x, _TOP + _ROW * (index + 0.5), series_class(index))
    return drawing(height + _BOTTOM, description, parts)


def described(strips: Sequence[Strip]) -> str:
    """The chart in words, for those who do not see it."""
    told = []
    for strip in strips:
        if not strip.values:
            told.append(f"{strip.name}: no value")
            continue
        numbers = np.array([value for _, value in strip.values])
        words = f"{strip.name}: {numbers.size} values from {numbers.min():.3g} to {numbers.max():.3g}"
        words += f", median {np.median(numbers):.3g}"
        if strip.mean is not None:
            words += f", mean {strip.mean:.3g}"
        if strip.low is not None and strip.high is not None:
            words += f" (95 % interval {strip.low:.3g} to {strip.high:.3g})"
        told.append(words)
    return "; ".join(told) + "."


def _row(strip: Strip, x: Scale, middle: float, colour: str) -> list[Markup]:
    parts = [text(_NAMED_WIDTH - 12, middle + 4, shortened(strip.name, _NAME_LETTERS), anchor="end")]
    numbers = [value for _, value in strip.values]
    if not numbers:
        return [*parts, text(x.start + 6, middle + 4, "no value", faint=True)]
    if len(numbers) >= 4:
        lower, median, upper = (x.place(value) for value in np.percentile(numbers, [25, 50, 75]))
        parts.append(line(x.place(min(numbers)), middle, x.place(max(numbers)), middle, f"s{colour} thin"))
        parts.append(box(lower, middle - 13, upper - lower, 26, f"box s{colour} f{colour}"))
        parts.append(line(median, middle - 13, median, middle + 13, f"line s{colour}"))
    if len(numbers) <= MOST_DOTS:
        for name, value in strip.values:
            parts.append(dot(x.place(value), middle + _aside(name), 3, f"dot f{colour}", f"{name}: {value:.3f}"))
    if strip.low is not None and strip.high is not None:
        parts.append(line(x.place(strip.low), middle + 18, x.place(strip.high), middle + 18, f"range s{colour}"))
    if strip.mean is not None:
        parts.append(dot(x.place(strip.mean), middle + 18, 4.5, f"f{colour}", f"mean {strip.mean:.3f}"))
    return parts


def _aside(name: str) -> float:
    """How far a dot lies above or below the middle, so that equal values do not hide each other; the same each time."""
    return (zlib.crc32(name.encode()) % 1000 / 1000 - 0.5) * 2 * _SPREAD
