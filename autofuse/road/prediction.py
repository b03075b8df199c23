"""Masks from trained folds: of held-out cases, test cases, any folder of images; a cascade's stages one by one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from autofuse.dataset.types import Case, Dataset
from autofuse.evaluation.scoring import Scoring
from autofuse.foundation.console import say
from autofuse.foundation.errors import DataError
from autofuse.foundation.machine import default_device
from autofuse.foundation.workspace import Workspace
from autofuse.road.judging import join_scores, judge_held_out, kept_scores
from autofuse.road.results import FailedCase, IncompleteCase, Predicted
from autofuse.road.runs import TrainedFold, choose_run, read_fold, read_plan

if TYPE_CHECKING:
    from autofuse.evaluation.types import Scores
    from autofuse.foundation.workers import Outcome
    from autofuse.inference.folder import PredictedCase

FIRST_STAGE = "first_stage"
"""Folder beside a cascade's masks with those of its earlier stage."""


def predict_into(
    dataset: Dataset,
    folds: Sequence[TrainedFold],
    cases: Sequence[Case],
    folder: Path,
    *,
    mirror: bool = True,
    probabilities: bool = False,
    device: str | None = None,
    workers: int | None = None,
    strict: bool = False,
) -> list[Outcome[PredictedCase]]:
    """Masks of ``cases`` by the mean of ``folds`` in ``folder``, on the native grid; an outcome a case.

    Masks that are there, whole and by the same models, are kept. One bad case never stops the others.

    Args:
        strict: raise at the end if any case failed.
    """
    from autofuse.inference.folder import predict_cases, require_predicted
    from autofuse.inference.prediction import PredictOptions
    from autofuse.training.model import load_model

    device = device or default_device()
    earlier = first_stage_masks(dataset, folds, cases, folder, mirror=mirror, device=device, workers=workers)
    models = [load_model(fold.folder, device=device) for fold in folds]
    options = PredictOptions(mirror=mirror, device=device, probabilities=probabilities)
    outcomes = predict_cases(models, dataset, cases, folder, options=options, priors=earlier, workers=workers)
    if strict:
        require_predicted(outcomes)
    return outcomes


def predict_held_out(
    dataset: Dataset, fold: TrainedFold, *, mirror: bool, device: str | None, workers: int | None
) -> None:
    """Masks of the cases that ``fold`` held out, in its folder.

    Raises:
        AutofuseError: if one of them cannot be predicted.
    """
    held_out = set(fold.plan.held_out)
    cases = [case for case in dataset.cases if case.id in held_out]
    say(f"Predicting {len(cases)} held-out cases of fold {fold.fold}.")
    predict_into(dataset, [fold], cases, fold.held_out, mirror=mirror, device=device, workers=workers, strict=True)


def predict_with(
    dataset: Dataset,
    workspace: Workspace,
    folds: Sequence[TrainedFold],
    *,
    images: Path | None = None,
    out: Path | None = None,
    mirror: bool = True,
    probabilities: bool = False,
    device: Literal["cpu", "cuda"] | None = None,
    workers: int | None = None,
    need_one: bool = True,
) -> Predicted:
    """Masks of the test cases, or of the images in a folder, by the mean of ``folds``.

    Args:
        need_one: raise if no case at all could be predicted.

    Raises:
        DataError: if there is nothing to predict.
    """
    from autofuse.dataset.opening import images_as_dataset
    from autofuse.inference.folder import require_predicted

    run = folds[0].run
    if images is not None:
        plan = read_plan(folds[0])
        source = images_as_dataset(images, plan.modalities, plan.labels, dataset.file_ending)
        folder = out or workspace.predictions(run) / images.absolute().name
    else:
        source, folder = dataset, out or workspace.predictions(run)
    if not source.test_cases:
        raise DataError(
            "This data set has no test cases.",
            file=dataset.root,
            remedy="Put images into imagesTs, or name a folder of images with -i.",
        )
    say(f"Predicting {len(source.test_cases)} cases with {run}, folds {', '.join(str(fold.fold) for fold in folds)}.")
    outcomes = predict_into(
        source,
        folds,
        source.test_cases,
        folder,
        mirror=mirror,
        probabilities=probabilities,
        device=device,
        workers=workers,
    )
    if need_one and all(item.error is not None for item in outcomes):
        require_predicted(outcomes)
    return Predicted(
        run=run,
        folds=tuple(fold.fold for fold in folds),
        folder=str(folder.absolute()),
        cases=tuple(item.name for item in outcomes if item.error is None),
        failed=failures(outcomes),
        incomplete=_incomplete(outcomes),
    )


def failures(outcomes: Sequence[Outcome[Any]]) -> tuple[FailedCase, ...]:
    """The cases of ``outcomes`` that failed, and why."""
    return tuple(FailedCase(case=item.name, problem=str(item.error)) for item in outcomes if item.error is not None)


def _incomplete(outcomes: Sequence[Outcome[PredictedCase]]) -> tuple[IncompleteCase, ...]:
    seen = [(item.name, item.value.seen) for item in outcomes if item.value is not None]
    return tuple(
        IncompleteCase(case=name, absent=what.absent, partly=what.partly, words=what.in_words())
        for name, what in seen
        if what.in_words()
    )


def score_held_out(
    dataset: Dataset,
    workspace: Workspace,
    run: str | None,
    out: Path | None,
    workers: int | None,
    scoring: Scoring | None = None,
) -> tuple[Scores, Path]:
    """Scores of a run's held-out cases over all finished folds, predicted first where they are not; and their folder.

    Raises:
        DataError: if nothing is held out.
    """
    folds = choose_run(workspace, run)
    folder = out or workspace.scores / folds[0].run / "held_out"
    rules = None if scoring == Scoring() else scoring
    parts = [scores for fold in folds if (scores := _scores_of(dataset, fold, rules, folder, workers)) is not None]
    if not parts:
        raise DataError(
            "This run held no case out: there is nothing to judge it by.",
            file=folds[0].folder,
            remedy="Name a folder of masks with -i.",
        )
    return join_scores(dataset, parts, folder, scoring=rules), folder


def _scores_of(
    dataset: Dataset, fold: TrainedFold, rules: Scoring | None, folder: Path, workers: int | None
) -> Scores | None:
    if not fold.plan.held_out:
        return None
    kept = kept_scores(fold)
    if kept is not None and rules is None:
        return kept
    if kept is None:
        predict_held_out(dataset, fold, mirror=True, device=None, workers=workers)
    if rules is None:
        return judge_held_out(dataset, fold, workers=workers)
    return judge_held_out(dataset, fold, scoring=rules, folder=folder / f"fold_{fold.fold}", workers=workers)


def first_stage_masks(
    dataset: Dataset,
    folds: Sequence[TrainedFold],
    cases: Sequence[Case],
    folder: Path,
    *,
    mirror: bool,
    device: str,
    workers: int | None,
) -> dict[str, Path]:
    """The folder of the earlier stage's masks of ``cases``, by its configuration; empty where there is no cascade."""
    run = folds[0].plan.prior_run
    if run is None:
        return {}
    first = [read_fold(fold.folder.parents[1] / run / fold.folder.name) for fold in folds]
    masks = folder / FIRST_STAGE
    outcomes = predict_into(dataset, first, cases, masks, mirror=mirror, device=device, workers=workers)
    for item in failures(outcomes):
        say(f"The first stage failed: {item.case}: {item.problem}")
    return {first[0].plan.configuration: masks}
