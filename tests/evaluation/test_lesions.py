"""Lesions on squared paper: told apart, matched, counted; and the same numbers by a slow and plain program."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from autofuse.dataset.types import IGNORE, LabelClass, Labels
from autofuse.evaluation.lesions import merged_lesions
from autofuse.evaluation.metrics import SPARSE_NOTE, score_case
from autofuse.evaluation.scoring import LESION_RULES, LesionRule, Scoring
from autofuse.evaluation.types import ClassScore

LABELS = Labels(classes=(LabelClass(name="lesion", raw_values=(1,)),))
PLAIN = LESION_RULES["plain"]
WIDE = 24
"""Voxels in a row of paper; with 1 mm voxels its diagonal is that of 1 x 1 x 24 mm."""
DIAGONAL_MM = float(np.sqrt(24**2 + 2))


def row(*runs: tuple[int, int]) -> np.ndarray:
    """A line of voxels with lesions from ``start`` to ``stop``, the latter outside."""
    line = np.zeros((1, 1, WIDE), dtype=np.int16)
    for start, stop in runs:
        line[0, 0, start:stop] = 1
    return line


def scored(
    reference: np.ndarray, prediction: np.ndarray, rule: LesionRule = PLAIN, voxel_mm: float = 1.0
) -> ClassScore:
    case = score_case("a", reference, prediction, LABELS, (voxel_mm,) * 3, scoring=Scoring(lesions=rule))
    return case.classes[0]


def detected(score: ClassScore) -> tuple[int | None, int | None, int | None]:
    return score.lesion_tp, score.lesion_fn, score.lesion_fp


def test_two_lesions_one_found() -> None:
    score = scored(row((2, 6), (12, 16)), row((3, 7)))
    assert detected(score) == (1, 1, 0)
    found, missed = score.lesions
    # 3 of 4 voxels shared; in one dimension the surface of a run is its two ends, each a voxel off.
    assert (found.kind, found.dice, found.hd95_mm) == ("found", 2 * 3 / 8, 1.0)
    assert (missed.kind, missed.dice, missed.hd95_mm) == ("missed", 0.0, pytest.approx(DIAGONAL_MM))
    assert (found.centre, missed.centre) == ((0, 0, 3), (0, 0, 13))
    assert score.lesion_dice == pytest.approx((0.75 + 0) / 2)
    assert score.lesion_hd95_mm == pytest.approx((1 + DIAGONAL_MM) / 2)
    assert score.lesion_f1 == pytest.approx(2 / 3)
    assert score.dice == pytest.approx(2 * 3 / 12)


def test_a_false_positive_costs_a_lesion() -> None:
    score = scored(row((2, 6)), row((2, 6), (12, 13)))
    assert detected(score) == (1, 0, 1)
    assert score.lesion_dice == 0.5
    assert score.lesion_hd95_mm == pytest.approx(DIAGONAL_MM / 2)
    assert score.lesions[1].kind == "false_positive"
    assert score.lesions[1].volume_prediction_ml == pytest.approx(0.001)


def test_all_components_that_touch_belong_to_the_lesion() -> None:
    """Two pieces in one lesion are one find, not a find and a false positive."""
    score = scored(row((2, 10)), row((2, 5), (7, 10)))
    assert detected(score) == (1, 0, 0)
    assert score.lesion_dice == pytest.approx(2 * 6 / (8 + 6))


def test_one_component_may_match_several_lesions() -> None:
    """Each lesion is compared with the whole component: 4 shared of 4 + 14."""
    score = scored(row((2, 6), (12, 16)), row((2, 16)))
    assert detected(score) == (2, 0, 0)
    assert score.lesion_dice == pytest.approx(2 * 4 / (4 + 14))


def test_dilation_makes_neighbours_one() -> None:
    """Three empty voxels apart: after one step from each side one is left between, after two steps they meet."""
    reference, prediction = row((2, 4), (7, 9)), row((2, 4))
    for steps in (0, 1):
        assert detected(scored(reference, prediction, LesionRule(dilation=steps))) == (1, 1, 0)
    merged = scored(reference, prediction, LesionRule(dilation=2))
    assert (detected(merged), len(merged.lesions)) == ((1, 0, 0), 1)
    assert merged.lesion_dice == pytest.approx(2 * 2 / (4 + 2))
    assert merged.lesions[0].volume_reference_ml == pytest.approx(0.004)


def test_a_component_that_touches_only_the_dilation_is_a_find_with_dice_zero() -> None:
    """Ends 2 and 5 against 8 and 9: 6 and 3 mm there, 3 and 4 mm back; 95 % of the way from 3 to 6 is the larger."""
    score = scored(row((2, 6)), row((8, 10)), LesionRule(dilation=3))
    assert detected(score) == (1, 0, 0)
    assert (score.lesion_dice, score.lesion_hd95_mm) == (0.0, pytest.approx(3 + 0.95 * 3))


def test_small_lesions_count_for_nothing_found_or_not() -> None:
    """Two voxels of 1 mm³ are up to 2 mm³: neither the find nor the miss counts, and the find is no false positive."""
    rule = LesionRule(volume_mm3=2.0)
    score = scored(row((2, 4), (8, 12), (18, 20)), row((2, 4), (8, 12)), rule)
    assert detected(score) == (1, 0, 0)
    assert [item.counts for item in score.lesions] == [False, True, False]
    assert (score.lesion_dice, score.lesion_hd95_mm, score.lesion_f1) == (1.0, 0.0, 1.0)
    assert detected(scored(row((2, 4)), row((2, 4)), rule, voxel_mm=1.1)) == (1, 0, 0)


def test_only_small_lesions_leave_nothing_to_do_wrong() -> None:
    score = scored(row((2, 4)), row(), LesionRule(volume_mm3=2.0))
    assert (score.status, score.lesion_dice, score.lesion_hd95_mm, score.lesion_f1) == ("missed", 1.0, 0.0, None)


def test_empty_truth_and_empty_prediction() -> None:
    both = scored(row(), row())
    assert (both.lesion_dice, both.lesion_hd95_mm, both.lesion_f1, detected(both)) == (1.0, 0.0, None, (0, 0, 0))
    alarm = scored(row(), row((2, 4), (8, 9)))
    assert (alarm.lesion_dice, alarm.lesion_f1, detected(alarm)) == (0.0, 0.0, (0, 0, 2))
    missed = scored(row((2, 4), (8, 9)), row(), LESION_RULES["brats-met"].model_copy(update={"volume_mm3": 0.0}))
    assert (missed.lesion_dice, missed.lesion_hd95_mm, detected(missed)) == (0.0, 374.0, (0, 2, 0))


def test_corners_join_lesions_and_dilation_leaves_corners_out() -> None:
    """Components have 26 neighbours; a step of dilation reaches 18 of them, no corners."""
    two = np.zeros((3, 3, 3), dtype=bool)
    two[0, 0, 0] = two[1, 1, 1] = True
    assert merged_lesions(two, 0).max() == 1
    point, corner = np.zeros((5, 5, 5), dtype=np.int16), np.zeros((5, 5, 5), dtype=np.int16)
    point[1, 1, 1] = corner[2, 2, 2] = 1
    assert detected(scored(point, corner, LesionRule(dilation=1))) == (0, 1, 1)
    corner[2, 2, 2], corner[2, 2, 1] = 0, 1
    assert detected(scored(point, corner, LesionRule(dilation=1))) == (1, 0, 0)


def test_sparse_truth_has_no_lesions_to_count() -> None:
    reference = row((2, 6))
    reference[0, 0, 20:] = IGNORE
    score = scored(reference, row((2, 6)))
    assert (score.lesion_dice, score.lesion_tp, score.note) == (None, None, SPARSE_NOTE)


def plain_program(reference: np.ndarray, prediction: np.ndarray, rule: LesionRule) -> tuple[float, int, int, int]:
    """Dice, found, missed, made up by the published steps, each on the whole volume."""
    all_26, faces_and_edges = np.ones((3, 3, 3)), ndimage.generate_binary_structure(3, 2)

    def grown(mask: np.ndarray) -> np.ndarray:
        for _ in range(rule.dilation):
            mask = ndimage.binary_dilation(mask, faces_and_edges)
        return mask

    groups, count = ndimage.label(grown(reference), all_26)
    pieces, number = ndimage.label(prediction, all_26)
    dices, found, missed, used = [], 0, 0, set[int]()
    for group in range(1, count + 1):
        own = reference & (groups == group)
        touched = set(np.unique(pieces[grown(own)]).tolist()) - {0}
        used |= touched
        theirs = np.isin(pieces, list(touched))
        if own.sum() > rule.volume_mm3:
            dices.append(2 * (own & theirs).sum() / (own.sum() + theirs.sum()))
            found, missed = found + bool(touched), missed + (not touched)
    false = number - len(used)
    return float(np.mean([*dices, *[0.0] * false])) if dices or false else 1.0, found, missed, false


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("rule", [PLAIN, LesionRule(dilation=1, volume_mm3=2), LesionRule(dilation=3, volume_mm3=5)])
def test_equals_a_plain_program(seed: int, rule: LesionRule) -> None:
    generator = np.random.default_rng(seed)
    centres = generator.random((36, 36, 36)) < 0.0006
    reference = ndimage.binary_dilation(centres, iterations=2) & (generator.random(centres.shape) < 0.9)
    kept = np.roll(centres, 1, axis=2) & (generator.random(centres.shape) < 0.7)
    prediction = ndimage.binary_dilation(kept, iterations=2) | (generator.random(centres.shape) < 0.0005)
    score = scored(reference.astype(np.int16), prediction.astype(np.int16), rule)
    dice, found, missed, false = plain_program(reference, prediction, rule)
    assert found + missed > 2
    assert score.lesion_dice == pytest.approx(dice)
    assert detected(score) == (found, missed, false)
