"""Which model is meant: the finished folds of a data set's run, or a model that was imported."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autofuse.foundation.errors import UsageError
from autofuse.foundation.workspace import Workspace
from autofuse.road.places import imported_model
from autofuse.road.runs import TrainedFold, choose_run, earlier_stage, read_plan
from autofuse.road.steps import Folder, open_both

if TYPE_CHECKING:
    from autofuse.dataset.types import Dataset
    from autofuse.sharing.types import SharedModel


@dataclass(frozen=True)
class ChosenModel:
    """Finished folds that predict together.

    Attributes:
        dataset: whose model it is; without cases where the model was imported.
        workspace: where it stands.
        imported: what an imported model says of itself; None for one that was trained here.
    """

    dataset: Dataset
    workspace: Workspace
    folds: tuple[TrainedFold, ...]
    imported: SharedModel | None = None

    @property
    def earlier(self) -> tuple[TrainedFold, ...]:
        """The folds whose masks these take as input, in a cascade."""
        return tuple(stage for fold in self.folds if (stage := earlier_stage(fold)) is not None)


def choose_model(
    dataset: Folder, workspace: Folder | None = None, run: str | None = None, folds: Sequence[int] | None = None
) -> ChosenModel:
    """The model that ``dataset`` (a data set's folder, or the name of an imported model) stands for.

    Args:
        run: whose model (the newest finished run if None; for an imported model the one that it names).
        folds: which of its folds (all if None).

    Raises:
        DataError: if there is neither such a folder nor such a model.
        ModelError: if there is no such run, a fold that is asked for is not finished, or something is damaged.
    """
    place = imported_model(dataset, workspace)
    if place is None:
        opened, place = open_both(dataset, workspace)
        return ChosenModel(opened, place, tuple(choose_run(place, run, folds)))
    about = read_model(place.folder)
    run = run or about.run
    trained = choose_run(place, run, about.folds if folds is None and run == about.run else folds)
    return ChosenModel(_without_cases(about, place, trained[0]), place, tuple(trained), about)


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
