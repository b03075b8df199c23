"""Who predicts new cases where an ensemble was chosen: its members, each found to be the one that it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from autofuse.dataset.types import Dataset
from autofuse.foundation.console import say
from autofuse.foundation.errors import ModelError
from autofuse.foundation.workspace import Workspace
from autofuse.road.prediction import Crew, crew_of
from autofuse.road.runs import TrainedFold, find_runs, read_fold

if TYPE_CHECKING:
    from autofuse.evaluation.ensemble import Ensemble, EnsembleMember, MemberFold

_REMEDY = (
    "Put the run back, or choose again from what is there: autofuse select DATASET; `autofuse predict --run NAME` does "
    "without the ensemble."
)


def chosen_ensemble(dataset: Dataset, workspace: Workspace) -> Ensemble | None:
    """What was chosen for ``dataset``; None where nothing was.

    Raises:
        ModelError: if it is damaged, or was chosen for other labels.
    """
    from autofuse.evaluation.ensemble import Ensemble

    if not workspace.ensemble.exists():
        return None
    ensemble = Ensemble.load(workspace.ensemble)
    if ensemble.labels_digest != dataset.labels.digest():
        raise ModelError(
            "The ensemble was chosen for other labels than the data set has now.",
            file=workspace.ensemble,
            remedy="autofuse select DATASET",
        )
    _tell_newer(workspace, ensemble)
    return ensemble


def ensemble_crew(runs: Path, ensemble: Ensemble, *, remedy: str = _REMEDY) -> Crew:
    """The members of ``ensemble`` in the folder ``runs``, each found to be the one that was chosen.

    Args:
        remedy: what to do where one is not.

    Raises:
        ModelError: if one is missing or was changed. A smaller ensemble never predicts instead.
    """
    folds, weights = [], []
    whole = sum(member.weight for member in ensemble.members)
    for member in ensemble.members:
        for item in member.folds:
            folds.append(_found(runs, member, item, remedy))
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


def _found(runs: Path, member: EnsembleMember, wanted: MemberFold, remedy: str) -> TrainedFold:
    fold = _same(runs / member.run / f"fold_{wanted.fold}", wanted, remedy)
    if wanted.prior is not None and member.prior_run is not None:
        _same(runs / member.prior_run / f"fold_{wanted.prior.fold}", wanted.prior, remedy)
    return fold


def _same(folder: Path, wanted: MemberFold, remedy: str) -> TrainedFold:
    try:
        fold = read_fold(folder)
    except ModelError as error:
        raise ModelError(
            f"A member of the ensemble is missing or damaged: {error.problem}", file=folder, remedy=remedy
        ) from None
    crc = None if fold.finished is None else fold.finished.weights_crc32
    if fold.plan.digest() != wanted.run_digest or crc != wanted.weights_crc32:
        raise ModelError(
            "A member of the ensemble is not the one that was chosen.",
            file=folder,
            found="training that is not finished" if crc is None else f"weights {crc:08x}",
            expected=f"weights {wanted.weights_crc32:08x}",
            remedy=remedy,
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
