"""What leaves with a model, of whatever kind the file is: its members, its card, and what must not be in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from autofuse.foundation.console import say
from autofuse.foundation.errors import UsageError
from autofuse.road.models import ChosenModel, choose_model, model_name
from autofuse.road.runs import TrainedFold, read_plan
from autofuse.road.steps import Folder

if TYPE_CHECKING:
    from autofuse.plan.types import Plan
    from autofuse.sharing.private import Secrets
    from autofuse.sharing.reduce import ReducedFold
    from autofuse.sharing.types import DataSummary, HeldOutScores, Member, SharedModel

ENSEMBLE = "ensemble.json"
SHARED = "shared"
"""Folder of a workspace for models that are given away, where no other place is named."""


class Parts:
    """A chosen model, taken apart for giving it away.

    Attributes:
        chosen: the folds that predict; earlier: those whose masks these take as input, each once.
        name: of the model.
        secrets: what must not leave with it.
        scores: of held-out cases; None where there are none.
    """

    def __init__(self, chosen: ChosenModel, name: str, licence: str | None) -> None:
        self.chosen, self.name, self._licence = chosen, name, licence
        predicting = {fold.folder for fold in chosen.folds}
        stages = {stage.folder: stage for stage in chosen.earlier if stage.folder not in predicting}
        self.earlier = tuple(stages.values())
        self.secrets = _secrets(chosen, self.folds, name)
        self.scores = _scores(chosen)

    @property
    def folds(self) -> tuple[TrainedFold, ...]:
        """Everything that has weights, earlier stages last."""
        return (*self.chosen.folds, *self.earlier)

    def reduced(self, fold: TrainedFold) -> ReducedFold:
        """``fold`` without its patients.

        Raises:
            ModelError: if it is damaged, or its values would give a case or a path away.
        """
        from autofuse.sharing.reduce import reduce_fold

        made = reduce_fold(fold.folder, self.name, self.secrets, earlier=fold in self.earlier)
        for entry, text in made.texts.items():
            self.secrets.require_absent(f"{made.member.folder}/{entry}", text.encode())
        return made

    def plan(self) -> Plan:
        """The plan of the first fold, without what would give a case away."""
        from autofuse.sharing.reduce import reduce_plan

        return reduce_plan(read_plan(self.chosen.folds[0]), self.name, self.secrets)

    def member(self, fold: TrainedFold) -> Member:
        """What is said of ``fold``. Of an imported model what it said of it: the lists of cases are empty here."""
        from autofuse.sharing.reduce import member_of

        before = self.chosen.imported
        known = {} if before is None else {(item.run, item.fold): item for item in before.members}
        made = member_of(fold.run, fold.plan, read_plan(fold), earlier=fold in self.earlier)
        return known.get((fold.run, fold.fold), made)

    def model(self) -> SharedModel:
        """What the model says of itself."""
        from autofuse.sharing.types import SharedModel

        first, plan, before = self.chosen.folds[0], self.plan(), self.chosen.imported
        return SharedModel(
            name=self.name,
            licence=self._licence or (before.licence if before else None),
            modalities=plan.modalities,
            classes=tuple(item.name for item in plan.labels.classes),
            file_ending=self.chosen.dataset.file_ending,
            run=first.run,
            folds=tuple(fold.fold for fold in self.chosen.folds),
            members=tuple(self.member(fold) for fold in self.folds),
            scores=self.scores,
            autofuse_version=first.plan.autofuse_version,
            torch_version=first.plan.torch_version,
        )

    def card(self, *, graphs: bool = False) -> str:
        """The model card; ``graphs``: of ONNX networks, not of a bundle."""
        from autofuse.sharing.card import model_card

        return model_card(self.model(), self.plan(), _data(self.chosen), graphs=graphs)

    def texts(self) -> dict[str, str]:
        """What a bundle holds beside its folds, by entry.

        Raises:
            ModelError: if it would give a case or a path away.
        """
        from autofuse.sharing import layout

        data = _data(self.chosen)
        texts = {layout.MODEL: self.model().to_json(), layout.CARD: self.card()}
        if data is not None:
            texts[layout.SUMMARY] = data.to_json()
        for entry, text in texts.items():
            self.secrets.require_absent(entry, text.encode())
        return texts


def take_apart(
    dataset: Folder,
    workspace: Folder | None,
    run: str | None,
    folds: Sequence[int] | None,
    name: str | None,
    licence: str | None,
) -> Parts:
    """The model that these options choose, for giving it away as ``name`` (the data set's name if None).

    Raises:
        UsageError: if the name cannot be one; or if an ensemble was chosen, which a bundle cannot hold yet.
        ModelError: if nothing is finished, or something is damaged.
    """
    chosen = choose_model(dataset, workspace, run, folds)
    ensemble = chosen.workspace.folder / ENSEMBLE
    if run is None and folds is None and ensemble.exists():
        raise UsageError(
            "An ensemble was chosen for this data set, and ensembles cannot be shared yet.",
            found=str(ensemble),
            remedy=f"Share one run of it: autofuse export {dataset} --run {chosen.folds[0].run}",
        )
    return Parts(chosen, model_name(name or chosen.workspace.dataset, given=name is not None), licence)


def _secrets(chosen: ChosenModel, folds: Sequence[TrainedFold], name: str) -> Secrets:
    from autofuse.sharing.private import Secrets

    dataset, runs = chosen.dataset, [fold.plan for fold in folds]
    ids = {word for case in (*dataset.cases, *dataset.test_cases) for word in (case.id, case.subject)}
    for run in runs:
        ids |= {*run.labelled, *run.unlabelled, *run.held_out, *run.subjects, *run.subjects.values()}
    plan = read_plan(chosen.folds[0])
    public = [name, *plan.modalities, *(item.name for item in plan.labels.classes)]
    public += [item.name for item in plan.configurations] + [run.trainer for run in runs]
    place = chosen.workspace
    return Secrets(ids, [Path(dataset.root), place.root, place.folder, Path.home(), Path.cwd()], public)


def _scores(chosen: ChosenModel) -> HeldOutScores | None:
    """Held-out scores of these folds as far as they were made; prediction of a whole run makes them."""
    from autofuse.road.judging import joined_scores, kept_scores, subjects_of
    from autofuse.sharing.summary import summarise_scores

    if chosen.imported is not None:
        return chosen.imported.scores
    parts = [scores for fold in chosen.folds if (scores := kept_scores(fold)) is not None]
    labels = read_plan(chosen.folds[0]).labels
    return summarise_scores(joined_scores(labels, parts, subjects=subjects_of(chosen.dataset)))


def _data(chosen: ChosenModel) -> DataSummary | None:
    """What is known of the data that these folds were trained on; None where that was measured anew since."""
    from autofuse.fingerprint.types import Fingerprint
    from autofuse.sharing.layout import SUMMARY
    from autofuse.sharing.summary import summarise_data
    from autofuse.sharing.types import DataSummary

    kept = chosen.workspace.folder / SUMMARY
    if chosen.imported is not None:
        return DataSummary.load(kept) if kept.exists() else None
    if not chosen.workspace.fingerprint.exists():
        return None
    fingerprint = Fingerprint.load(chosen.workspace.fingerprint)
    if fingerprint.digest() != read_plan(chosen.folds[0]).fingerprint_digest:
        say("The data set was measured anew after this training: the bundle tells nothing of it.")
        return None
    return summarise_data(fingerprint)
