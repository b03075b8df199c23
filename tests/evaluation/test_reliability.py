"""Calibration from probabilities that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from autofuse.dataset.types import IGNORE, LabelClass, Labels
from autofuse.evaluation.reliability import BINS, OPEN_FROM, reliabilities, tally_case

CLASSES = Labels(classes=(LabelClass(name="liver", raw_values=(1,)),))
REGIONS = Labels(
    classes=(LabelClass(name="whole", raw_values=(1, 2)), LabelClass(name="core", raw_values=(2,))),
    region_values=(1, 2),
)


def test_error_is_the_mean_distance_from_the_diagonal() -> None:
    # Ten voxels at 0.9 of which six are the class, ten at 0.2 of which two are: |0.9 - 0.6| and |0.2 - 0.2|.
    liver = np.array([[[0.9] * 10 + [0.25] * 10]])
    truth = np.array([[[1] * 6 + [0] * 4 + [1] * 2 + [0] * 8]], np.int16)
    stack = np.stack([1 - liver, liver])
    (found,) = reliabilities(tally_case(lambda output: stack[output], truth, CLASSES), CLASSES)
    assert found.voxels == (0, 0, 10, 0, 0, 0, 0, 0, 0, 10)
    assert found.stated[9] == pytest.approx(0.9) and found.observed[9] == pytest.approx(0.6)
    assert found.stated[2] == pytest.approx(0.25) and found.observed[2] == pytest.approx(0.2)
    assert found.error == pytest.approx((10 * 0.3 + 10 * 0.05) / 20)


def test_background_that_nobody_doubts_does_not_count() -> None:
    liver = np.array([[[OPEN_FROM / 2] * 1000 + [1.0, 0.0]]])
    truth = np.array([[[0] * 1000 + [1, 1]]], np.int16)
    stack = np.stack([1 - liver, liver])
    (found,) = reliabilities(tally_case(lambda output: stack[output], truth, CLASSES), CLASSES)
    assert sum(found.voxels) == 2
    assert found.voxels[0] == 1 and found.voxels[BINS - 1] == 1
    assert found.error == pytest.approx(0.5)


def test_ignored_voxels_are_left_out_and_cases_add_up() -> None:
    liver = np.full((1, 1, 4), 0.5)
    truth = np.array([[[1, 0, IGNORE, IGNORE]]], np.int16)
    stack = np.stack([1 - liver, liver])
    tally = tally_case(lambda output: stack[output], truth, CLASSES)
    (found,) = reliabilities(tally + tally, CLASSES)
    assert sum(found.voxels) == 4 and found.error == 0.0


def test_regions_are_read_from_their_own_outputs() -> None:
    truth = np.array([[[0, 1, 2]]], np.int16)
    stack = np.array([[[[0.02, 1.0, 1.0]]], [[[0.02, 0.02, 1.0]]]])
    whole, core = reliabilities(tally_case(lambda output: stack[output], truth, REGIONS), REGIONS)
    assert (whole.name, core.name) == ("whole", "core")
    assert whole.error == pytest.approx(0.02 / 3) and core.error == pytest.approx(2 * 0.02 / 3)


def test_without_voxels_there_is_no_error() -> None:
    empty = np.zeros((1, 1, 3), np.int16)
    (found,) = reliabilities(tally_case(lambda output: np.zeros((1, 1, 3)), empty, CLASSES), CLASSES)
    assert found.error is None and set(found.stated) == {None}
