"""Which runs may be compared: finished, judged on the same held-out cases, none of which trained them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from autofuse.dataset.types import Dataset
from autofuse.evaluation.ensemble import LeftOut
from autofuse.foundation.errors import ModelError, UsageError
from autofuse.foundation.values import short_hash
from autofuse.foundation.workspace import Workspace
from autofuse.plan.types import Plan
from autofuse.road.runs import TrainedFold, find_runs, read_plan


@dataclass(frozen=True)
class Candidate:
    """A run that may predict: its finished folds that hold cases out, and their plan."""

    run: str
    folds: tuple[TrainedFold, ...]
    plan: Plan

    @property
    def held_out(self) -> tuple[str, ...]:
        """Ids of the cases that one of its folds held out, sorted."""
        return tuple(sorted(case for fold in self.folds for case in fold.plan.held_out))

    @property
    def kind(self) -> str:
        """What must be alike for probabilities to be averaged: labels, modalities, order of axes, reference."""
        plan = self.plan
        labels = plan.labels.model_dump(mode="json")
        return short_hash([labels, list(plan.modalities), list(plan.transpose), plan.reference])


@dataclass(frozen=True)
class Competition:
    """Runs that compete, by name, and those that do not."""

    candidates: tuple[Candidate, ...]
    left_out: tuple[LeftOut, ...]


def find_competition(dataset: Dataset, workspace: Workspace, named: Sequence[str] | None = None) -> Competition:
    """The runs of ``workspace`` (or those that are named) that were judged on the same held-out cases.

    Where runs differ in their held-out cases, the largest set of cases counts, then the larger number of runs, then the
    newest run.

    Raises:
        UsageError: if a run is named that is not there.
        ModelError: if no run can compete.
    """
    runs = find_runs(workspace)
    _require_known(runs, named)
    able: list[Candidate] = []
    left_out: list[LeftOut] = []
    for name, folds in runs.items():
        if named is not None and name not in named:
            left_out.append(LeftOut(run=name, why="it was not named"))
            continue
        found = _candidate(dataset, name, folds)
        if isinstance(found, Candidate):
            able.append(found)
        else:
            left_out.append(LeftOut(run=name, why=found))
    if not able:
        raise ModelError(
            "There is no run to choose from.",
            file=workspace.runs,
            found="; ".join(f"{item.run}: {item.why}" for item in left_out) or "no run",
            remedy="Train one first: autofuse train DATASET",
        )
    return _alike(able, left_out)


def _require_known(runs: Iterable[str], named: Sequence[str] | None) -> None:
    unknown = sorted(set(named or ()) - set(runs))
    if unknown:
        raise UsageError(
            f"There is no run called {unknown[0]!r}.",
            expected=", ".join(runs) or "a trained run",
            remedy="`autofuse info DATASET` lists the runs.",
        )


def _candidate(dataset: Dataset, name: str, folds: Sequence[TrainedFold]) -> Candidate | str:
    """The run as a candidate, or why it is none."""
    finished = tuple(fold for fold in folds if fold.finished is not None and fold.plan.held_out)
    if not finished:
        return "no fold is finished" if not any(fold.finished for fold in folds) else "it held nothing out"
    known = {case.id: case for case in dataset.cases}
    for fold in finished:
        trained = {_subject(fold, case) for case in (*fold.plan.labelled, *fold.plan.unlabelled)}
        both = [case for case in fold.plan.held_out if _subject(fold, case) in trained]
        if both:
            return f"{both[0]}, or another case of that subject, trained fold {fold.fold}, which holds it out"
        gone = [case for case in fold.plan.held_out if case not in known or not known[case].labelled]
        if gone:
            return f"{gone[0]} has no label in the data set now"
    held_out = [case for fold in finished for case in fold.plan.held_out]
    if len(set(held_out)) < len(held_out):
        return "a case is held out by two of its folds: they were made from different splits"
    try:
        plan = read_plan(finished[0])
    except ModelError as error:
        return error.problem
    if plan.labels != dataset.labels:
        return "it was trained for other labels than the data set has now"
    return Candidate(name, finished, plan)


def _subject(fold: TrainedFold, case: str) -> str:
    return fold.plan.subjects.get(case, case)


def _alike(able: list[Candidate], left_out: list[LeftOut]) -> Competition:
    groups: dict[tuple[tuple[str, ...], str], list[Candidate]] = {}
    for item in able:
        groups.setdefault((item.held_out, item.kind), []).append(item)
    newest = {item.run: place for place, item in enumerate(able)}
    chosen = max(groups.values(), key=lambda group: (len(group[0].held_out), len(group), newest[group[-1].run]))
    others = [item for item in able if item not in chosen]
    reasons = [LeftOut(run=item.run, why=_why_not(item, chosen[0])) for item in others]
    return Competition(
        tuple(sorted(chosen, key=lambda item: item.run)),
        tuple(sorted([*left_out, *reasons], key=lambda item: item.run)),
    )


def _why_not(item: Candidate, chosen: Candidate) -> str:
    if item.held_out == chosen.held_out:
        return "its plan has another order of modalities or axes, or another reference: masks lie on other grids"
    missing = set(chosen.held_out) - set(item.held_out)
    own = {fold.fold for fold in item.folds}
    wanted = sorted({fold.fold for fold in chosen.folds if missing & set(fold.plan.held_out)} - own)
    remedy = f": train its folds {', '.join(map(str, wanted))} as well" if wanted else ""
    return f"it was judged on {len(item.held_out)} other cases than the {len(chosen.held_out)} that count here{remedy}"
