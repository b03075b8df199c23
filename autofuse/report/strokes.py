"""Pictures of scribbles as PNG: the strokes over a slice of the image, beside the dense label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from autofuse.dataset.label_codes import class_names
from autofuse.dataset.types import IGNORE, Labels
from autofuse.images.geometry import Geometry
from autofuse.report.canvas import (
    CAPTION,
    FAINT,
    GAP,
    MARGIN,
    TEXT,
    TITLE,
    canvas,
    font,
    png,
    text_width,
    tile_size,
)
from autofuse.report.colours import Colour, class_colour
from autofuse.report.overlays import overlay
from autofuse.report.slices import best_cut, close_up, windowed

if TYPE_CHECKING:
    from PIL.Image import Image

HEIGHT = 380
"""Pixels of a tile: strokes are one voxel wide and must be seen."""
BACKGROUND: Colour = (255, 255, 255)
_DIMMED = 0.7
"""Brightness of the image below the strokes."""


@dataclass(frozen=True)
class Scribbled:
    """One case to be shown; all arrays (z, y, x) on one grid.

    Attributes:
        note: what to say about it; modality: the name of the image.
        strokes: class indices, IGNORE where nobody drew; dense: the label that they follow.
        axis: across which slices were cut.
    """

    name: str
    note: str
    modality: str
    image: NDArray[Any]
    strokes: NDArray[Any]
    dense: NDArray[Any]
    geometry: Geometry
    axis: int


def scribble_sheet(title: str, cases: Sequence[Scribbled], labels: Labels) -> bytes:
    """PNG with a row per case: the image, the strokes on it, the dense label.

    Raises:
        ValueError: without cases.
    """
    if not cases:
        raise ValueError("a picture of scribbles needs at least one case")
    rows = [(case, _tiles(case)) for case in cases]
    names = class_names(labels)
    legend = [(name, class_colour(index) if index else BACKGROUND) for index, name in enumerate(names)]
    width = max(
        *(sum(tile.width for _, tile in tiles) + GAP * (len(tiles) - 1) for _, tiles in rows),
        *(text_width(f"{case.name}   {case.note}", 16) for case in cases),
        text_width(title, 19),
    )
    lines = _lines(legend, width)
    heights = [TITLE + max(tile.height for _, tile in tiles) + CAPTION for _, tiles in rows]
    picture, pen = canvas(width + 2 * MARGIN, 2 * MARGIN + TITLE + sum(heights) + CAPTION * len(lines))
    pen.text((MARGIN, MARGIN), title, fill=TEXT, font=font(19))
    top = MARGIN + TITLE
    for (case, tiles), height in zip(rows, heights, strict=True):
        pen.text((MARGIN, top + 6), case.name, fill=TEXT, font=font(16))
        pen.text((MARGIN + text_width(case.name, 16) + 14, top + 8), case.note, fill=FAINT, font=font(14))
        left, lowest = MARGIN, height - TITLE - CAPTION
        for caption, tile in tiles:
            picture.paste(tile, (left, top + TITLE + (lowest - tile.height) // 2))
            pen.text((left, top + TITLE + lowest + 3), caption, fill=FAINT, font=font(13))
            left += tile.width + GAP
        top += height
    for row, line in enumerate(lines):
        for left, name, colour in line:
            place = top + row * CAPTION
            pen.rectangle((left, place + 3, left + 14, place + 15), fill=colour)
            pen.text((left + 22, place), name, fill=TEXT, font=font(14))
    return png(picture)


def stroked(plane: NDArray[Any], strokes: NDArray[Any], pixel_mm: tuple[float, float], height: int = HEIGHT) -> Image:
    """The slice in grey with every scribbled voxel in its class's colour; (rows, columns) each."""
    from PIL import Image

    size = tile_size(plane.shape, pixel_mm, height)
    grey = Image.fromarray(windowed(plane)).resize(size, Image.Resampling.BICUBIC)
    pixels = np.repeat(np.asarray(grey, np.float32)[:, :, None] * _DIMMED, 3, axis=2).astype(np.uint8)
    # Nearest neighbour: a stroke stays as many voxels wide as it is.
    large = Image.fromarray((strokes - IGNORE).astype(np.int32)).resize(size, Image.Resampling.NEAREST)
    drawn = np.asarray(large) + IGNORE
    for index in np.unique(drawn[drawn != IGNORE]).tolist():
        pixels[drawn == index] = class_colour(index) if index else BACKGROUND
    return Image.fromarray(pixels)


def _tiles(case: Scribbled) -> list[tuple[str, Image]]:
    """(caption, picture) from left to right."""
    cut = best_cut([case.image], [np.maximum(case.strokes, 0), case.dense], case.geometry, case.axis)
    near = close_up(cut, [case.dense])
    tiles = [(f"{case.modality}, slice {cut.position}", overlay(cut.of(case.image), None, None, cut.pixel_mm, HEIGHT))]
    for place, note in ((cut, ""), (near, ", close-up")):
        if place is not None:
            image, strokes, dense = (place.of(volume) for volume in (case.image, case.strokes, case.dense))
            tiles.append((f"scribbles{note}", stroked(image, strokes, place.pixel_mm)))
            tiles.append((f"dense label{note}", overlay(image, dense, None, place.pixel_mm, HEIGHT)))
    return tiles


def _lines(legend: Sequence[tuple[str, Colour]], width: int) -> list[list[tuple[int, str, Colour]]]:
    """Legend entries with their horizontal places, broken into lines that fit."""
    lines: list[list[tuple[int, str, Colour]]] = [[]]
    left = MARGIN
    for name, colour in legend:
        needed = 22 + text_width(name, 14) + 20
        if lines[-1] and left + needed > MARGIN + width:
            lines.append([])
            left = MARGIN
        lines[-1].append((left, name, colour))
        left += needed
    return lines
