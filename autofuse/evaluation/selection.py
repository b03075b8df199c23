"""From scores of held-out cases to a choice: members, thresholds, post-processing, temperature, and the evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autofuse.evaluation.calibration import calibrate_ensemble
from autofuse.evaluation.choosing import (
    MOST_MEMBERS,
    Counts,
    MemberChoice,
    NestedChoice,
    best_single,
    choose_members,
    nested_choice,
    singles,
)
from autofuse.evaluation.ensemble import (
    Calibration,
    CandidateScore,
    Evidence,
    NestedEstimate,
    PathStep,
    StepEvidence,
)
from autofuse.evaluation.held_out import Bench
from autofuse.evaluation.jury import LEAST_SUBJECTS, Jury, Values, Within, case_means, mean_credit
from autofuse.evaluation.refining import Refiner
from autofuse.evaluation.summary import statistic
from autofuse.foundation.console import Advance
from autofuse.inference.recipe import Recipe

STAGES = 5
"""Of the choice, for telling how far it is."""
RULE = (
    "greedy choice with replacement on mean Dice a case; of single runs and the ensembles on its way the simplest is "
    "taken that the best does not clearly beat (lower bound of the 95 % interval above 0, paired bootstrap over "
    "subjects); an ensemble only if it is no worse than the best single run on subjects that did not choose; "
    "thresholds and post-processing only where they clearly help subjects that did not choose the setting"
)


@dataclass(frozen=True)
class Annotation:
    """How the references were made: ``sparse``: voxels are left open; ``far``: far background is known all the same."""

    sparse: bool = False
    far: bool = False


@dataclass(frozen=True)
class Selection:
    """What was chosen: per run how often it is taken, and what follows."""

    counts: Counts
    recipe: Recipe
    evidence: Evidence


def select_members_and_recipe(
    bench: Bench,
    runs: Sequence[tuple[str, tuple[int, ...]]],
    annotation: Annotation | None = None,
    most: int = MOST_MEMBERS,
    advance: Advance | None = None,
) -> Selection:
    """The choice for ``runs`` (name, folds), in the order of the codes in the bench's cases.

    Args:
        advance: told when each of the ``STAGES`` is done.
    """
    annotation = annotation or Annotation()
    return _Selecting(bench, tuple(runs), annotation, most, advance or _silent).select()


def _silent(n: float = 1, note: str = "") -> None:
    """Tells nobody."""


@dataclass(frozen=True)
class _Selecting:
    bench: Bench
    runs: tuple[tuple[str, tuple[int, ...]], ...]
    annotation: Annotation
    most: int
    advance: Advance

    @property
    def jury(self) -> Jury:
        cases = self.bench.cases
        return Jury(tuple(case.id for case in cases), tuple(case.subject for case in cases))

    def select(self) -> Selection:
        jury = self.jury
        everybody, count = jury.everybody, len(self.runs)
        choice = choose_members(self._score, count, jury, everybody, self.most)
        self.advance(1, "members")
        enough = jury.enough(everybody)
        nested = nested_choice(self._score, count, jury, everybody, self.most) if enough else None
        notes = (
            []
            if enough
            else [
                f"{_several(jury.subject_count(everybody), 'subject')} held out: too few to decide "
                f"more than which run alone is best (at least {LEAST_SUBJECTS})."
            ]
        )
        counts = choice.chosen
        if nested is not None and nested.gain is not None and nested.gain.difference < 0:
            counts = best_single(self._score, count, everybody)
            if counts != choice.chosen:
                notes.append("An ensemble was ahead, but not on subjects that did not choose it: the best single run.")
        self.advance(1, "members, by other subjects")
        refiner = Refiner(self.bench, jury)
        recipe, steps = self._refined(refiner, counts, everybody, notes)
        self.advance(1, "post-processing")
        estimate = None if nested is None else self._estimate(refiner, choice, counts, nested, recipe)
        if estimate is not None and recipe.changes_masks and estimate.postprocessing_gain.difference < 0:
            notes.append("Thresholds and post-processing together do not help subjects that did not choose them: none.")
            recipe = Recipe()
            steps = [step.model_copy(update={"chosen": False}) for step in steps]
            estimate = None if nested is None else self._estimate(refiner, choice, counts, nested, recipe)
        self.advance(1, "all of it, by other subjects")
        calibration = self._calibration(counts, notes)
        self.advance(1, "temperature")
        if calibration is not None and calibration.chosen:
            recipe = recipe.model_copy(update={"temperature": calibration.temperature})
        return Selection(counts, recipe, self._evidence(choice, estimate, steps, calibration, notes))

    def _score(self, counts: Counts) -> Values:
        return case_means(self.bench.scores(counts))

    def _refined(
        self, refiner: Refiner, counts: Counts, within: Within, notes: list[str] | None = None
    ) -> tuple[Recipe, list[StepEvidence]]:
        if self.annotation.sparse and not self.annotation.far:
            if notes is not None:
                notes.append(
                    "References are sparse and say nothing of what lies far away: post-processing is not decided."
                )
            return Recipe(), []
        if self.annotation.sparse and self.bench.labels.has_regions and notes is not None:
            notes.append("References are sparse and show no borders: thresholds are not decided.")
        return refiner.refine(counts, within, thresholds=not self.annotation.sparse)

    def _calibration(self, counts: Counts, notes: list[str]) -> Calibration | None:
        if self.annotation.sparse:
            notes.append("References are sparse, and what is marked is easier than the rest: no temperature is fitted.")
            return None
        return calibrate_ensemble(self.bench, self.jury, counts)

    def _estimate(
        self, refiner: Refiner, choice: MemberChoice, counts: Counts, nested: NestedChoice, recipe: Recipe
    ) -> NestedEstimate | None:
        """What the choice of members and recipe is worth on subjects that took no part in it."""
        jury = self.jury
        everybody = jury.everybody
        plain, finished = nested.chosen, np.full(len(jury.cases), np.nan)
        for others, part in jury.parts(everybody):
            members = choose_members(self._score, len(self.runs), jury, others, self.most).chosen
            steps = self._refined(refiner, members, others)[0] if recipe.changes_masks else Recipe()
            finished[part] = self._finished(members, steps, part)[part]
        ensemble, steps_gain = nested.gain, jury.gain(plain, finished, everybody)
        if ensemble is None or steps_gain is None:
            return None
        return NestedEstimate(
            parts=sum(1 for _ in jury.parts(everybody)),
            dice=_rounded(mean_credit(finished, everybody)),
            best_single=_rounded(mean_credit(nested.single, everybody)),
            ensemble_gain=ensemble,
            postprocessing_gain=steps_gain,
            apparent_dice=_rounded(mean_credit(self._finished(counts, recipe, everybody), everybody)),
        )

    def _finished(self, counts: Counts, recipe: Recipe, chosen: NDArray[np.bool_]) -> Values:
        if not recipe.changes_masks:
            return self._score(counts)
        return case_means(self.bench.finished_scores(counts, recipe, chosen))

    def _evidence(
        self,
        choice: MemberChoice,
        estimate: NestedEstimate | None,
        steps: list[StepEvidence],
        calibration: Calibration | None,
        notes: list[str],
    ) -> Evidence:
        jury = self.jury
        candidates = [self._candidate(number, counts) for number, counts in enumerate(singles(len(self.runs)))]
        return Evidence(
            cases=jury.cases,
            subjects=jury.subject_count(jury.everybody),
            rule=RULE,
            candidates=tuple(sorted(candidates, key=lambda item: -(item.dice.mean or 0.0))),
            path=tuple(self._path_step(counts, choice.best) for counts in choice.looked_at),
            nested=estimate,
            steps=tuple(steps),
            calibration=calibration,
            notes=tuple(notes),
        )

    def _candidate(self, number: int, counts: Counts) -> CandidateScore:
        scores = self.bench.scores(counts)
        name, folds = self.runs[number]
        cases = self.bench.cases
        means = zip(cases, case_means(scores), strict=True)
        values = {case.id: None if np.isnan(value) else float(value) for case, value in means}
        subjects = {case.id: case.subject for case in cases}
        per_structure = {
            item.name: None if np.isnan(column).all() else _rounded(float(np.nanmean(column)))
            for item, column in zip(self.bench.labels.classes, scores.T, strict=True)
        }
        return CandidateScore(run=name, folds=folds, dice=statistic(values, subjects), per_structure=per_structure)

    def _path_step(self, counts: Counts, best: Counts) -> PathStep:
        everybody = self.jury.everybody
        behind = self.jury.gain(self._score(counts), self._score(best), everybody)
        named = {self.runs[number][0]: count for number, count in enumerate(counts) if count}
        return PathStep(counts=named, dice=_rounded(mean_credit(self._score(counts), everybody)), behind_best=behind)


def _several(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _rounded(value: float) -> float:
    return round(value, 6)
