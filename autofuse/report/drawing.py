"""Drawings of lines as SVG that is part of a page: scales, axes, text; colours come from the page, light or dark.

Every word is escaped where it is written. Lengths are in units of the drawing, which fills the width of the page.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH = 900.0
"""Units; a page's text is about as many pixels wide."""
HALF = 540.0
"""Units of a drawing that another one stands beside."""
SERIES = 8
"""Series that have a colour of their own; the next one begins anew, dashed."""
_LETTER = 6.6
"""Units that a letter takes on average."""


@dataclass(frozen=True)
class Scale:
    """Values from ``low`` to ``high`` as places from ``start`` to ``stop``."""

    low: float
    high: float
    start: float
    stop: float

    def place(self, value: float) -> float:
        """Where a value lies; values beyond the scale lie at its ends."""
        if self.high <= self.low:
            return (self.start + self.stop) / 2
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.stop - self.start), 1)


def ticks(low: float, high: float, about: int = 5) -> tuple[float, ...]:
    """Round values (1, 2 or 5 times a power of ten apart) within ``low`` ... ``high``, about so many."""
    if not high > low:
        return (low,)
    rough = (high - low) / max(1, about)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return tuple(round(number * step, 12) for number in range(first, last + 1))


def drawing(height: float, description: str, parts: Iterable[Markup], width: float = WIDTH) -> Markup:
    """The drawing; ``description`` says what it shows to those who do not see it."""
    opening = Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">\n').format(
        number(width), number(height), description
    )
    return opening + Markup("\n").join(parts) + Markup("\n</svg>")


def text(x: float, y: float, words: str, *, anchor: str = "start", faint: bool = False, size: float = 12) -> Markup:
    """Words at a place; ``anchor`` is "start", "middle" or "end"."""
    return Markup('<text x="{}" y="{}" text-anchor="{}"{}{}>{}</text>').format(
        number(x),
        number(y),
        anchor,
        Markup(' class="faint"') if faint else "",
        "" if size == 12 else Markup(' style="font-size:{}px"').format(number(size)),
        words,
    )


def line(x1: float, y1: float, x2: float, y2: float, style: str) -> Markup:
    """A straight line of a class of the page's style."""
    return Markup('<line x1="{}" y1="{}" x2="{}" y2="{}" class="{}"/>').format(
        number(x1), number(y1), number(x2), number(y2), style
    )


def box(x: float, y: float, width: float, height: float, style: str) -> Markup:
    """A rectangle of a class of the page's style."""
    return Markup('<rect x="{}" y="{}" width="{}" height="{}" class="{}"/>').format(
        number(x), number(y), number(max(0.0, width)), number(max(0.0, height)), style
    )


def dot(x: float, y: float, radius: float, style: str, said: str = "") -> Markup:
    """A dot; ``said`` appears where the pointer rests on it."""
    if not said:
        return Markup('<circle cx="{}" cy="{}" r="{}" class="{}"/>').format(number(x), number(y), number(radius), style)
    return Markup('<circle cx="{}" cy="{}" r="{}" class="{}"><title>{}</title></circle>').format(
        number(x), number(y), number(radius), style, said
    )


def path(points: Sequence[tuple[float, float]], style: str, dashed: bool = False) -> Markup:
    """A line through the points."""
    return Markup('<polyline points="{}" class="{}"{}/>').format(
        " ".join(f"{number(x)},{number(y)}" for x, y in points),
        style,
        Markup(' stroke-dasharray="5 3"') if dashed else "",
    )


def series_class(index: int) -> str:
    """Number of the colour of series 0, 1, 2 ... in the page's style."""
    return str(index % SERIES + 1)


def grid_below(x: Scale, y: Scale, label: str, marks: Sequence[float]) -> list[Markup]:
    """Vertical lines at ``marks`` with their values below, and the name of the axis. ``y`` runs upwards."""
    parts = []
    for mark in marks:
        parts.append(line(x.place(mark), y.stop, x.place(mark), y.start, "grid"))
        parts.append(text(x.place(mark), y.start + 16, shown(mark), anchor="middle", faint=True))
    parts.append(text((x.start + x.stop) / 2, y.start + 33, label, anchor="middle", faint=True))
    return parts


def grid_left(x: Scale, y: Scale, label: str, marks: Sequence[float]) -> list[Markup]:
    """Horizontal lines at ``marks`` with their values to the left, and the name of the axis above."""
    parts = []
    for mark in marks:
        parts.append(line(x.start, y.place(mark), x.stop, y.place(mark), "grid"))
        parts.append(text(x.start - 8, y.place(mark) + 4, shown(mark), anchor="end", faint=True))
    parts.append(text(x.start, y.stop - 10, label, faint=True))
    return parts


def legend(names: Sequence[str], x: float, y: float, widest: float) -> tuple[list[Markup], float]:
    """Names of series 0, 1, 2 ... with their colours, in lines no wider than ``widest``; and the height of it all."""
    parts, left, top = [], x, y
    for index, name in enumerate(names):
        name = shortened(name, 40)
        wide = 30 + _LETTER * len(name) + 14
        if left > x and left + wide > x + widest:
            left, top = x, top + 18
        dashed = index >= SERIES
        parts.append(path([(left, top - 4), (left + 22, top - 4)], f"line s{series_class(index)}", dashed))
        parts.append(text(left + 28, top, name))
        left += wide
    return parts, (top - y + 18 if names else 0.0)


def shortened(name: str, letters: int) -> str:
    """The name, cut in its middle where it has more letters than there is room for."""
    if len(name) <= letters:
        return name
    half = (letters - 1) // 2
    return f"{name[:half]}…{name[-half:]}"


def shown(value: float) -> str:
    """A value beside an axis."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def number(value: float) -> str:
    """A coordinate, in as few digits as can be seen."""
    return f"{value:.1f}".removesuffix(".0")
