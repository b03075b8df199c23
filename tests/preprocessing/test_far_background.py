"""Background that nobody marked: out of every stroke's reach only, no more of it than was marked, only if planned."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from prepared_cases import raw_case, tiny_plan
from scipy.ndimage import distance_transform_edt

from autofuse.dataset.types import IGNORE
from autofuse.fingerprint.strokes import measure_strokes
from autofuse.preprocessing.far import with_far_background
from autofuse.preprocessing.prepare import prepare_case

SPACING_MM = (4.0, 1.0, 1.5)
CLASSES = 2


def drawn() -> NDArray[np.int16]:
    """Two structures with a stroke each on slices 2 to 6, and a ring of background around them."""
    label = np.full((10, 48, 40), IGNORE, dtype=np.int16)
    label[2:7, 20, 18:22] = 1
    label[2:7, 24, 18:22] = 2
    label[2:7, 14:30, 14] = 0
    label[2:7, 14:30, 26] = 0
    return label


def test_only_what_no_structure_reaches_becomes_background() -> None:
    label = drawn()
    marked = with_far_background(label, SPACING_MM, CLASSES, "a")
    new = marked != label
    assert new.any()
    assert set(np.unique(label[new])) == {IGNORE}
    assert set(np.unique(marked[new])) == {0}
    strokes = measure_strokes(label, SPACING_MM)
    assert strokes is not None
    away = distance_transform_edt((label != 1) & (label != 2), sampling=SPACING_MM)
    assert away[new].min() >= strokes.reach_mm


def test_no_more_than_was_marked_and_spread_over_the_image() -> None:
    label = drawn()
    new = with_far_background(label, SPACING_MM, CLASSES, "a") != label
    assert np.count_nonzero(new) == np.count_nonzero(label == 0)
    places = np.argwhere(new)
    assert np.ptp(places[:, 1]) > 40
    assert np.ptp(places[:, 2]) > 34


def test_slices_where_nobody_looked_stay_open() -> None:
    new = with_far_background(drawn(), SPACING_MM, CLASSES, "a") != drawn()
    assert not new[:2].any()
    assert not new[7:].any()


def test_the_same_case_gives_the_same_voxels_and_another_others() -> None:
    first = with_far_background(drawn(), SPACING_MM, CLASSES, "a")
    assert np.array_equal(first, with_far_background(drawn(), SPACING_MM, CLASSES, "a"))
    assert not np.array_equal(first, with_far_background(drawn(), SPACING_MM, CLASSES, "b"))


@pytest.mark.parametrize("lacking", [0, 1, 2])
def test_a_case_without_strokes_of_a_class_stays_as_it_is(lacking: int) -> None:
    label = drawn()
    label[label == lacking] = IGNORE
    assert np.array_equal(with_far_background(label, SPACING_MM, CLASSES, "a"), label)


def test_preparing_marks_it_only_where_the_plan_says_so() -> None:
    raw = raw_case(scribbled=True, spacing=(1.0, 1.0, 1.0), shape=(30, 60, 60))
    assert raw.label is not None
    raw.label[raw.label == 0] = IGNORE
    raw.label[::3, 20:40, 20] = 0
    raw.label[::3, 20:40, 40] = 0
    plan = tiny_plan()
    planned = plan.model_copy(update={"far_background": True})
    plain, marked = (prepare_case(raw, item, item.configurations[0]).label for item in (plan, planned))
    assert plain is not None
    assert marked is not None
    assert np.array_equal(plain, raw.label)
    assert np.count_nonzero(marked == 0) == 2 * np.count_nonzero(plain == 0)
    assert np.array_equal(marked[plain != IGNORE], plain[plain != IGNORE])
    here, there = (item.preparation_digest(item.configurations[0]) for item in (plan, planned))
    assert here != there
