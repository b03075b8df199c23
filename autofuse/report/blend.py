"""Two images of a patient in one picture: a two-colour blend and a checkerboard, before and after they are moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from autofuse.images.image import Image
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
    text_width,
    tile_size,
)
from autofuse.report.colours import class_colour
from autofuse.report.slices import Cut, best_cut, windowed

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

FIXED, MOVING = class_colour(1), class_colour(2)
"""Where both images are bright the two add up to nearly white."""
SQUARE_MM_SHARE = 1 / 8
"""A square of the checkerboard over the longer side of the slice."""


@dataclass(frozen=True)
class Stage:
    """The moving image on the fixed image's grid, at one moment.

    Attributes:
        caption: which moment, and how far the images lie apart then.
        voxels: (z, y, x); covered: where the moving image sees anything.
    """

    caption: str
    voxels: NDArray[Any]
    covered: NDArray[np.bool_]


@dataclass(frozen=True)
class Pair:
    """Two images of a patient.

    Attributes:
        moving: as it is stored, where its grid is another one than the fixed image's; else None.
        stages: before, after.
    """

    fixed_name: str
    moving_name: str
    fixed: Image
    moving: Image | None
    stages: tuple[Stage, ...]


def blend_sheet(title: str, pairs: Sequence[Pair], mask: NDArray[Any] | None = None) -> bytes:
    """PNG with a row per pair: the fixed image, the moving one as it is stored, and each stage blended and checkered.

    Args:
        mask: class indices on the fixed grid, to choose the slice by; None for the middle one.

    Raises:
        ValueError: without pairs.
    """
    if not pairs:
        raise ValueError("a picture of images brought together needs at least two images")
    rows = [(_heading(pair), _tiles(pair, mask)) for pair in pairs]
    width = max(
        *(sum(tile.width for _, tile in tiles) + GAP * (len(tiles) - 1) for _, tiles in rows),
        *(text_width(heading, 16) for heading, _ in rows),
        text_width(title, 19),
    )
    heights = [TITLE + max(tile.height for _, tile in tiles) + 2 * CAPTION for _, tiles in rows]
    picture, draw = canvas(width + 2 * MARGIN, TITLE + sum(heights) + 2 * MARGIN)
    draw.text((MARGIN, MARGIN), title, fill=TEXT, font=font(19))
    top = MARGIN + TITLE
    for (heading, tiles), height in zip(rows, heights, strict=True):
        draw.text((MARGIN, top + 6), heading, fill=TEXT, font=font(16))
        left, lowest = MARGIN, max(tile.height for _, tile in tiles)
        for caption, tile in tiles:
            picture.paste(tile, (left, top + TITLE + (lowest - tile.height) // 2))
            for number, line in enumerate(caption.split("\n")):
                draw.text((left, top + TITLE + lowest + 3 + number * 18), line, fill=FAINT, font=font(13))
            left += tile.width + GAP
        top += height
    return png(picture)


def blended(fixed: NDArray[np.uint8], moving: NDArray[np.uint8], seen: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Colours (rows, columns, 3) of two grey slices: one image in one colour, the other added in another."""
    own = fixed[..., None] / 255 * np.array(FIXED)
    other = np.where(seen, moving, 0)[..., None] / 255 * np.array(MOVING)
    return np.asarray((0.75 * (own + other)).clip(0, 255).astype(np.uint8))


def checkered(
    fixed: NDArray[np.uint8], moving: NDArray[np.uint8], seen: NDArray[np.bool_], pixel_mm: tuple[float, float]
) -> NDArray[np.uint8]:
    """Squares of one image and of the other in turn; where the moving one sees nothing its squares are dark."""
    sides = [count * step for count, step in zip(fixed.shape, pixel_mm, strict=True)]
    square_mm = max(sides) * SQUARE_MM_SHARE
    row, column = (
        (np.arange(count) * step // square_mm).astype(int) for count, step in zip(fixed.shape, pixel_mm, strict=True)
    )
    odd = (row[:, None] + column[None, :]) % 2 == 1
    grey = np.where(odd, np.where(seen, moving, 0), fixed)
    return np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)


def _tiles(pair: Pair, mask: NDArray[Any] | None) -> list[tuple[str, Picture]]:
    """(caption, picture) from left to right."""
    cut = best_cut([pair.fixed.voxels], [mask], pair.fixed.geometry)
    fixed = windowed(cut.of(pair.fixed.voxels))
    tiles = [(pair.fixed_name, _tile(fixed, cut.pixel_mm))]
    if pair.moving is not None:
        own = _middle_cut(pair.moving)
        tiles.append(
            (f"{pair.moving_name}\nas it is stored", _tile(windowed(own.of(pair.moving.voxels)), own.pixel_mm))
        )
    for stage in pair.stages:
        moving, seen = windowed(cut.of(stage.voxels)), cut.of(stage.covered)
        tiles.append((stage.caption, _tile(blended(fixed, moving, seen), cut.pixel_mm)))
        tiles.append(("checkerboard", _tile(checkered(fixed, moving, seen, cut.pixel_mm), cut.pixel_mm)))
    return tiles


def _middle_cut(image: Image) -> Cut:
    return best_cut([image.voxels], [None], image.geometry)


def _tile(pixels: NDArray[np.uint8], pixel_mm: tuple[float, float]) -> Picture:
    from PIL import Image as Pictures

    size = tile_size(pixels.shape, pixel_mm, TILE_HEIGHT)
    return Pictures.fromarray(np.ascontiguousarray(pixels)).convert("RGB").resize(size, Pictures.Resampling.BICUBIC)


def _heading(pair: Pair) -> str:
    return f"{pair.moving_name} (blue) on {pair.fixed_name} (orange)"
