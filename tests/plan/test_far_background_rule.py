"""What lies out of every stroke's reach is taught as background only where strokes lie together."""

from __future__ import annotations

from typing import Any

import pytest
from plan_examples import GIB8, case_of, fingerprint_of, labels_of

from autofuse.plan.story import tell
from autofuse_planners.default import DefaultPlanner
from autofuse_planners.far_background import choose_far_background
from autofuse_planners.thresholds import Thresholds

SHAPE, SPACING_MM = (60, 80, 80), (1.0, 1.0, 1.0)


def stroked(number: int, reach_mm: float | None = 30.0, gap_mm: float | None = 12.0) -> Any:
    return case_of(
        number,
        SHAPE,
        SPACING_MM,
        annotation="sparse",
        labelled_fraction=0.01,
        stroke_reach_mm=reach_mm,
        stroke_gap_mm=gap_mm,
    )


def test_strokes_that_lie_together_teach_it() -> None:
    chosen, (decision,) = choose_far_background(fingerprint_of([stroked(i) for i in range(20)]), Thresholds())
    assert chosen
    assert decision.chosen == "taught"
    assert decision.evidence == {
        "cases_with_strokes": 20,
        "where_strokes_lie_together": 20,
        "median_reach_mm": 30.0,
        "largest_gap_mm": 12.0,
    }


@pytest.mark.parametrize(("lonely", "chosen"), [(1, True), (2, False)])
def test_a_lonely_stroke_in_a_case_of_twenty_is_borne(lonely: int, chosen: bool) -> None:
    cases = [stroked(i, gap_mm=31.0 if i < lonely else 12.0) for i in range(20)]
    assert choose_far_background(fingerprint_of(cases), Thresholds())[0] == chosen


def test_without_strokes_of_the_background_it_stays_open() -> None:
    chosen, (decision,) = choose_far_background(fingerprint_of([stroked(0, None, None)]), Thresholds())
    assert not chosen
    assert decision.chosen == "left open"


def test_dense_labels_leave_nothing_to_decide() -> None:
    assert choose_far_background(fingerprint_of([case_of(0, SHAPE, SPACING_MM)]), Thresholds()) == (False, ())


def test_it_can_be_forbidden() -> None:
    fingerprint = fingerprint_of([stroked(0)])
    assert not choose_far_background(fingerprint, Thresholds(strokes_together=1.1))[0]


def test_the_plan_says_it_in_words() -> None:
    fingerprint = fingerprint_of([stroked(i) for i in range(6)])
    plan = DefaultPlanner().plan(fingerprint, labels_of("organ"), GIB8)
    assert plan.far_background
    assert any("out of reach of every stroke" in paragraph for paragraph in tell(plan, fingerprint))
