"""The part of the report on calibration: a reliability curve per class, and the expected calibration error."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from autofuse.evaluation.reliability import BINS, OPEN_FROM, Reliability
from autofuse.foundation.plain_table import PlainTable
from autofuse.report.drawing import (
    SERIES,
    Scale,
    dot,
    drawing,
    grid_below,
    grid_left,
    legend,
    line,
    path,
    series_class,
    ticks,
)
from autofuse.report.page import Block, Drawing, Drawings, Numbers, Section, Words, counted

MOST_CLASSES = 16
_SIDE, _LEFT, _TOP, _BOTTOM, _WIDTH = 330.0, 58.0, 28.0, 42.0, 520.0


def calibration_section(
    found: Sequence[Reliability], cases: int, note: str = "", *, absent: str = "No probabilities of held-out cases."
) -> Section:
    """How far the probabilities of ``cases`` held-out cases can be believed; the sentence ``absent`` where there are
    none."""
    known = [item for item in found if item.error is not None]
    if not known:
        return Section("calibration", "Calibration", (Words(absent),))
    rows = tuple((item.name, f"{item.error:.3f}", f"{sum(item.voxels):,}") for item in known)
    about = (
        f"From {counted(cases, 'held-out case')}, over voxels where the class is or has a probability "
        f"of at least {OPEN_FROM:g}; {BINS} bins of equal width. The expected calibration error (ECE) is the mean "
        "distance of a voxel's curve from the diagonal: 0 where probabilities mean what they say."
    )
    blocks: list[Block] = [Words(about)]
    if note:
        blocks.append(Words(note, warns=True))
    blocks.append(Numbers(PlainTable("Expected calibration error", ("class", "ECE", "voxels"), rows)))
    caption = "Above the diagonal the model is too modest, below it too sure of itself."
    if len(known) > MOST_CLASSES:
        caption += f" The first {MOST_CLASSES} of {len(known)} classes."
    blocks.append(Drawings((Drawing(reliability_chart(known[:MOST_CLASSES]), caption),)))
    return Section("calibration", "Calibration", tuple(blocks))


def reliability_chart(found: Sequence[Reliability]) -> Markup:
    """A curve per class: the share of voxels where the class is, over the probability that was stated."""
    x, y = Scale(0, 1, _LEFT, _LEFT + _SIDE), Scale(0, 1, _TOP + _SIDE, _TOP)
    marks = ticks(0, 1)
    parts = grid_left(x, y, "share of voxels with the class", marks) + grid_below(x, y, "stated probability", marks)
    parts.append(line(x.start, y.start, x.stop, y.stop, "frame"))
    for index, item in enumerate(found):
        points = [
            (x.place(said), y.place(there))
            for said, there in zip(item.stated, item.observed, strict=True)
            if said is not None and there is not None
        ]
        parts.append(path(points, f"line s{series_class(index)}", index >= SERIES))
        parts += [dot(*point, 3.2, f"f{series_class(index)}") for point in points]
    names = [item.name for item in found]
    entries, extra = legend(names, _LEFT, _TOP + _SIDE + _BOTTOM + 14, _WIDTH - _LEFT)
    told = "; ".join(f"{item.name}: expected calibration error {item.error:.3f}" for item in found)
    svg = drawing(_TOP + _SIDE + _BOTTOM + extra + 8, f"Reliability curves. {told}.", parts + entries, width=_WIDTH)
    return Markup('<div style="max-width: 34rem">') + svg + Markup("</div>")
