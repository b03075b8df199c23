"""Pictures of images laid over each other, and of which images and annotations there are."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image as PilImage

from autofuse.fingerprint.types import GridFacts
from autofuse.images import Geometry, Image
from autofuse.report.blend import FIXED, MOVING, Pair, Stage, blend_sheet, blended, checkered
from autofuse.report.colours import class_colour
from autofuse.report.matrices import MOST_ROWS, Cell, Column, annotation_picture, presence_picture, table_picture
from autofuse.testing.fingerprints import MADE_UP_DATASETS, example_fingerprint


def opened(content: bytes) -> np.ndarray:
    """The pixels of a PNG."""
    return np.asarray(PilImage.open(io.BytesIO(content)).convert("RGB"))


def area(pixels: np.ndarray, colour: tuple[int, int, int]) -> int:
    """Pixels of exactly this colour."""
    return int((pixels == np.array(colour)).all(axis=-1).sum())


def test_each_image_has_its_colour_and_together_they_are_light() -> None:
    fixed = np.array([[255, 0, 255, 0]], np.uint8)
    moving = np.array([[0, 255, 255, 255]], np.uint8)
    seen = np.array([[True, True, True, False]])
    one, other, both, unseen = blended(fixed, moving, seen)[0].astype(int)
    np.testing.assert_allclose(one, 0.75 * np.array(FIXED), atol=1)
    np.testing.assert_allclose(other, 0.75 * np.array(MOVING), atol=1)
    assert both.min() > 200
    assert not unseen.any()


def test_squares_alternate_and_are_dark_where_nothing_is_seen() -> None:
    fixed, moving = np.full((64, 32), 200, np.uint8), np.full((64, 32), 90, np.uint8)
    seen = np.ones((64, 32), bool)
    seen[32:] = False
    pixels = checkered(fixed, moving, seen, (1.0, 2.0))[..., 0]
    assert pixels[0, 0] == 200 and pixels[0, 4] == 90 and pixels[8, 0] == 90 and pixels[8, 4] == 200
    assert set(np.unique(pixels[32:])) == {0, 200}


def test_a_row_shows_what_is_stored_and_every_stage() -> None:
    shape = (6, 40, 40)
    volume = np.zeros(shape, np.float32)
    volume[:, 10:30, 10:30] = 100
    fixed = Image(volume, Geometry(shape, (3.0, 1.0, 1.0)))
    stage = Stage("by their headers", volume, np.ones(shape, bool))
    plain = opened(blend_sheet("x", [Pair("T1", "T2", fixed, None, (stage,))]))
    longer = opened(blend_sheet("x", [Pair("T1", "T2", fixed, fixed, (stage, stage))]))
    assert longer.shape[1] > plain.shape[1] + 3 * 200
    two = opened(blend_sheet("x", [Pair("T1", "T2", fixed, None, (stage,))] * 2))
    assert two.shape[0] > 1.7 * plain.shape[0]
    with pytest.raises(ValueError, match="two images"):
        blend_sheet("x", [])


def test_presence_is_drawn_as_far_as_it_goes() -> None:
    made_up = next(item for item in MADE_UP_DATASETS if item.name == "missing modality")
    fingerprint, _ = example_fingerprint(made_up)
    whole = area(opened(presence_picture(fingerprint)), class_colour(2))
    half = GridFacts(shape=(10, 10, 10), spacing_mm=(4.0, 4.0, 4.0), same=False, overlap=0.5)
    cases = tuple(case.model_copy(update={"grids": (half, half)}) for case in fingerprint.cases)
    covered = area(opened(presence_picture(fingerprint.model_copy(update={"cases": cases}))), class_colour(2))
    assert 0.4 * whole < covered < 0.6 * whole


def test_annotation_tells_kinds_and_classes_apart() -> None:
    made_up = next(item for item in MADE_UP_DATASETS if item.name == "few labels")
    fingerprint, _ = example_fingerprint(made_up)
    pixels = opened(annotation_picture(fingerprint))
    dense, first, second = (area(pixels, class_colour(index)) for index in (3, 1, 2))
    assert dense > 1.5 * first > 0
    assert abs(first - second) < 0.1 * first
    labelled = sum(case.annotation == "dense" for case in fingerprint.cases)
    assert first == pytest.approx(labelled * 22 * 81, rel=0.3)


def test_many_cases_stay_one_picture() -> None:
    rows = [
        (f"case {number} with a name that is longer than any column {'x' * 60}", [Cell((1, 2, 3))])
        for number in range(900)
    ]
    pixels = opened(table_picture("x", [Column("T1")], rows))
    assert pixels.shape[0] < 2000
    assert area(pixels, (1, 2, 3)) > MOST_ROWS * 60
    few = opened(table_picture("x", [Column("T1")], rows[:3]))
    assert few.shape[1] < 500
