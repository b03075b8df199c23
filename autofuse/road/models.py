"""Which model is meant: the ensemble that was chosen for a data set, a run of it, or a model that was imported."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autofuse.foundation.errors import ModelError, UsageError
from autofuse.foundation.workspace import Workspace
from autofuse.road.places import imported_model
from autofuse.road.runs import TrainedFold, choose_run, earlier_stage, read_plan
from autofuse.road.steps import Folder, open_both

if TYPE_CHECKING:
    from autofuse.dataset.types import Dataset
    from autofuse.evaluation.ensemble import Ensemble
    from autofuse.road.prediction import Crew
    from autofuse.sharing.types import SharedModel


_AGAIN = "Import the bundle again: that mends what is missing or damaged."


@dataclass(frozen=True)
class ChosenModel:
    """Who predicts new cases, and whose model that is.

    Attributes:
        dataset: whose model it is; without cases where the model was imported.
        workspace: where it stands.
        crew: folds with their weights, and what is done to their mean.
        ensemble: that ``crew`` is; None where none was chosen, or a run or fold is asked for.
        imported: what an imported model says of itself; None for one that was trained here.
    """

    dataset: Dataset
    workspace: Workspace
    crew: Crew
    ensemble: Ensemble | None = None
    imported: SharedModel | None = None

    @property
    def folds(self) -> tuple[TrainedFold, ...]:
        """The folds that predict together, each once."""
        return tuple({fold.folder: fold for fold in self.crew.folds}.values())

    @property
    def earlier(self) -> tuple[TrainedFold, ...]:
        """The folds whose masks these take as input, in a cascade."""
        return tuple(stage for fold in self.folds if (stage := earlier_stage(fold)) is not None)


def choose_model(
    dataset: Folder, workspace: Folder | None = None, run: str | None = None, folds: Sequence[int] | None = None
) -> ChosenModel:
    """The model that ``dataset`` (a data set's folder, or the name of an imported model) stands for.

    Args:
        run: whose model; folds: which of its folds (all if None). Without both, the ensemble that was chosen, or where
            none was, the newest finished run (of an imported model, what it says that it predicts with).

    Raises:
        DataError: if there is neither such a folder nor such a model.
        ModelError: if there is no such run, a fold that is asked for is not finished, or the ensemble or a member of it
            is missing, damaged or another one.
    """
    from autofuse.road.crews import chosen_ensemble, ensemble_crew
    from autofuse.road.prediction import crew_of

    place = imported_model(dataset, workspace)
    if place is not None:
        return _imported(place, run, folds)
    opened, place = open_both(dataset, workspace)
    ensemble = chosen_ensemble(opened, place) if run is None and folds is None else None
    crew = crew_of(choose_run(place, run, folds)) if ensemble is None else ensemble_crew(place.runs, ensemble)
    return ChosenModel(opened, place, crew, ensemble)


def require_images(chosen: ChosenModel, images: Folder | None, command: str) -> None:
    """Nothing, unless an imported model is asked for images of its own.

    Raises:
        UsageError: with the ``command`` that names a folder.
    """
    if chosen.imported is not None and images is None:
        raise UsageError("A model has no images of its own.", remedy=command)


def _imported(place: Workspace, run: str | None, folds: Sequence[int] | None) -> ChosenModel:
    from autofuse.road.crews import ensemble_crew
    from autofuse.road.prediction import crew_of

    about = read_model(place.folder)
    if about.ensemble is not None and run is None and folds is None:
        ensemble = _shared_ensemble(place, about)
        crew = ensemble_crew(place.runs, ensemble, remedy=_AGAIN)
    else:
        ensemble, run = None, run or about.run
        crew = crew_of(choose_run(place, run, about.folds if folds is None and run == about.run else folds))
    return ChosenModel(_without_cases(about, place, crew.folds[0]), place, crew, ensemble, about)


def _shared_ensemble(place: Workspace, about: SharedModel) -> Ensemble:
    from autofuse.evaluation.ensemble import Ensemble

    try:
        ensemble = Ensemble.load(place.ensemble)
    except ModelError as error:
        raise ModelError(error.problem, file=place.ensemble, found=error.found, remedy=_AGAIN) from None
    if ensemble.digest() != about.ensemble:
        raise ModelError(
            "The ensemble of this model is not the one that came with it.", file=place.ensemble, remedy=_AGAIN
        )
    return ensemble


def _without_cases(model: SharedModel, place: Workspace, fold: TrainedFold) -> Dataset:
    """An imported model as a data set: what its images and masks are, and no case."""
    from autofuse.dataset.types import Dataset, Modality

    plan = read_plan(fold)
    return Dataset(
        name=model.name,
        root=str(place.folder),
        layout="model",
        modalities=tuple(Modality(name=item) for item in plan.modalities),
        labels=plan.labels,
        cases=(),
        file_ending=model.file_ending,
        reference=plan.reference,
    )


def read_model(folder: Path) -> SharedModel:
    """What the imported model in ``folder`` says of itself.

    Raises:
        ModelError: if that is missing or damaged.
    """
    from autofuse.sharing.layout import MODEL
    from autofuse.sharing.types import SharedModel

    return SharedModel.load(folder / MODEL)


def model_name(wanted: str, *, given: bool) -> str:
    """``wanted`` as the name of a model; a data set's is made to fit, one that was given must.

    Raises:
        UsageError: if what was given cannot be a name.
    """
    from autofuse.sharing.types import NAME_PATTERN

    fitted = re.sub(r"[^A-Za-z0-9_+-]+", "_", wanted).strip("_")[:100]
    name = wanted if given else fitted or "model"
    if len(name) > 100 or not re.fullmatch(NAME_PATTERN, name):
        raise UsageError(
            "A model cannot be called so.", found=repr(name), expected="letters, digits, _, + and -", remedy="--name"
        )
    return name
