"""Scores of one case: counts, regions, empty references, ignored voxels."""

from __future__ import annotations

import numpy as np
import pytest

from autofuse.dataset.types import IGNORE, LabelClass, Labels
from autofuse.evaluation.metrics import SPARSE_NOTE, score_case
from autofuse.evaluation.scoring import Scoring
from autofuse.foundation.errors import DataError

TWO = Labels(classes=(LabelClass(name="liver", raw_values=(1,)), LabelClass(name="tumour", raw_values=(2,))))
REGIONS = Labels(
    classes=(
        LabelClass(name="whole", raw_values=(1, 2, 4)),
        LabelClass(name="core", raw_values=(1, 4)),
        LabelClass(name="enhancing", raw_values=(4,)),
    ),
    region_values=(2, 1, 4),
)
SPACING = (2.0, 1.0, 0.5)


def line(*indices: int) -> np.ndarray:
    return np.array(indices, dtype=np.int16).reshape(1, 1, -1)


def test_counts_dice_and_volumes_by_hand() -> None:
    score = score_case("a", line(0, 1, 1, 1, 0, 2), line(0, 0, 1, 1, 1, 2), TWO, SPACING)
    liver, tumour = score.classes
    assert (liver.tp, liver.fp, liver.fn) == (2, 1, 1)
    assert liver.dice == pytest.approx(4 / 6)
    assert liver.volume_reference_ml == pytest.approx(3 * 1.0 / 1000)
    assert liver.volume_difference_relative == 0.0
    assert (tumour.dice, tumour.nsd, tumour.hd95_mm) == (1.0, 1.0, 0.0)
    assert score.mean_dice == pytest.approx((4 / 6 + 1) / 2)
    assert liver.hd95_mm == pytest.approx(0.5)


def test_rule_for_empty_references() -> None:
    absent = score_case("a", line(0, 0), line(0, 0), TWO, SPACING).classes[0]
    assert (absent.status, absent.dice, absent.nsd, absent.hd95_mm) == ("absent", None, None, None)
    false_positive = score_case("a", line(0, 0), line(0, 1), TWO, SPACING).classes[0]
    assert (false_positive.status, false_positive.dice, false_positive.nsd) == ("false_positive", 0.0, 0.0)
    assert false_positive.hd95_mm is None and false_positive.volume_difference_relative is None
    assert false_positive.note
    missed = score_case("a", line(0, 1), line(0, 0), TWO, SPACING).classes[0]
    assert (missed.status, missed.dice, missed.nsd, missed.hd95_mm) == ("missed", 0.0, 0.0, None)
    assert missed.volume_difference_relative == -1.0


def test_regions_are_unions_of_values() -> None:
    # Indices into (0, 1, 2, 4): 3 is the raw value 4.
    reference, prediction = line(0, 1, 2, 3, 0), line(0, 2, 2, 3, 3)
    whole, core, enhancing = score_case("a", reference, prediction, REGIONS, SPACING).classes
    assert (whole.tp, whole.fp, whole.fn) == (3, 1, 0)
    assert (core.tp, core.fp, core.fn) == (1, 1, 1)
    assert (enhancing.tp, enhancing.fp, enhancing.fn) == (1, 1, 0)


def test_ignored_voxels_change_nothing() -> None:
    reference = line(0, 1, 1, IGNORE, IGNORE, 2)
    scores = [score_case("a", reference, line(0, 1, 0, a, b, 2), TWO, SPACING) for a, b in ((0, 0), (1, 2), (2, 1))]
    assert scores[0] == scores[1] == scores[2]
    liver = scores[0].classes[0]
    assert (liver.tp, liver.fp, liver.fn) == (1, 0, 1)
    assert (liver.nsd, liver.hd95_mm, liver.note) == (None, None, SPARSE_NOTE)
    assert scores[0].labelled_fraction == pytest.approx(4 / 6)


def test_tolerance_may_differ_by_class() -> None:
    reference, prediction = np.zeros((1, 1, 12), dtype=np.int16), np.zeros((1, 1, 12), dtype=np.int16)
    reference[0, 0, 2], prediction[0, 0, 6] = 1, 1
    reference[0, 0, 8], prediction[0, 0, 11] = 2, 2
    tolerant = Scoring(tolerances_mm={"liver": 2.0})
    rows = score_case("a", reference, prediction, TWO, SPACING, scoring=tolerant).classes
    assert [row.nsd for row in rows] == [1.0, 0.0]


def test_order_of_voxels_does_not_matter() -> None:
    generator = np.random.default_rng(3)
    reference, prediction = (generator.integers(0, 3, (7, 8, 9)).astype(np.int16) for _ in range(2))
    flipped = score_case("a", reference[:, ::-1], prediction[:, ::-1], TWO, SPACING)
    straight = score_case("a", reference, prediction, TWO, SPACING)
    for one, other in zip(flipped.classes, straight.classes, strict=True):
        assert (one.dice, one.nsd, one.hd95_mm) == (other.dice, other.nsd, other.hd95_mm)


def test_shapes_and_indices_are_checked() -> None:
    with pytest.raises(DataError, match="different shapes"):
        score_case("a", line(0, 1), line(0, 1, 1), TWO, SPACING)
    with pytest.raises(DataError, match="class index"):
        score_case("a", line(0, 1), line(0, 3), TWO, SPACING)
