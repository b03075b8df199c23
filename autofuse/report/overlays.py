"""Pictures of cases as PNG: the modalities side by side, then the reference as a tint and the prediction as a line."""

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
    TILE_HEIGHT,
    TITLE,
    canvas,
    font,
    png,
    tile_size,
)
from autofuse.report.colours import Colour, class_colour
from autofuse.report.slices import Cut, best_cut, close_up, windowed

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

TINT = 0.42
"""Opacity of the reference."""

KEY = "tint: reference   line: prediction"
"""How masks are drawn."""
_FINER = 3
"""Lines are drawn this much finer and scaled down, which smooths them."""
_LINE = 4
"""Thickness of a line, in these finer pixels."""


@dataclass(frozen=True)
class Pictured:
    """One case to be shown.

    Attributes:
        name: of the case; note: what to say about it, such as its Dice.
        images: per modality (z, y, x), or None where absent.
        reference, prediction: class indices (z, y, x), or None.
        geometry: of all of them.
    """

    name: str
    images: Sequence[NDArray[Any] | None]
    reference: NDArray[Any] | None
    prediction: NDArray[Any] | None
    geometry: Geometry
    note: str = ""


@dataclass(frozen=True)
class Tile:
    """A picture of one slice.

    Attributes:
        caption: the modality where nothing is laid over it, else what is.
        modality: that is below.
        axis: array axis that is cut across; position: of the slice on it, of ``slices``.
    """

    caption: str
    modality: str
    axis: int
    position: int
    slices: int
    picture: Image

    @property
    def place(self) -> str:
        """Which slice of which image, in words; the first slice is number 1."""
        return f"{self.modality}, slice {self.position + 1} of {self.slices} along {'zyx'[self.axis]}"


def case_picture(case: Pictured, labels: Labels, modalities: Sequence[str] = ()) -> bytes:
    """PNG of one case: a tile per modality, one with the masks, and a close-up where they are small."""
    return sheet([case], labels, modalities)


def sheet(cases: Sequence[Pictured], labels: Labels, modalities: Sequence[str] = (), title: str = "") -> bytes:
    """PNG with a row per case and one legend.

    Raises:
        ValueError: without cases.
    """
    return sheet_of_tiles([(case, case_tiles(case, modalities)) for case in cases], labels, title)


def sheet_of_tiles(rows: Sequence[tuple[Pictured, Sequence[Tile]]], labels: Labels, title: str = "") -> bytes:
    """PNG with a row of tiles per case and one legend.

    Raises:
        ValueError: without cases.
    """
    if not rows:
        raise ValueError("a sheet needs at least one case")
    cases = [case for case, _ in rows]
    legend = legend_entries(cases, labels)
    width = max(
        max(sum(tile.picture.width for tile in tiles) + GAP * (len(tiles) - 1) for _, tiles in rows),
        _minimal_width(cases, title),
    )
    lines = _legend_lines(legend, width)
    heights = [TITLE + max(tile.picture.height for tile in tiles) + CAPTION for _, tiles in rows]
    top = MARGIN + (TITLE if title else 0)
    picture, draw = canvas(width + 2 * MARGIN, top + sum(heights) + CAPTION * (len(lines) + 1) + MARGIN)
    if title:
        draw.text((MARGIN, MARGIN), title, fill=TEXT, font=font(19))
    for (case, tiles), height in zip(rows, heights, strict=True):
        _draw_row(picture, draw, case, tiles, top)
        top += height
    _draw_legend(draw, lines, top + CAPTION // 2, cases)
    return png(picture)


def overlay(
    plane: NDArray[Any],
    reference: NDArray[Any] | None,
    prediction: NDArray[Any] | None,
    pixel_mm: tuple[float, float],
    height: int = TILE_HEIGHT,
    *,
    tinted: bool = True,
) -> Image:
    """The slice in grey, the reference tinted, the prediction outlined; all (rows, columns), class indices.

    Without a reference the prediction is tinted and outlined; without a prediction the reference is outlined too.
    Where it is not ``tinted`` there are outlines only.
    """
    from PIL import Image

    size = tile_size(plane.shape, pixel_mm, height)
    fine = (size[0] * _FINER, size[1] * _FINER)
    grey = Image.fromarray(windowed(plane)).resize(fine, Image.Resampling.BICUBIC)
    pixels = np.repeat(np.asarray(grey, dtype=np.float32)[:, :, None], 3, axis=2)
    filled = reference if reference is not None else prediction
    outlined = prediction if prediction is not None else reference
    for index, area in _smooth_masks(filled if tinted else None, fine):
        pixels[area] = (1 - TINT) * pixels[area] + TINT * np.array(class_colour(index), dtype=np.float32)
    for index, area in _smooth_masks(outlined, fine):
        line, wider = _rims(area, _LINE, _LINE + _FINER)
        pixels[wider & ~line] *= 0.6  # a dark edge lifts the line off the tint
        pixels[line] = class_colour(index)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).reduce(_FINER)


