"""Tables as pictures, a row per case: which images there are and what they cover, and what is annotated how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from autofuse.fingerprint.types import CaseFacts, Fingerprint
from autofuse.report.canvas import FAINT, MARGIN, TEXT, TITLE, canvas, font, png, text_width
from autofuse.report.colours import Colour, class_colour

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

MOST_ROWS = 400
"""More cases than this are not drawn; the last line says how many."""
SMALLEST_NAMED = 14
"""Rows lower than this many pixels carry no text."""

_TALLEST, _SHORTEST, _TABLE_HEIGHT = 24, 3, 1200
_EMPTY: Colour = (44, 48, 56)
_INK: Colour = (16, 18, 22)
_SEEN = class_colour(2)
_KINDS: dict[str, Colour | None] = {"dense": class_colour(3), "sparse": class_colour(6), "none": None}
_WIDEST_NAME, _SHORTEST_NAME = 260, 8
_DARK_TEXT_FROM = 0.5


@dataclass(frozen=True)
class Cell:
    """One field of a table: filled from the left to ``share``, with a short text."""

    colour: Colour | None
    share: float = 1.0
    text: str = ""


@dataclass(frozen=True)
class Column:
    """A column's name, and a fainter line below it."""

    name: str
    note: str = ""


def presence_picture(fingerprint: Fingerprint) -> bytes:
    """PNG: a row per case, a column per modality, filled as far as the modality covers the reference field of view."""
    columns = [
        Column(name, f"missing in {rate:.0%}" if rate else "always there")
        for name, rate in zip(fingerprint.modalities, fingerprint.missing_rates, strict=True)
    ]
    rows = [(case.id, [_covered(case, index) for index in range(len(columns))]) for case in fingerprint.cases]
    return table_picture(f"{fingerprint.dataset}: which images there are, and the share that they cover", columns, rows)


def annotation_picture(fingerprint: Fingerprint) -> bytes:
    """PNG: a row per case with the kind of its annotation, the labelled share, and the volume of each class."""
    labelled = sum(case.annotation != "none" for case in fingerprint.cases)
    columns = [Column("annotation"), Column("labelled", "share of voxels")]
    columns += [Column(item.name, f"ml; in {item.cases} of {labelled}") for item in fingerprint.classes]
    rows = [(case.id, _annotated(case)) for case in fingerprint.cases]
    return table_picture(f"{fingerprint.dataset}: what is annotated, and how", columns, rows)


def table_picture(title: str, columns: Sequence[Column], rows: Sequence[tuple[str, Sequence[Cell]]]) -> bytes:
    """PNG of a table with a name and as many cells as there are columns in every row."""
    shown = rows[:MOST_ROWS]
    high = max(_SHORTEST, min(_TALLEST, _TABLE_HEIGHT // max(1, len(shown))))
    named = high >= SMALLEST_NAMED
    names = min(_WIDEST_NAME, max(text_width(name, 13) for name, _ in shown)) + 12 if named else 0
    widths = [max(84, text_width(item.name, 14) + 14, text_width(item.note, 12) + 14) for item in columns]
    left, top = MARGIN + names, MARGIN + TITLE + 42
    width = max(left + sum(widths), MARGIN + text_width(title, 19)) + MARGIN
    picture, draw = canvas(width, top + high * len(shown) + MARGIN + 24)
    draw.text((MARGIN, MARGIN), title, fill=TEXT, font=font(19))
    places = [left + sum(widths[:index]) for index in range(len(widths))]
    for item, place in zip(columns, places, strict=True):
        draw.text((place + 2, top - 38), item.name, fill=TEXT, font=font(14))
        draw.text((place + 2, top - 20), item.note, fill=FAINT, font=font(12))
    for number, (name, cells) in enumerate(shown):
        upper = top + number * high
        if named:
            draw.text((MARGIN, upper + (high - 15) // 2), _shortened(name, 13), fill=TEXT, font=font(13))
        for cell, place, wide in zip(cells, places, widths, strict=True):
            _draw_cell(draw, cell, (place, upper, place + wide - 3, upper + high - (2 if named else 1)), named)
    rest = len(rows) - len(shown)
    note = f"and {rest} more cases" if rest else f"{len(rows)} cases, one a row"
    draw.text((MARGIN, top + high * len(shown) + 8), note, fill=FAINT, font=font(12))
    return png(picture)


def _draw_cell(draw: ImageDraw, cell: Cell, box: tuple[int, int, int, int], named: bool) -> None:
    left, upper, right, lower = box
    draw.rectangle(box, fill=_EMPTY)
    if cell.colour is not None and cell.share > 0:
        draw.rectangle((left, upper, left + round(cell.share * (right - left)), lower), fill=cell.colour)
    if named and cell.text:
        dark = cell.colour is not None and cell.share > _DARK_TEXT_FROM
        draw.text((left + 6, (upper + lower - 13) // 2), cell.text, fill=_INK if dark else TEXT, font=font(12))


def _covered(case: CaseFacts, modality: int) -> Cell:
    if not case.present[modality]:
        return Cell(None, text="absent")
    share = case.overlap(modality)
    return Cell(_SEEN, share, f"{share:.0%}" if share < 1 else "")


def _annotated(case: CaseFacts) -> list[Cell]:
    """The kind, the labelled share and one cell a class."""
    colour = _KINDS[case.annotation]
    cells = [Cell(colour, text=case.annotation)]
    labelled = case.annotation != "none"
    cells.append(Cell(colour, case.labelled_fraction, f"{case.labelled_fraction:.2g}") if labelled else Cell(None))
    voxel_ml = prod(case.spacing_mm) / 1000
    for index, voxels in enumerate(case.class_voxels, start=1):
        text = f"{voxels * voxel_ml:.3g}" if voxels else "absent" if labelled else ""
        cells.append(Cell(class_colour(index) if voxels else None, text=text))
    return cells


def _shortened(name: str, size: int) -> str:
    """The name, cut in its middle where it is too long for its column."""
    while text_width(name, size) > _WIDEST_NAME and len(name) > _SHORTEST_NAME:
        half = (len(name) - 2) // 2
        name = f"{name[:half]}…{name[-half:]}"
    return name
