"""How far structures reach beyond their strokes: distances that can be told by hand, and by brute force."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from autofuse.dataset.types import IGNORE
from autofuse.fingerprint.strokes import STROKES_BELOW, measure_strokes

SPACING_MM = (5.0, 2.0, 1.0)


def nothing_drawn(shape: tuple[int, int, int] = (4, 20, 30)) -> NDArray[np.int16]:
    return np.full(shape, IGNORE, dtype=np.int16)


def test_reach_is_from_the_innermost_stroke_to_the_background_in_millimetres() -> None:
    label = nothing_drawn()
    label[1, 5, 10:13] = 1
    label[1, 5, 20] = 0
    label[1, 5, 4] = 0
    found = measure_strokes(label, SPACING_MM)
    assert found is not None
    assert found.reach_mm == pytest.approx(8.0)  # from x = 12 to x = 20; the other ends are nearer to x = 4
    assert found.gap_mm == 0.0


def test_gap_is_how_far_the_loneliest_piece_lies_from_the_next() -> None:
    label = nothing_drawn()
    label[0, 0, 0:3] = 1
    label[0, 0, 6] = 2
    label[2, 0, 6] = 1
    label[3, 19, 29] = 0
    found = measure_strokes(label, SPACING_MM)
    assert found is not None
    assert found.gap_mm == pytest.approx(10.0)  # two slices of 5 mm; the others lie 4 mm apart


def test_classes_that_touch_are_one_piece() -> None:
    label = nothing_drawn()
    label[0, 0, 0:3] = 1
    label[1, 1, 3] = 2
    label[3, 19, 29] = 0
    found = measure_strokes(label, SPACING_MM)
    assert found is not None
    assert found.gap_mm == 0.0


def test_large_pieces_lie_apart_as_brute_force_says() -> None:
    label = nothing_drawn((6, 40, 60))
    label[0, 2:38, 3] = 1
    label[0, 2, 3:50] = 1
    label[3, 10:30, 20:45] = 2
    label[5, 35, 55] = 0
    one, other = (np.argwhere(label == value) * np.asarray(SPACING_MM) for value in (1, 2))
    truth = float(cdist(one, other).min())
    found = measure_strokes(label, SPACING_MM)
    assert found is not None
    assert truth - 1e-3 <= found.gap_mm <= truth + 20.0  # a piece of 500 voxels is known by 100 of them


@pytest.mark.parametrize("drawn", [(0,), (1,), ()])
def test_strokes_of_one_kind_tell_nothing(drawn: tuple[int, ...]) -> None:
    label = nothing_drawn()
    for value in drawn:
        label[value, 5, 3:9] = value
    assert measure_strokes(label, SPACING_MM) is None


def test_outlines_with_holes_are_no_strokes() -> None:
    label = np.zeros((4, 20, 30), dtype=np.int16)
    label[1, 5:9, 5:9] = 1
    label[:, 10:] = IGNORE
    assert np.mean(label != IGNORE) > STROKES_BELOW
    assert measure_strokes(label, SPACING_MM) is None
