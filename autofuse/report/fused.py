"""Fused images as PNG: the images that were fused, the fused one, and the outline of a mask on it, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from autofuse.dataset.types import Labels
from autofuse.images.geometry import Geometry
from autofuse.report.overlays import Pictured, Tile, overlay, sheet_of_tiles
from autofuse.report.slices import Cut, best_cut, close_up

if TYPE_CHECKING:
    from PIL.Image import Image

FUSED = "fused"


@dataclass(frozen=True)
class FusedCase:
    """One case; all arrays (z, y, x) on one grid.

    Attributes:
        sources: (modality, image) in the order of the channels, None where the case lacks it.
        fused: the image that was made of them.
        mask: class indices to be outlined, such as what was segmented in the fused image; None for none.
        note: what to say about the case.
    """

    name: str
    sources: Sequence[tuple[str, NDArray[Any] | None]]
    fused: NDArray[Any]
    mask: NDArray[Any] | None
    geometry: Geometry
    note: str = ""


def fused_sheet(cases: Sequence[FusedCase], labels: Labels, title: str = "") -> bytes:
    """PNG with a row per case: every source, the fused image, the fused image with the mask's outline, and that near.

    Raises:
        ValueError: without cases, or if the arrays of a case differ in shape.
    """
    pictured = [
        Pictured(case.name, [image for _, image in case.sources], None, case.mask, case.geometry, case.note)
        for case in cases
    ]
    return sheet_of_tiles(
        [(shown, fused_tiles(case)) for shown, case in zip(pictured, cases, strict=True)], labels, title
    )


def fused_tiles(case: FusedCase) -> list[Tile]:
    """From left to right, all on the slice that shows most of the mask.

    Raises:
        ValueError: if the arrays differ in shape.
    """
    there = [(name, image) for name, image in case.sources if image is not None]
    shapes = {image.shape for _, image in there} | {case.fused.shape, case.geometry.shape}
    if case.mask is not None:
        shapes.add(case.mask.shape)
    if len(shapes) > 1:
        raise ValueError(f"the images of {case.name} have different shapes: {sorted(shapes)}")
    cut = best_cut([*(image for _, image in there), case.fused], [case.mask], case.geometry)
    tiles = [_tile(case, name, name, overlay(cut.of(image), None, None, cut.pixel_mm), cut) for name, image in there]
    tiles.append(_tile(case, FUSED, FUSED, overlay(cut.of(case.fused), None, None, cut.pixel_mm), cut))
    if case.mask is None:
        return tiles
    for words, place in (("mask", cut), ("close-up", close_up(cut, [case.mask]))):
        if place is not None:
            picture = overlay(place.of(case.fused), None, place.of(case.mask), place.pixel_mm, tinted=False)
            tiles.append(_tile(case, words, FUSED, picture, place))
    return tiles


def _tile(case: FusedCase, caption: str, modality: str, picture: Image, cut: Cut) -> Tile:
    return Tile(caption, modality, cut.axis, cut.position, case.geometry.shape[cut.axis], picture)
