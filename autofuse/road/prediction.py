"""Masks from trained folds: of held-out cases, test cases, any folder of images; a cascade's stages one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from autofuse.dataset.types import Case, Dataset
from autofuse.evaluation.scoring import Scoring
from autofuse.foundation.console import say
from autofuse.foundation.errors import DataError, ModelError
from autofuse.foundation.machine import default_device
from autofuse.foundation.sharing_out import share_of
from autofuse.foundation.workspace import Workspace
from autofuse.road.judging import join_scores, judge_held_out, kept_scores
from autofuse.road.results import FailedCase, IncompleteCase, Predicted
from autofuse.road.runs import TrainedFold, choose_run, earlier_stage, read_plan

if TYPE_CHECKING:
    from autofuse.evaluation.types import Scores
    from autofuse.foundation.workers import Outcome
    from autofuse.inference.folder import PredictedCase

FIRST_STAGE = "first_stage"
"""Folder beside a cascade's masks with those of its earlier stage; of several, by their runs in it."""


@dataclass(frozen=True)
class Crew:
    """Who predicts: folds with their weights, and what is done to their mean.

    Attributes:
        name: of the run or ensemble, for folders and people.
        weights: one a fold; equal without.
        ensemble: hash of the ensemble's members and recipe; "" for a run.
        recipe: fields of ``PredictOptions`` that the ensemble sets.
        mirror: whether it was chosen with mirroring.
        members: runs and weights in words.
    """

    name: str
    folds: tuple[TrainedFold, ...]
    weights: tuple[float, ...] | None = None
    ensemble: str = ""
    recipe: Mapping[str, Any] | None = None
    mirror: bool = True
    members: str = ""


def crew_of(folds: Sequence[TrainedFold]) -> Crew:
    """The folds of one run, equally weighted, nothing done to their mean."""
    return Crew(folds[0].run, tuple(folds))


def predict_into(
    dataset: Dataset,
    who: Sequence[TrainedFold] | Crew,
    cases: Sequence[Case],
    folder: Path,
    *,
    mirror: bool = True,
    probabilities: bool = False,
    coded: bool = False,
    uncertainty: bool = False,
    device: str | None = None,
    workers: int | None = None,
    strict: bool = False,
    share: tuple[int, int] | None = None,
) -> list[Outcome[PredictedCase]]:
    """Masks of ``cases`` by the mean of ``who`` in ``folder``, on the native grid; an outcome a case.

    Masks that are there, whole and by the same models, are kept. One bad case never stops the others.

    Args:
        probabilities, coded, uncertainty: what is kept beside masks, as ``PredictOptions`` says.
        strict: raise at the end if any case failed.
        share: predict only the n-th (from 1) of so many shares of ``cases``; shares are predicted side by side.
    """
    from autofuse.inference.folder import predict_cases, require_predicted
    from autofuse.inference.prediction import PredictOptions
    from autofuse.training.model import load_model, open_model

    crew = who if isinstance(who, Crew) else crew_of(who)
    device = device or default_device()
    earlier = first_stage_masks(
        dataset, crew.folds, cases, folder, mirror=mirror, device=device, workers=workers, share=share
    )
    cases = cases if share is None else share_of(cases, *share)
    # Members of an ensemble wait in their folders, so that ten take no more memory than one.
    alone = len(crew.folds) == 1
    models = [load_model(fold.folder, device=device) if alone else open_model(fold.folder) for fold in crew.folds]
    for fold, model in zip(crew.folds, models, strict=True):
        _require_unchanged(fold, model.weights_crc32)
    options = PredictOptions(
        mirror=mirror,
        device=device,
        probabilities=probabilities,
        coded=coded,
        uncertainty=uncertainty,
        **(crew.recipe or {}),
    )
    outcomes = predict_cases(
        models,
        dataset,
        cases,
        folder,
        options=options,
        priors=earlier,
        weights=crew.weights,
        ensemble=crew.ensemble,
        workers=workers,
        share=share,
    )
    if strict:
        require_predicted(outcomes)
    return outcomes


def _require_unchanged(fold: TrainedFold, weights_crc32: int) -> None:
    if fold.finished is not None and fold.finished.weights_crc32 != weights_crc32:
        raise ModelError(
            "The weights of this fold are not those that its training ended with.",
            file=fold.folder,
            found=f"{weights_crc32:08x}",
            expected=f"{fold.finished.weights_crc32:08x}",
            remedy="Copy the fold's folder again from where it came, or delete it and train the fold anew.",
        )


def predict_held_out(
    dataset: Dataset,
    fold: TrainedFold,
    *,
    mirror: bool,
    device: str | None,
    workers: int | None,
    coded: bool = False,
    tell: bool = True,
    share: tuple[int, int] | None = None,
) -> bool:
    """Masks of the cases that ``fold`` held out, in its folder; whether any of them had to be predicted (again).

    Args:
        coded: keep probabilities too, for choosing.
        tell: say so before.
        share: only these of them, as in ``predict_into``.

    Raises:
        AutofuseError: if one of them cannot be predicted.
    """
    held_out = set(fold.plan.held_out)
    cases = [case for case in dataset.cases if case.id in held_out]
    if tell:
        say(f"Predicting {len(cases)} held-out cases of {fold.run}, fold {fold.fold}.")
    outcomes = predict_into(
        dataset,
        [fold],
        cases,
        fold.held_out,
        mirror=mirror,
        coded=coded,
        device=device,
        workers=workers,
        strict=True,
        share=share,
    )
    return not all(item.value is not None and item.value.kept for item in outcomes)


