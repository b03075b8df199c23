"""Who predicts new cases: the ensemble that was chosen, found as it was, or a run that is named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from autofuse.dataset.types import Dataset
from autofuse.foundation.console import say
from autofuse.foundation.errors import ModelError
from autofuse.foundation.workspace import Workspace
from autofuse.road.prediction import Crew, crew_of
from autofuse.road.runs import TrainedFold, choose_run, find_runs, read_fold

if TYPE_CHECKING:
    from autofuse.evaluation.ensemble import Ensemble, EnsembleMember, MemberFold

_REMEDY = (
    "Put the run back, or choose again from what is there: autofuse select DATASET; `autofuse predict --run NAME` does "
    "without the ensemble."
)


def find_crew(dataset: Dataset, workspace: Workspace, run: str | None, folds: Sequence[int] | None) -> Crew:
    """The ensemble of ``workspace`` if there is one and no run or fold is asked for; else that run, or the newest.

    Raises:
        ModelError: if the ensemble, a member of it, or the run is missing, damaged or another one.
    """
    if run is not None or folds is not None or not workspace.ensemble.exists():
        return crew_of(choose_run(workspace, run, folds))
    from autofuse.evaluation.ensemble import Ensemble

    ensemble = Ensemble.load(workspace.ensemble)
    if ensemble.labels_digest != dataset.labels.digest():
        raise ModelError(
            "The ensemble was chosen for other labels than the data set has now.",
            file=workspace.ensemble,
            remedy="autofuse select DATASET",
        )
    _tell_newer(workspace, ensemble)
    return ensemble_crew(workspace.runs, ensemble)


def ensemble_crew(runs: Path, ensemble: Ensemble) -> Crew:
    """The members of ``ensemble`` in the folder ``runs``, each found to be the one that was chosen.

    Raises:
        ModelError: if one is missing or was changed. A smaller ensemble never predicts instead.
    """
    folds, weights = [], []
    whole = sum(member.weight for member in ensemble.members)
    for member in ensemble.members:
        for item in member.folds:
            folds.append(_found(runs, member, item))
            weights.append(member.weight / whole / len(member.folds))
    recipe = ensemble.recipe
    if ensemble.is_plain:
        return replace(crew_of(folds), mirror=ensemble.mirror, members=ensemble.in_words())
    return Crew(
        name=ensemble.name,
        folds=tuple(folds),
        weights=tuple(weights),
        ensemble=ensemble.recipe_digest(),
        recipe={"thresholds": recipe.thresholds, "temperature": recipe.temperature, "steps": recipe.steps},
        mirror=ensemble.mirror,
        members=ensemble.in_words(),
    )


def _found(runs: Path, member: EnsembleMember, wanted: MemberFold) -> TrainedFold:
    fold = _same(runs / member.run / f"fold_{wanted.fold}", wanted)
    if wanted.prior is not None and member.prior_run is not None:
        _same(runs / member.prior_run / f"fold_{wanted.prior.fold}", wanted.prior)
    return fold


def _same(folder: Path, wanted: MemberFold) -> TrainedFold:
    try:
        fold = read_fold(folder)
    except ModelError as error:
        raise ModelError(
            f"A member of the ensemble is missing or damaged: {error.problem}", file=folder, remedy=_REMEDY
        ) from None
    crc = None if fold.finished is None else fold.finished.weights_crc32
    if fold.plan.digest() != wanted.run_digest or crc != wanted.weights_crc32:
        raise ModelError(
            "A member of the ensemble is not the one that was chosen.",
            file=folder,
            found="training that is not finished" if crc is None else f"weights {crc:08x}",
            expected=f"weights {wanted.weights_crc32:08x}",
            remedy=_REMEDY,
        )
    return fold


def _tell_newer(workspace: Workspace, ensemble: Ensemble) -> None:
    if ensemble.evidence is None:
        return
    known = {item.run for item in ensemble.evidence.candidates} | {item.run for item in ensemble.evidence.left_out}
    finished = [name for name, folds in find_runs(workspace).items() if any(fold.finished for fold in folds)]
    newer = [name for name in finished if name not in known]
    if newer:
        say(f"Not considered when the ensemble was chosen: {', '.join(newer)}. `autofuse select` chooses again.")
