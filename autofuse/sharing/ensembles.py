"""An ensemble as it leaves with a model, without its evidence; and whether one that came fits the folds beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from autofuse.dataset.types import Labels
from autofuse.evaluation.ensemble import Ensemble, EnsembleMember, MemberFold
from autofuse.foundation.errors import ModelError
from autofuse.inference.recipe import Recipe
from autofuse.plan.types import Plan
from autofuse.sharing.types import Choice
from autofuse.training.run import RunPlan

TEMPERATURES = (0.01, 100.0)
"""Far beyond those that are ever fitted; still further, every probability is the same, or 0 or 1."""

Place = tuple[str, int]
"""A run's name and the number of its fold."""


@dataclass(frozen=True)
class FoldValues:
    """What a bundle says of one fold, its weights apart."""

    plan: Plan
    run: RunPlan
    weights_crc32: int


Folds = Mapping[Place, FoldValues]


def shared_ensemble(ensemble: Ensemble, name: str, folds: Folds) -> Ensemble:
    """``ensemble`` for a data set called ``name``, its folds named as they are in a bundle; who was held out is gone.

    Args:
        folds: all of its folds, and those of earlier stages, as they leave.
    """

    def renamed(run: str | None, fold: MemberFold) -> MemberFold:
        return fold.model_copy(update={"run_digest": folds[str(run), fold.fold].run.digest()})

    def shared(member: EnsembleMember) -> EnsembleMember:
        kept = []
        for fold in member.folds:
            prior = None if fold.prior is None else renamed(member.prior_run, fold.prior)
            kept.append(renamed(member.run, fold).model_copy(update={"prior": prior}))
        return member.model_copy(update={"folds": tuple(kept)})

    members = tuple(shared(member) for member in ensemble.members)
    return ensemble.model_copy(update={"dataset": name, "members": members, "sources_digest": "", "evidence": None})


def shared_choice(ensemble: Ensemble) -> Choice | None:
    """What the evidence says over all cases; None where there is no evidence."""
    evidence = ensemble.evidence
    if evidence is None or not evidence.cases:
        return None
    runs = {member.run for member in ensemble.members}
    return Choice(
        cases=len(evidence.cases),
        subjects=evidence.subjects,
        members=tuple(item for item in evidence.candidates if item.run in runs),
        nested=evidence.nested,
    )


def require_sound_ensemble(ensemble: Ensemble, name: str, predicting: Folds, earlier: Folds, file: Path) -> None:
    """Nothing, if ``ensemble`` is one of these folds, each of them, and its recipe fits their labels.

    Args:
        name: of the model.
        predicting: folds that are averaged; earlier: those that only make masks for them.

    Raises:
        ModelError: naming the first thing that does not fit.
    """
    known = {**earlier, **predicting}
    problems = [
        *_whole_problems(ensemble, name, predicting),
        *(problem for member in ensemble.members for problem in _member_problems(member, known)),
        *_likeness_problems(ensemble, list(predicting.values())),
        *_recipe_problems(ensemble.recipe, next(iter(predicting.values())).plan.labels),
    ]
    if problems:
        raise ModelError("This ensemble cannot be meant.", file=file, found=problems[0])


def _whole_problems(ensemble: Ensemble, name: str, predicting: Folds) -> Iterator[str]:
    runs = [member.run for member in ensemble.members]
    places = [(member.run, fold.fold) for member in ensemble.members for fold in member.folds]
    if ensemble.dataset != name:
        yield f"an ensemble of {ensemble.dataset[:80]!r}"
    if ensemble.evidence is not None:
        yield "evidence, which names cases"
    if len(set(runs)) < len(runs) or len(set(places)) < len(places):
        yield "a run or a fold that is a member twice"
    for run, fold in sorted(set(places) - set(predicting)):
        yield f"{run[:80]!r}, fold {fold}, which is not there"
    for run, fold in sorted(set(predicting) - set(places)):
        yield f"no part in it for {run}, fold {fold}"


def _member_problems(member: EnsembleMember, known: Folds) -> Iterator[str]:
    for fold in member.folds:
        found = known.get((member.run, fold.fold))
        if found is None:
            continue  # said already
        name = f"{member.run}, fold {fold.fold}"
        run = found.run
        if not _is_same(fold, found):
            yield f"{name}, of another training or with other weights"
        if (member.configuration, member.trainer, member.prior_run) != (run.configuration, run.trainer, run.prior_run):
            yield f"{name}, as a run of another configuration, trainer or earlier stage"
        if (fold.prior is None) != (run.prior_run is None):
            yield f"{name}, with an earlier stage that it has not, or without the one that it has"
        if fold.prior is not None:
            before = known.get((str(member.prior_run), fold.prior.fold))
            if fold.prior.fold != fold.fold or fold.prior.prior or before is None or not _is_same(fold.prior, before):
                yield f"{name}, with another earlier stage"


def _is_same(fold: MemberFold, found: FoldValues) -> bool:
    return (fold.run_digest, fold.weights_crc32) == (found.run.digest(), found.weights_crc32)


def _likeness_problems(ensemble: Ensemble, predicting: list[FoldValues]) -> Iterator[str]:
    """What keeps folds from being averaged."""
    kinds = {(item.plan.modalities, item.plan.transpose, item.plan.reference) for item in predicting}
    if len(kinds) > 1:
        yield "members that differ in modalities, order of axes or reference"
    if {item.plan.labels.digest() for item in predicting} != {ensemble.labels_digest}:
        yield "members that were trained for other labels"


def _recipe_problems(recipe: Recipe, labels: Labels) -> Iterator[str]:
    names = [item.name for item in labels.classes]
    steps = [step.structure for step in recipe.steps]
    limits = recipe.thresholds
    lowest, highest = TEMPERATURES
    for unknown in sorted(set(steps) - set(names)):
        yield f"a step for {unknown[:80]!r}, which is no class or region"
    if len(set(steps)) < len(steps):
        yield "two steps for one class or region"
    if limits is not None and not labels.has_regions:
        yield "thresholds for classes, which have none"
    if limits is not None and (len(limits) != len(names) or not all(0 <= limit < 1 for limit in limits)):
        yield f"thresholds {limits[:5]} for {len(names)} regions"
    if not lowest <= recipe.temperature <= highest:
        yield f"a temperature of {recipe.temperature:g}"
