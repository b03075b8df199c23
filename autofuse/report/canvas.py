"""The ground that every picture is drawn on: sizes, colours, type."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from autofuse.report.colours import Colour

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

TILE_HEIGHT = 300
"""Pixels; a tile's width follows from the shape of the slice in millimetres."""
WIDEST_TILE = 460

GAP, MARGIN, CAPTION, TITLE = 8, 14, 22, 34
GROUND: Colour = (18, 20, 24)
TEXT: Colour = (232, 234, 238)
FAINT: Colour = (150, 156, 166)


def canvas(width: int, height: int) -> tuple[Image, ImageDraw]:
    """An empty picture, and what draws on it."""
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (width, height), GROUND)
    return picture, ImageDraw.Draw(picture)


def font(size: int) -> Any:
    """Letters that are ``size`` pixels high; they come with Pillow."""
    from PIL import ImageFont

    return ImageFont.load_default(size)


def text_width(text: str, size: int) -> int:
    """Pixels that ``text`` takes, rounded up."""
    length: float = font(size).getlength(text)
    return 1 + int(length)


def tile_size(shape: tuple[int, ...], pixel_mm: tuple[float, float], height: int) -> tuple[int, int]:
    """Width and height in pixels, in the proportions of the slice in millimetres."""
    tall, wide = shape[0] * pixel_mm[0], shape[1] * pixel_mm[1]
    scale = min(height / tall, WIDEST_TILE / wide)
    return max(8, round(wide * scale)), max(8, round(tall * scale))


def png(picture: Image) -> bytes:
    """The picture as a PNG file's content."""
    stream = io.BytesIO()
    picture.save(stream, "PNG", compress_level=7)
    return stream.getvalue()
