"""Cases in a report: slices with what is annotated, and predictions with what they are judged by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from autofuse.dataset.types import IGNORE, Labels
from autofuse.report.canvas import TILE_HEIGHT
from autofuse.report.colours import Colour
from autofuse.report.embedded import embedded
from autofuse.report.fused import FusedCase, fused_tiles
from autofuse.report.overlays import Pictured, Tile, case_tiles, legend_entries
from autofuse.report.page import Block, Pictures, Section, Words
from autofuse.report.slices import best_cut, close_up
from autofuse.report.strokes import BACKGROUND, stroked

MOST_IMAGES = 6
"""Modalities of a case that are shown."""


@dataclass(frozen=True)
class PredictedCase:
    """A held-out case that stands for others: ``rank`` says for which, such as "worst"."""

    rank: str
    case: Pictured


def cases_section(cases: Sequence[PredictedCase], labels: Labels, modalities: Sequence[str], about: str) -> Section:
    """The cases with their references and predictions; ``about`` says whose predictions they are."""
    blocks: list[Block] = [Words(about)]
    blocks += [
        case_pictures(item.case, labels, modalities, f"{item.rank.capitalize()}: {item.case.name}") for item in cases
    ]
    return Section("cases", "Best, median and worst case", tuple(blocks))


def case_pictures(case: Pictured, labels: Labels, modalities: Sequence[str], heading: str) -> Pictures:
    """The case's modalities, and its masks over the first of them; strokes where its reference is sparse."""
    sparse = case.prediction is None and case.reference is not None and bool((case.reference == IGNORE).any())
    tiles = _stroked_tiles(case, modalities) if sparse else case_tiles(case, modalities, MOST_IMAGES)
    pictures = [
        embedded(tile.picture, f"{case.name}: {_said(tile)}. {case.note}".rstrip(), _said(tile)) for tile in tiles
    ]
    note = case.note
    there = sum(image is not None for image in case.images)
    if there > MOST_IMAGES:
        note = f"{note} {MOST_IMAGES} of {there} modalities are shown.".lstrip()
    entries = legend_entries([case], labels)
    if sparse and case.reference is not None and bool((case.reference == 0).any()):
        entries = [("background", BACKGROUND), *entries]
    legend = tuple((name, _web(colour)) for name, colour in entries)
    return Pictures(heading, note, tuple(pictures), legend, slices=True)


def fused_section(cases: Sequence[FusedCase], labels: Labels, about: str) -> Section:
    """Sources, fused image and mask of every case side by side; ``about`` says who made them."""
    blocks: list[Block] = [Words(about)]
    for case in cases:
        drawn = Pictured(case.name, [image for _, image in case.sources], None, case.mask, case.geometry, case.note)
        pictures = [
            embedded(tile.picture, f"{case.name}: {_said(tile)}. {case.note}".rstrip(), f"{tile.caption}; {tile.place}")
            for tile in fused_tiles(case)
        ]
        legend = tuple((name, _web(colour)) for name, colour in legend_entries([drawn], labels))
        blocks.append(Pictures(case.name, case.note, tuple(pictures), legend, slices=True))
    return Section("fused", "Fused images", tuple(blocks))


def _stroked_tiles(case: Pictured, modalities: Sequence[str]) -> list[Tile]:
    """Modalities without masks, then the strokes over the first of them."""
    assert case.reference is not None
    drawn = np.maximum(case.reference, 0)
    # The same cut as for the modalities, which is chosen by what is drawn.
    plain = [
        tile
        for tile in case_tiles(replace(case, reference=drawn), modalities, MOST_IMAGES)
        if tile.caption == tile.modality
    ]
    cut = best_cut(case.images, (drawn, None), case.geometry)
    near = close_up(cut, (drawn,))
    ground = next(image for image in case.images if image is not None)
    first = plain[0]
    for words, place in (("strokes", cut), ("strokes, close-up", near)):
        if place is not None:
            picture = stroked(place.of(ground), place.of(case.reference), place.pixel_mm, TILE_HEIGHT)
            plain.append(replace(first, caption=words, picture=picture))
    return plain


def _said(tile: Tile) -> str:
    """What a tile shows, where."""
    how = {"reference and prediction": "tint: reference, line: prediction"}.get(tile.caption, tile.caption)
    return tile.place if tile.caption == tile.modality else f"{how}; {tile.place}"


def _web(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
