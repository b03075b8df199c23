"""Pictures small enough to stand in a page: WebP, exact where colours are flat, compressed where voxels are shown."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from autofuse.report.page import Picture

if TYPE_CHECKING:
    from PIL.Image import Image

QUALITY = 86
WIDEST = 1600
"""Pixels; wider pictures are scaled down."""


def embedded(picture: Image, alt: str, caption: str = "", *, flat: bool = False) -> Picture:
    """The picture for a page.

    Args:
        flat: whether it is drawn in a few flat colours, and so can be kept exactly.
    """
    picture = _fitting(picture.convert("RGB"))
    stream = io.BytesIO()
    if flat:
        picture.save(stream, "WEBP", lossless=True, method=4)
    else:
        picture.save(stream, "WEBP", quality=QUALITY, method=4)
    return Picture(stream.getvalue(), "image/webp", picture.width, picture.height, alt, caption)


def embedded_png(content: bytes, alt: str, caption: str = "", *, flat: bool = True) -> Picture:
    """A PNG file's content for a page.

    Raises:
        OSError: if it is no picture.
    """
    from PIL import Image

    with Image.open(io.BytesIO(content)) as picture:
        return embedded(picture, alt, caption, flat=flat)


def _fitting(picture: Image) -> Image:
    from PIL.Image import Resampling

    if picture.width <= WIDEST:
        return picture
    return picture.resize((WIDEST, round(picture.height * WIDEST / picture.width)), Resampling.LANCZOS)