def case_tiles(case: Pictured, modalities: Sequence[str] = (), most: int | None = None) -> list[Tile]:
    """From left to right: the modalities, the masks over the first of them, and a close-up where they are small.

    Args:
        most: of the modalities, for cases with many; all if None.
    """
    cut = best_cut(case.images, (case.reference, case.prediction), case.geometry)
    slices = case.geometry.shape[cut.axis]
    shown = [(_named(channel, modalities), image) for channel, image in enumerate(case.images) if image is not None]
    tiles = [
        Tile(name, name, cut.axis, cut.position, slices, overlay(cut.of(image), None, None, cut.pixel_mm))
        for name, image in shown[:most]
    ]
    if case.reference is None and case.prediction is None:
        return tiles
    below, ground = shown[0]
    caption = " and ".join(
        word for word, mask in (("reference", case.reference), ("prediction", case.prediction)) if mask is not None
    )
    near = close_up(cut, (case.reference, case.prediction))
    for words, place in ((caption, cut), ("close-up", near)):
        if place is not None:
            tiles.append(Tile(words, below, cut.axis, cut.position, slices, _masked(case, ground, place)))
    return tiles


def _named(channel: int, modalities: Sequence[str]) -> str:
    return modalities[channel] if channel < len(modalities) else f"channel {channel}"


def _masked(case: Pictured, ground: NDArray[Any], cut: Cut) -> Image:
    reference, prediction = (None if mask is None else cut.of(mask) for mask in (case.reference, case.prediction))
    return overlay(cut.of(ground), reference, prediction, cut.pixel_mm)


def _smooth_masks(indices: NDArray[Any] | None, size: tuple[int, int]) -> list[tuple[int, NDArray[np.bool_]]]:
    """(class index, mask at ``size``) of every class that is there, with rounded instead of stepped borders."""
    from PIL import Image

    if indices is None:
        return []
    found = []
    for index in range(1, int(indices.max(initial=0)) + 1):
        mask = indices == index
        if mask.any():
            large = Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BILINEAR)
            found.append((index, np.asarray(large) > 127))
    return found


def _rims(mask: NDArray[np.bool_], *thicknesses: int) -> list[NDArray[np.bool_]]:
    """Per thickness (ascending), the pixels of ``mask`` that lie as near to its border."""
    from PIL import Image, ImageFilter

    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    inner = Image.fromarray(np.pad(mask[box], 1).astype(np.uint8) * 255)
    rims, done = [], 0
    for thickness in thicknesses:
        for _ in range(thickness - done):
            inner = inner.filter(ImageFilter.MinFilter(3))
        rim = np.zeros_like(mask)
        rim[box] = mask[box] & ~(np.asarray(inner)[1:-1, 1:-1] > 0)
        rims.append(rim)
        done = thickness
    return rims


def legend_entries(cases: Sequence[Pictured], labels: Labels) -> list[tuple[str, Colour]]:
    """(name, colour) of every class that the masks hold."""
    shown: set[int] = set()
    for case in cases:
        for mask in (case.reference, case.prediction):
            if mask is not None:
                shown |= {int(value) for value in np.unique(mask)} - {0, IGNORE}
    names = class_names(labels)
    return [(names[index], class_colour(index)) for index in sorted(shown)]


def _legend_lines(entries: Sequence[tuple[str, Colour]], width: int) -> list[list[tuple[int, str, Colour]]]:
    """Legend entries with their horizontal places, broken into lines that fit."""
    lines: list[list[tuple[int, str, Colour]]] = [[]]
    left = 0
    for name, colour in entries:
        needed = 22 + round(font(14).getlength(name)) + 20
        if lines[-1] and left + needed > width:
            lines.append([])
            left = 0
        lines[-1].append((left, name, colour))
        left += needed
    return lines


def _draw_row(picture: Image, draw: ImageDraw, case: Pictured, tiles: Sequence[Tile], top: int) -> None:
    draw.text((MARGIN, top + 6), case.name, fill=TEXT, font=font(16))
    if case.note:
        place = MARGIN + font(16).getlength(case.name) + 14
        draw.text((place, top + 8), case.note, fill=FAINT, font=font(14))
    left, lowest = MARGIN, max(tile.picture.height for tile in tiles)
    for tile in tiles:
        picture.paste(tile.picture, (left, top + TITLE + (lowest - tile.picture.height) // 2))
        draw.text((left, top + TITLE + lowest + 3), tile.caption, fill=FAINT, font=font(13))
        left += tile.picture.width + GAP


def _draw_legend(
    draw: ImageDraw, lines: Sequence[Sequence[tuple[int, str, Colour]]], top: int, cases: Sequence[Pictured]
) -> None:
    for line in lines:
        for left, name, colour in line:
            box = (MARGIN + left, top + 3, MARGIN + left + 14, top + 15)
            draw.rectangle(box, fill=colour)
            draw.text((MARGIN + left + 22, top), name, fill=TEXT, font=font(14))
        top += CAPTION
    if any(case.reference is not None and case.prediction is not None for case in cases):
        draw.text((MARGIN, top), KEY, fill=FAINT, font=font(13))


def _minimal_width(cases: Sequence[Pictured], title: str) -> int:
    texts = [(title, 19), (KEY, 13), *((f"{case.name}   {case.note}", 16) for case in cases)]
    widest: float = max(font(size).getlength(text) for text, size in texts)
    return 1 + int(widest)
