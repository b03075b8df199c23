"""Fused images beside their sources, with the outline of a mask."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as PilImage

from autofuse.dataset.types import LabelClass, Labels
from autofuse.images.geometry import Geometry
from autofuse.report.colours import class_colour
from autofuse.report.fused import FusedCase, fused_sheet, fused_tiles

LABELS = Labels(classes=(LabelClass(name="tumour", raw_values=(1,)),))
SHAPE = (6, 60, 60)


def case(**changes: object) -> FusedCase:
    """Two sources of which each shows a half, their mean, and a small mask on slice 4."""
    first, second = np.zeros(SHAPE, np.float32), np.zeros(SHAPE, np.float32)
    first[:, :, :40], second[:, :, 20:] = 100, 60
    mask = np.zeros(SHAPE, np.int16)
    mask[4, 24:34, 24:34] = 1
    made = FusedCase(
        "patient 1", (("T1", first), ("T2", second), ("FLAIR", None)), (first + second) / 2, mask,
        Geometry(SHAPE, (3.0, 1.0, 1.0)),
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


def test_sources_fused_image_and_outline_stand_side_by_side() -> None:
    tiles = fused_tiles(case())
    assert [tile.caption for tile in tiles] == ["T1", "T2", "fused", "mask", "close-up"]
    assert {tile.position for tile in tiles} == {4}
    assert tiles[3].place == "fused, slice 5 of 6 along z"
    assert not np.array_equal(np.asarray(tiles[2].picture), np.asarray(tiles[0].picture))


def test_the_mask_is_an_outline_not_a_tint() -> None:
    fused, outlined = (np.asarray(tile.picture).astype(int) for tile in fused_tiles(case())[2:4])
    changed = np.abs(outlined - fused).sum(axis=-1) > 30
    assert changed.any()
    rows, columns = np.nonzero(changed)
    middle = (int(rows.mean()), int(columns.mean()))
    assert not changed[middle], "inside of the mask the fused image is as it is"
    assert np.abs(outlined - np.array(class_colour(1))).sum(axis=-1).min() < 12


def test_without_a_mask_only_images() -> None:
    assert [tile.caption for tile in fused_tiles(case(mask=None))] == ["T1", "T2", "fused"]


def test_a_sheet_has_a_row_per_case() -> None:
    one, two = (fused_sheet([case()] * count, LABELS, "fused") for count in (1, 2))
    heights = [PilImage.open(io.BytesIO(content)).height for content in (one, two)]
    assert heights[1] > 1.7 * heights[0]
    with pytest.raises(ValueError, match="one case"):
        fused_sheet([], LABELS)


def test_images_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="patient 1 have different shapes"):
        fused_tiles(case(fused=np.zeros((6, 60, 61), np.float32)))
