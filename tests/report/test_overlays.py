"""Pictures: the right slice, the right way up, in the right proportions, with a legend that fits its colours."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image as PilImage

from autofuse.dataset.types import IGNORE, LabelClass, Labels
from autofuse.images.geometry import Geometry
from autofuse.report.colours import class_colour
from autofuse.report.overlays import Pictured, case_picture, overlay, sheet
from autofuse.report.slices import best_cut, close_up, richest_slice, windowed

LABELS = Labels(
    classes=tuple(LabelClass(name=name, raw_values=(i,)) for i, name in enumerate(("liver", "tumour"), start=1))
)


def marked(shape: tuple[int, int, int], direction: np.ndarray, corner: tuple[float, float, float]) -> np.ndarray:
    """A volume whose voxel nearest to the world corner (signs of x, y, z) is the brightest."""
    index = np.indices(shape).reshape(3, -1).astype(float)
    world = direction @ (index - (np.array(shape)[:, None] - 1) / 2)
    nearest = (world * np.array(corner)[:, None]).sum(0)
    return (nearest - nearest.min() + 1).reshape(shape).astype(np.float32)


@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, -1), (1, -1, -1)])
@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (2, 1, 0)])
def test_front_is_up_and_the_patients_left_is_right(signs: tuple[int, ...], order: tuple[int, ...]) -> None:
    # Columns of the direction are where the array axes run; plain z, y, x, permuted and flipped.
    direction = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]], dtype=float)[:, order] * np.array(signs)
    spacing = [1.0, 1.0, 1.0]
    spacing[order.index(0)] = 3.0  # axial slices, wherever the axis lies
    shape = (6, 7, 8)
    geometry = Geometry(shape, tuple(spacing), direction=tuple(map(tuple, direction)))  # type: ignore[arg-type]
    # Bright towards left (+x in LPS) and front (-y): the upper right corner.
    volume = marked(shape, direction, (1.0, -1.0, 0.0))
    cut = best_cut([volume], [None], geometry)
    plane = cut.whole(volume)
    assert cut.axis == order.index(0)
    assert np.unravel_index(plane.argmax(), plane.shape) == (0, plane.shape[1] - 1)


def test_a_coronal_view_has_the_head_up() -> None:
    direction = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]], dtype=float)
    geometry = Geometry((6, 4, 8), (1.0, 5.0, 1.0))
    plane = best_cut([np.ones(geometry.shape)], [None], geometry).whole(marked((6, 4, 8), direction, (0.1, 0.0, 1.0)))
    assert np.unravel_index(plane.argmax(), plane.shape) == (0, 7)


def test_the_slice_shows_the_small_class_too() -> None:
    mask = np.zeros((9, 20, 20), dtype=np.int16)
    mask[1:8, 2:18, 2:18] = 1
    mask[6, 5:8, 5:8] = 2
    assert richest_slice(mask, 0) == 6
    assert best_cut([np.ones(mask.shape)], [None, mask], Geometry(mask.shape, (3.0, 1.0, 1.0))).position == 6


def test_proportions_are_those_in_millimetres() -> None:
    plane = np.ones((10, 40))
    tall = overlay(plane, None, None, (4.0, 1.0), height=200)
    assert tall.size == (200, 200)


def test_reference_is_tinted_and_prediction_outlined() -> None:
    plane = np.full((40, 40), 100.0)
    reference, prediction = np.zeros((40, 40), dtype=np.int16), np.zeros((40, 40), dtype=np.int16)
    reference[10:30, 5:20], prediction[10:30, 15:35] = 1, 2
    pixels = np.asarray(overlay(plane, reference, prediction, (1.0, 1.0), height=400)).astype(int)
    grey, liver = pixels[5, 5], pixels[200, 100]
    assert len(set(grey)) == 1
    np.testing.assert_allclose(liver, 0.58 * grey + 0.42 * np.array(class_colour(1)), atol=2)
    assert np.abs(pixels[200, 330:350] - np.array(class_colour(2))).sum(-1).min() < 12
    assert (pixels[200, 250] == grey).all(), "inside of a prediction stays as it is"


def test_ignored_voxels_are_not_drawn() -> None:
    reference = np.full((1, 12, 12), IGNORE, dtype=np.int16)
    picture = case_picture(Pictured("a", [np.ones((1, 12, 12))], reference, None, Geometry((1, 12, 12))), LABELS)
    assert (np.asarray(PilImage.open(io.BytesIO(picture))).std(axis=2) < 8).all(), "nothing but greys"


def test_a_close_up_only_where_masks_are_small() -> None:
    small, large = np.zeros((1, 60, 60), dtype=np.int16), np.ones((1, 60, 60), dtype=np.int16)
    small[0, 30:36, 20:25] = 1
    geometry, image = Geometry((1, 60, 60)), np.ones((1, 60, 60))
    near = close_up(best_cut([image], [small], geometry), [small])
    assert near is not None and near.of(small).sum() == small.sum() and near.of(small).shape[0] < 20
    assert close_up(best_cut([image], [large], geometry), [large]) is None


def test_a_sheet_has_a_row_per_case_and_stays_small() -> None:
    generator = np.random.default_rng(0)
    geometry = Geometry((5, 64, 48), (4.0, 1.0, 1.0))
    mask = np.zeros(geometry.shape, dtype=np.int16)
    mask[2, 20:40, 10:30], mask[2, 25:30, 15:20] = 1, 2
    images = [generator.normal(100, 5, geometry.shape) for _ in range(2)]
    one = Pictured("case 1", images, mask, np.roll(mask, 2, 1), geometry, "Dice 0.90")
    heights = []
    for count in (1, 2, 3):
        png = sheet([one] * count, LABELS, ("T1", "T2"), title="phantom")
        picture = PilImage.open(io.BytesIO(png))
        assert picture.format == "PNG" and len(png) < 400_000 * count
        heights.append(picture.height)
    assert heights[2] - heights[1] == heights[1] - heights[0] > 200
    colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 24)}  # type: ignore[union-attr]
    assert {class_colour(1), class_colour(2)} <= colours


def test_missing_images_and_masks_are_no_obstacle() -> None:
    geometry = Geometry((3, 8, 8))
    image = np.zeros(geometry.shape)
    assert case_picture(Pictured("a", [None, image], None, None, geometry), LABELS).startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="at least one"):
        sheet([], LABELS)


def test_window_spans_the_intensities() -> None:
    plane = np.zeros((20, 20))
    plane[5:15, 5:15] = np.linspace(100, 200, 100).reshape(10, 10)
    grey = windowed(plane)
    assert grey[0, 0] == 0 and grey.max() == 255
    assert windowed(np.zeros((4, 4))).max() == 0


def test_colours_differ() -> None:
    colours = [class_colour(index) for index in range(1, 25)]
    assert len(set(colours)) == 24
