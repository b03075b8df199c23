"""What a report is made from: the values of a workspace, as far as they are there and whole."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from autofuse.fingerprint.types import Fingerprint
from autofuse.foundation.errors import AutofuseError, ModelError
from autofuse.foundation.values import StoredValue
from autofuse.foundation.workspace import Workspace
from autofuse.plan.types import Plan
from autofuse.road.comparing import COMPARED
from autofuse.road.judging import joined_scores, kept_scores, subjects_of
from autofuse.road.runs import TrainedFold, all_runs, choose_run, read_plan

if TYPE_CHECKING:
    from autofuse.dataset.types import Dataset
    from autofuse.evaluation.types import Scores
    from autofuse.report.aliases import Aliases

S = TypeVar("S", bound=StoredValue)

MOST_NAMED = 6
"""Modalities that are named at the top of the page; of more, only the number is told."""


@dataclass
class Sources:
    """Everything that parts of the report are made from.

    Attributes:
        dataset: None where its folder cannot be opened; then there are no pictures of cases.
        fingerprint: as it was measured; shown_fingerprint has names as they are to be shown.
        plan: None where there is none, or it is damaged.
        runs: by name, the newest last; damaged: folds that cannot be read.
        main: finished folds of the run that is told first; empty where none is finished.
        warnings: what the reader must know first; left_out: what is not in the page. Both grow while parts are made.
    """

    place: Workspace
    dataset: Dataset | None
    fingerprint: Fingerprint
    plan: Plan | None
    runs: dict[str, list[TrainedFold]]
    damaged: dict[Path, ModelError]
    main: list[TrainedFold]
    aliases: Aliases
    pictures: bool
    warnings: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The data set's."""
        return self.fingerprint.dataset

    @functools.cached_property
    def shown_fingerprint(self) -> Fingerprint:
        """With cases and subjects named as they are to be shown."""
        return self.aliases.fingerprint(self.fingerprint)

    @property
    def plan_fits(self) -> bool:
        """Whether the plan was made from this fingerprint."""
        return self.plan is not None and self.plan.fingerprint_digest == self.fingerprint.digest()

    @functools.cached_property
    def held_out(self) -> dict[str, Scores]:
        """Scores of held-out cases over all judged folds, by run; under the cases' ids."""
        found = {}
        for name, folds in self.runs.items():
            parts = self._parts(folds)
            if len(parts) == 1:
                found[name] = parts[0]
            elif parts:
                try:
                    found[name] = joined_scores(read_plan(folds[0]).labels, parts, subjects=self._subjects)
                except ModelError as error:
                    self.warnings.append(f"The held-out scores of {name} are left out: {error.problem}")
        return found

    @property
    def _subjects(self) -> Mapping[str, str] | None:
        return None if self.dataset is None else subjects_of(self.dataset)

    def _parts(self, folds: Sequence[TrainedFold]) -> list[Scores]:
        """The scores of each judged fold; where there are several, those that fit the labels of the run's plan."""
        parts = [scores for fold in folds if (scores := kept_scores(fold)) is not None]
        if len(parts) < 2:
            return parts
        try:
            labels = read_plan(folds[0]).labels.digest()
        except ModelError:
            return parts  # to be named by whoever joins them
        fitting = [scores for scores in parts if scores.labels_digest == labels]
        if len(fitting) < len(parts):
            self.warnings.append(f"Scores of {folds[0].run} that were made with other labels are left out.")
        return fitting

    def said(self, words: str) -> str:
        """The words of an error as they may stand in the page: without folders of this machine, and without ids where
        those are hidden."""
        from autofuse.report.aliases import without_folders

        folders = [str(self.place.folder), *([self.dataset.root] if self.dataset is not None else [])]
        return self.aliases.text(without_folders(words, folders))

    def shown_scores(self, scores: Scores) -> Scores:
        """The scores with cases named as they are to be shown."""
        named = self.aliases.scores(scores)
        failed = [item.model_copy(update={"problem": self.said(item.problem)}) for item in named.failed]
        return named.model_copy(update={"failed": tuple(failed)})

    @functools.cached_property
    def other_scores(self) -> dict[str, Scores]:
        """Scores in the workspace's folder of tables, by their place in it, but for those of held-out cases."""
        from autofuse.evaluation.folder import SCORES_FILE
        from autofuse.evaluation.types import Scores

        found = {}
        for path in sorted(self.place.scores.rglob(SCORES_FILE)):
            where = path.parent.relative_to(self.place.scores).as_posix()
            if where.partition("/held_out")[0] in self.held_out or where.startswith(f"{COMPARED}/"):
                continue
            scores = self.read(Scores, path)
            if scores is not None:
                found[where] = scores
        return found

    def read(self, kind: type[S], path: Path) -> S | None:
        """The value in ``path``; None where there is none, or, with a warning, where it is damaged."""
        try:
            return kind.load(path) if path.exists() else None
        except ModelError as error:
            where = path.relative_to(self.place.folder).as_posix()
            self.warnings.append(self.said(f"{where} is left out: {error.problem}"))
            return None

    def facts(self) -> tuple[tuple[str, str], ...]:
        """What is told first."""
        told = [
            ("cases", str(len(self.fingerprint.cases))),
            ("modalities", self._modalities()),
            ("classes", str(len(self.fingerprint.class_names))),
            ("stage", self._stage()),
        ]
        if self.main:
            told.append(("run", self.main[0].run))
            scores = self.held_out.get(self.main[0].run)
            if scores is not None and scores.mean_dice is not None:
                told.append(("held-out Dice", f"{scores.mean_dice:.3f}"))
            test = self.other_scores.get(f"{self.main[0].run}/test")
            if test is not None and test.mean_dice is not None:
                told.append(("test Dice", f"{test.mean_dice:.3f}"))
        return tuple(told)

    def _modalities(self) -> str:
        names = self.fingerprint.modalities
        return ", ".join(names) if len(names) <= MOST_NAMED else str(len(names))

    def _stage(self) -> str:
        if self.plan is None:
            return "measured"
        folds = [fold for run in self.runs.values() for fold in run]
        if not folds:
            return "planned"
        done = sum(fold.finished is not None for fold in folds)
        return f"{done} of {len(folds)} folds trained"


