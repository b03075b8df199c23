"""What is chosen from made-up held-out cases: members, post-processing, temperature."""

from __future__ import annotations

import numpy as np
from made_up_cases import LABELS, SHAPE, ball, make_bench, softly, two

from autofuse.dataset.types import LabelClass, Labels
from autofuse.evaluation.held_out import Bench, keep_case
from autofuse.evaluation.selection import Annotation, Selection, select_members_and_recipe
from autofuse.inference.coding import encode
from autofuse.inference.recipe import Recipe, StructureSteps


def exact(truth: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return softly(truth)


def with_islands(truth: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A false piece in a corner, in every case."""
    found = truth.copy()
    found[0:2, 13:15, 13:15] = True
    return softly(found)


def hollow(truth: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    found = truth.copy()
    found[5, 6, 6:8] = False
    return softly(found)


def split(truth: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The truth cut in two: keeping the larger half alone would harm."""
    found = truth.copy()
    found[:, 6] = False
    return softly(found)


def noisy(truth: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Each run errs on voxels of its own, so that means are better than any of them."""
    return np.clip(0.5 + 0.25 * np.where(truth, 1, -1) + 0.4 * generator.standard_normal(SHAPE), 0, 1)


def selected(*runs, annotation: Annotation | None = None, **options) -> Selection:  # type: ignore[no-untyped-def]
    bench = make_bench(runs, **options)
    return select_members_and_recipe(bench, [(f"run {i}", (0,)) for i in range(len(runs))], annotation)


def test_removing_islands_is_chosen_where_it_helps() -> None:
    chosen = selected(with_islands)
    (step,) = chosen.recipe.steps
    assert step.structure == "ball"
    assert step.largest_only or step.least_mm3 > 8
    assert not step.fill_holes
    (evidence,) = chosen.evidence.steps
    assert evidence.chosen and evidence.nested is not None and evidence.nested.lower > 0
    nested = chosen.evidence.nested
    assert nested is not None
    assert nested.postprocessing_gain.lower > 0
    assert nested.dice == nested.apparent_dice == 1.0


def test_filling_holes_is_chosen_where_it_helps() -> None:
    assert selected(hollow).recipe.steps == (StructureSteps(structure="ball", fill_holes=True),)


def test_post_processing_that_harms_is_not_chosen() -> None:
    chosen = selected(split)
    assert chosen.recipe.steps == ()
    assert not [step for step in chosen.evidence.steps if step.chosen]


def test_nothing_is_done_where_nothing_is_wrong() -> None:
    assert not selected(exact).recipe.changes_masks


def test_what_helps_in_one_case_of_ten_is_chance() -> None:
    seen = []

    def once(truth: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        seen.append(0)
        return with_islands(truth, generator) if len(seen) == 1 else softly(truth)

    chosen = selected(once)
    assert not chosen.recipe.changes_masks
    (evidence,) = chosen.evidence.steps
    assert evidence.apparent > 0 and not evidence.chosen


def test_runs_with_errors_of_their_own_are_averaged() -> None:
    chosen = selected(noisy, noisy, noisy)
    assert sum(count > 0 for count in chosen.counts) == 3
    nested = chosen.evidence.nested
    assert nested is not None and nested.ensemble_gain.lower > 0
    assert nested.dice > nested.best_single


def test_copies_of_one_run_are_not_averaged() -> None:
    chosen = selected(exact, exact, exact)
    assert chosen.counts == (1, 0, 0)
    assert [item.run for item in chosen.evidence.candidates] == ["run 0", "run 1", "run 2"]


def test_with_two_subjects_nothing_but_the_best_run_is_decided() -> None:
    chosen = selected(hollow, exact, subjects=2)
    assert chosen.counts == (0, 1)
    assert chosen.recipe == Recipe()
    assert chosen.evidence.nested is None
    assert "too few" in chosen.evidence.notes[0]
    assert select_members_and_recipe(make_bench([exact], cases=1), [("run", (0,))]).counts == (1,)


def test_strokes_do_not_show_what_lies_far_away() -> None:
    sparse = selected(with_islands, annotation=Annotation(sparse=True), ignore=0.5)
    assert sparse.recipe == Recipe()
    assert any("far away" in note for note in sparse.evidence.notes)
    known = selected(with_islands, annotation=Annotation(sparse=True, far=True), ignore=0.5)
    assert known.recipe.changes_masks
    assert known.evidence.calibration is None


def test_probabilities_that_are_too_modest_get_a_temperature() -> None:
    def modest(truth: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        return np.where(truth, 0.7, 0.3) * (generator.random(SHAPE) < 2)

    chosen = selected(modest)
    calibration = chosen.evidence.calibration
    assert calibration is not None and calibration.chosen
    assert chosen.recipe.temperature == calibration.temperature < 0.5
    assert calibration.ece[1] < calibration.ece[0]
    assert calibration.nll[1] < calibration.nll[0]


def test_honest_probabilities_are_left_alone() -> None:
    def honest(truth: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        # Where it says 0.8 it is right in four of five voxels.
        return np.where(truth ^ (generator.random(SHAPE) < 0.2), 0.8, 0.2)

    calibration = selected(honest).evidence.calibration
    assert calibration is not None
    assert abs(calibration.temperature - 1) < 0.1
    assert calibration.ece[0] < 0.02


def test_kept_voxels_give_the_scores_of_whole_masks() -> None:
    truth = ball()
    seen = truth.copy()
    seen[:, 3] = False
    case = keep_case("a", "a", [two(softly(seen))], truth.astype(np.int16), (1.0, 1.0, 1.0), LABELS)
    tp, fn = int((truth & seen).sum()), int((truth & ~seen).sum())
    assert Bench((case,), LABELS).scores((1,))[0, 0] == 2 * tp / (2 * tp + fn)
    nothing = keep_case("a", "a", [two(0 * softly(seen))], truth.astype(np.int16), (1.0, 1.0, 1.0), LABELS)
    assert Bench((nothing,), LABELS).scores((1,))[0, 0] == 0
    empty = keep_case("a", "a", [two(0 * softly(seen))], 0 * truth.astype(np.int16), (1.0, 1.0, 1.0), LABELS)
    assert np.isnan(Bench((empty,), LABELS).scores((1,))[0, 0])


def test_a_region_gets_the_threshold_that_helps_it() -> None:
    regions = Labels(
        classes=(LabelClass(name="whole", raw_values=(1, 2)), LabelClass(name="core", raw_values=(2,))),
        region_values=(1, 2),
    )
    cases = []
    for number in range(8):
        whole, core = ball(4.5), ball(2.2 + 0.1 * number)
        # The core is seen, but never with more than 0.42; far from it there is 0.2.
        seen = np.stack([np.where(whole, 0.9, 0.0), np.where(core, 0.42, np.where(whole, 0.2, 0.0))])
        truth = (whole.astype(np.int16) + (core & whole)).astype(np.int16)
        cases.append(keep_case(f"{number}", f"{number}", [encode(seen)], truth, (1.0, 1.0, 1.0), regions))
    chosen = select_members_and_recipe(Bench(tuple(cases), regions), [("run", (0,))])
    assert chosen.recipe.thresholds is not None
    assert chosen.recipe.thresholds[0] == 0.5
    assert 0.2 < chosen.recipe.thresholds[1] < 0.42
    assert chosen.evidence.nested is not None
    assert chosen.evidence.nested.dice == 1.0


def test_the_same_numbers_give_the_same_choice() -> None:
    assert selected(hollow, with_islands, cases=6) == selected(hollow, with_islands, cases=6)