def coded_ready(dataset: Dataset, fold: TrainedFold, *, mirror: bool, device: str | None) -> bool:
    """Whether probabilities of the cases that ``fold`` held out stand in its folder, made with these options.

    Whether images have changed since then is not looked at.
    """
    from autofuse.inference.coding import CODED_ENDING
    from autofuse.inference.prediction import PredictOptions
    from autofuse.inference.record import PredictionRecord, settings_digest
    from autofuse.inference.writing import record_path

    wanted = settings_digest(PredictOptions(mirror=mirror, device=device or default_device()), dataset.file_ending)
    try:
        records = [PredictionRecord.load(record_path(fold.held_out, case)) for case in fold.plan.held_out]
    except ModelError:
        return False
    return all(item.settings == wanted and f"{item.case}{CODED_ENDING}" in item.files for item in records)


def with_test_cases(dataset: Dataset, fold: TrainedFold, images: Path | None) -> Dataset:
    """``dataset`` itself, or the images in a folder as one whose test cases they are, by the plan of ``fold``.

    Raises:
        DataError: if there is no case.
    """
    from autofuse.dataset.opening import images_as_dataset

    source = dataset
    if images is not None:
        plan = read_plan(fold)
        source = images_as_dataset(images, plan.modalities, plan.labels, dataset.file_ending)
    if not source.test_cases:
        raise DataError(
            "This data set has no test cases.",
            file=dataset.root,
            remedy="Put images into imagesTs, or name a folder of images with -i.",
        )
    return source


def predict_with(
    dataset: Dataset,
    workspace: Workspace,
    who: Sequence[TrainedFold] | Crew,
    *,
    images: Path | None = None,
    out: Path | None = None,
    mirror: bool = True,
    probabilities: bool = False,
    uncertainty: bool = False,
    device: Literal["cpu", "cuda"] | None = None,
    workers: int | None = None,
    need_one: bool = True,
    share: tuple[int, int] | None = None,
) -> Predicted:
    """Masks of the test cases, or of the images in a folder, by the mean of ``who``.

    Args:
        need_one: raise if no case at all could be predicted.
        share: only these cases, as in ``predict_into``.

    Raises:
        DataError: if there is nothing to predict.
    """
    from autofuse.inference.folder import require_predicted

    crew = who if isinstance(who, Crew) else crew_of(who)
    source = with_test_cases(dataset, crew.folds[0], images)
    made = workspace.predictions(crew.name)
    folder = out or (made if images is None else made / images.absolute().name)
    part = "" if share is None else f"Share {share[0]} of {share[1]}: "
    say(f"{part}Predicting {len(source.test_cases)} cases with {_in_words(crew)}.")
    outcomes = predict_into(
        source,
        crew,
        source.test_cases,
        folder,
        mirror=mirror and crew.mirror,
        probabilities=probabilities,
        uncertainty=uncertainty,
        device=device,
        workers=workers,
        share=share,
    )
    if need_one and all(item.error is not None for item in outcomes):
        require_predicted(outcomes)
    done = tuple(item.name for item in outcomes if item.error is None)
    return Predicted(
        run=crew.name,
        folds=tuple(sorted({fold.fold for fold in crew.folds})),
        members=crew.members,
        folder=str(folder.absolute()),
        cases=done,
        failed=failures(outcomes),
        incomplete=_incomplete(outcomes),
        masks=tuple(name for item in outcomes if item.value is not None for name in item.value.own),
        volumes=str(_write_volumes(folder, done).absolute()) if uncertainty else None,
    )


def _in_words(crew: Crew) -> str:
    numbers = ", ".join(str(number) for number in sorted({fold.fold for fold in crew.folds}))
    return f"{crew.members or crew.name}, folds {numbers}"


def _write_volumes(folder: Path, cases: Sequence[str]) -> Path:
    """The volumes of all cases as one table, a row a structure; where it stands."""
    import csv
    import io

    from autofuse.foundation.files import write_bytes
    from autofuse.inference.uncertainty import StructureVolume
    from autofuse.inference.writing import UNCERTAINTY, CaseVolumes, volumes_path

    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    columns = list(StructureVolume.model_fields)
    writer.writerow(["case", *columns])
    for case in cases:
        for item in CaseVolumes.load(volumes_path(folder, case)).structures:
            cells = (getattr(item, name) for name in columns)
            writer.writerow([case, *("" if cell is None else cell for cell in cells)])
    path = folder / UNCERTAINTY / "volumes.csv"
    write_bytes(path, stream.getvalue().encode())
    return path


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
    share: tuple[int, int] | None = None,
) -> dict[str, Path]:
    """The folders of the earlier stages' masks of ``cases``, by their runs; empty where there is no cascade."""
    first: dict[str, dict[int, TrainedFold]] = {}
    for fold in folds:
        earlier = earlier_stage(fold)
        if earlier is not None:
            first.setdefault(earlier.run, {})[fold.fold] = earlier
    found = {}
    for run, numbered in first.items():
        found[run] = folder / FIRST_STAGE if len(first) == 1 else folder / FIRST_STAGE / run
        crew = [numbered[number] for number in sorted(numbered)]
        outcomes = predict_into(
            dataset, crew, cases, found[run], mirror=mirror, device=device, workers=workers, share=share
        )
        for item in failures(outcomes):
            say(f"The first stage failed: {item.case}: {item.problem}")
    return found
