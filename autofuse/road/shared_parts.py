"""What leaves with a model, of whatever kind the file is: its members, its card, and what must not be in it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from autofuse.foundation.console import say
from autofuse.road.models import ChosenModel, choose_model, model_name
from autofuse.road.runs import TrainedFold, read_plan
from autofuse.road.steps import Folder

if TYPE_CHECKING:
    from autofuse.evaluation.ensemble import Ensemble
    from autofuse.plan.types import Plan
    from autofuse.sharing.ensembles import FoldValues
    from autofuse.sharing.private import Secrets
    from autofuse.sharing.reduce import ReducedFold
    from autofuse.sharing.types import Choice, DataSummary, HeldOutScores, Member, SharedModel

SHARED = "shared"
"""Folder of a workspace for models that are given away, where no other place is named."""


class Parts:
    """A chosen model, taken apart for giving it away.

    Attributes:
        chosen: who predicts; earlier: folds whose masks these take as input, each once.
        name: of the model.
        main: folds of the run that counts most.
        secrets: what must not leave with it.
        scores: of held-out cases of ``main``; None where there are none.
    """

    def __init__(self, chosen: ChosenModel, name: str, licence: str | None) -> None:
        self.chosen, self.name, self._licence = chosen, name, licence
        predicting = {fold.folder for fold in chosen.folds}
        stages = {stage.folder: stage for stage in chosen.earlier if stage.folder not in predicting}
        self.earlier = tuple(stages.values())
        self.main = _main(chosen)
        self.secrets = _secrets(chosen, self.folds, name)
        self.scores = _scores(chosen, self.main)

    @property
    def folds(self) -> tuple[TrainedFold, ...]:
        """Everything that has weights, earlier stages last."""
        return (*self.chosen.folds, *self.earlier)

    @property
    def shown_as(self) -> str:
        """Name of the run that predicts, or of the ensemble as it leaves."""
        return self.main[0].run if self.ensemble is None else self.ensemble.name

    @property
    def numbers(self) -> tuple[int, ...]:
        """Of the folds that predict."""
        return tuple(sorted({fold.fold for fold in self.chosen.folds}))

    @property
    def members(self) -> str:
        """Of an ensemble, in words; empty for a run."""
        return "" if self.ensemble is None else self.ensemble.in_words()

    def share(self, fold: TrainedFold) -> float:
        """How much ``fold`` counts in the members' mean; 0 for one that only makes masks for others."""
        crew = self.chosen.crew
        weights = crew.weights or (1 / len(crew.folds),) * len(crew.folds)
        return sum(weight for item, weight in zip(crew.folds, weights, strict=True) if item.folder == fold.folder)

    def first_stages(self, fold: TrainedFold) -> tuple[TrainedFold, ...]:
        """The folds whose mean makes the masks that ``fold`` takes as input: all that its run has here."""
        stages = {stage.folder: stage for stage in self.chosen.earlier if stage.run == fold.plan.prior_run}
        return tuple(sorted(stages.values(), key=lambda stage: stage.fold))

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

    @cached_property
    def plans(self) -> dict[str, Plan]:
        """The plan of each run, without what would give a case away; that of ``main`` first."""
        from autofuse.sharing.reduce import reduce_plan

        one_each = {fold.run: fold for fold in (*self.main, *self.folds)}
        return {run: reduce_plan(read_plan(fold), self.name, self.secrets) for run, fold in one_each.items()}

    @cached_property
    def ensemble(self) -> Ensemble | None:
        """What weighs the members, and is done to their mean; None where one run predicts by itself, as any would.

        Raises:
            ModelError: if an import would refuse it.
        """
        from autofuse.sharing.ensembles import require_sound_ensemble, shared_ensemble

        found = self.chosen.ensemble
        if found is None or (found.is_plain and found.mirror):
            return None
        predicting = {(fold.run, fold.fold): self._values(fold) for fold in self.chosen.folds}
        earlier = {(fold.run, fold.fold): self._values(fold) for fold in self.earlier}
        made = shared_ensemble(found, self.name, {**earlier, **predicting})
        require_sound_ensemble(made, self.name, predicting, earlier, self.chosen.workspace.ensemble)
        return made

    def _values(self, fold: TrainedFold) -> FoldValues:
        from autofuse.sharing.ensembles import FoldValues
        from autofuse.sharing.reduce import reduce_run

        assert fold.finished is not None
        plan = self.plans[fold.run]
        return FoldValues(plan, reduce_run(fold.plan, plan), fold.finished.weights_crc32)

    def member(self, fold: TrainedFold) -> Member:
        """What is said of ``fold``. Of an imported model what it said of it: the lists of cases are empty here."""
        from autofuse.sharing.reduce import member_of

        before = self.chosen.imported
        known = {} if before is None else {(item.run, item.fold): item for item in before.members}
        made = member_of(fold.run, fold.plan, self.plans[fold.run], earlier=fold in self.earlier)
        said = known.get((fold.run, fold.fold), made)
        return said.model_copy(update={"earlier": made.earlier})

    def model(self) -> SharedModel:
        """What the model says of itself."""
        from autofuse.sharing.types import SharedModel

        first, before = self.main[0], self.chosen.imported
        plan = self.plans[first.run]
        return SharedModel(
            name=self.name,
            licence=self._licence or (before.licence if before else None),
            modalities=plan.modalities,
            classes=tuple(item.name for item in plan.labels.classes),
            file_ending=self.chosen.dataset.file_ending,
            run=first.run,
            folds=tuple(fold.fold for fold in self.main),
            members=tuple(self.member(fold) for fold in self.folds),
            ensemble=None if self.ensemble is None else self.ensemble.digest(),
            scores=self.scores,
            choice=self._choice(),
            autofuse_version=first.plan.autofuse_version,
            torch_version=first.plan.torch_version,
        )

    def _choice(self) -> Choice | None:
        from autofuse.sharing.ensembles import shared_choice

        before, found = self.chosen.imported, self.chosen.ensemble
        if self.ensemble is None or found is None:
            return None
        return shared_choice(found) if before is None else before.choice

    def card(self, *, graphs: bool = False) -> str:
        """The model card; ``graphs``: of ONNX networks, not of a bundle."""
        from autofuse.sharing.card import model_card

        return model_card(self.model(), self.plans, _data(self.chosen), self.ensemble, graphs=graphs)

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
        if self.ensemble is not None:
            texts[layout.ENSEMBLE] = self.ensemble.to_json()
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
        UsageError: if the name cannot be one.
        ModelError: if nothing is finished, or something is missing or damaged.
    """
    chosen = choose_model(dataset, workspace, run, folds)
    return Parts(chosen, model_name(name or chosen.workspace.dataset, given=name is not None), licence)


def _main(chosen: ChosenModel) -> tuple[TrainedFold, ...]:
    """The folds of the run that counts most; of equals the first."""
    if chosen.ensemble is None:
        return chosen.folds
    run = max(chosen.ensemble.members, key=lambda member: member.weight).run
    return tuple(fold for fold in chosen.folds if fold.run == run)


def _secrets(chosen: ChosenModel, folds: Sequence[TrainedFold], name: str) -> Secrets:
    from autofuse.sharing.private import Secrets

    dataset, runs = chosen.dataset, [fold.plan for fold in folds]
    ids = {word for case in (*dataset.cases, *dataset.test_cases) for word in (case.id, case.subject)}
    for run in runs:
        ids |= {*run.labelled, *run.unlabelled, *run.held_out, *run.subjects, *run.subjects.values()}
    public = [name, *(run.trainer for run in runs)]
    for plan in {fold.run: read_plan(fold) for fold in folds}.values():
        public += [*plan.modalities, *(item.name for item in plan.labels.classes)]
        public += [item.name for item in plan.configurations]
    place = chosen.workspace
    return Secrets(ids, [Path(dataset.root), place.root, place.folder, Path.home(), Path.cwd()], public)


def _scores(chosen: ChosenModel, folds: Sequence[TrainedFold]) -> HeldOutScores | None:
    """Held-out scores of these folds as far as they were made; prediction of a whole run makes them."""
    from autofuse.road.judging import joined_scores, kept_scores, subjects_of
    from autofuse.sharing.summary import summarise_scores

    before = chosen.imported
    if before is not None:
        same = {(before.run, number) for number in before.folds} == {(fold.run, fold.fold) for fold in folds}
        return before.scores if same else None
    parts = [scores for fold in folds if (scores := kept_scores(fold)) is not None]
    labels = read_plan(folds[0]).labels
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
    if {fingerprint.digest()} != {read_plan(fold).fingerprint_digest for fold in chosen.folds}:
        say("The data set was measured anew after this training: the bundle tells nothing of it.")
        return None
    return summarise_data(fingerprint)