def gather_sources(
    place: Workspace, dataset: str | Path, *, run: str | None, anonymous: bool, pictures: bool
) -> Sources:
    """The sources of a workspace that was measured.

    Raises:
        ModelError: if the fingerprint is damaged, or there is no such run.
    """
    from autofuse.report.aliases import Aliases

    fingerprint = Fingerprint.load(place.fingerprint)
    runs, damaged = all_runs(place)
    sources = Sources(place, None, fingerprint, None, runs, damaged, [], Aliases(), pictures)
    sources.dataset = _open(dataset, sources, anonymous)
    sources.plan = sources.read(Plan, place.plan)
    if anonymous:
        sources.aliases = _numbered(sources)
    sources.main = _main(sources, run)
    if sources.plan is not None and not sources.plan_fits:
        sources.warnings.append(
            "The plan was made from an older measurement of the data; `autofuse plan` makes it anew."
        )
    return sources


def _open(dataset: str | Path, sources: Sources, anonymous: bool) -> Dataset | None:
    """The data set, for its images; None, and a word about it, where that is not possible."""
    from autofuse.dataset.opening import open_dataset
    from autofuse.road.places import dataset_folder

    try:
        return open_dataset(dataset_folder(dataset))
    except AutofuseError as error:
        why = "" if anonymous else f" ({error.problem.rstrip('.')})"
        sources.left_out.append(f"Pictures of cases: the data set cannot be opened{why}.")
        return None


def _numbered(sources: Sources) -> Aliases:
    """Numbers for every case that anything in the workspace may name."""
    from autofuse.report.aliases import numbered

    cases = sorted(case.id for case in sources.fingerprint.cases)
    others = {case.id for case in (*sources.dataset.cases, *sources.dataset.test_cases)} if sources.dataset else set()
    for scores in (*sources.held_out.values(), *sources.other_scores.values()):
        others |= {case.case for case in scores.cases} | {item.case for item in scores.failed}
    return numbered([*cases, *sorted(others)])


def _main(sources: Sources, run: str | None) -> list[TrainedFold]:
    if run is None and not any(fold.finished for folds in sources.runs.values() for fold in folds):
        return []
    try:
        return choose_run(sources.place, run)
    except ModelError:
        if run is not None:
            raise
        return []  # only earlier stages of a cascade are finished
