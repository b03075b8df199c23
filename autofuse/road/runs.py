"""The training runs that a workspace holds: which there are, which folds are finished, which one is meant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autofuse.foundation.console import say
from autofuse.foundation.errors import ModelError, UsageError
from autofuse.foundation.workspace import Workspace
from autofuse.plan.types import Plan
from autofuse.training.run import RunPlan
from autofuse.training.state import FitResult

RUN_FILE, FINISHED_FILE, PLAN_FILE = "run.json", "finished.json", "plan.json"
HELD_OUT, HELD_OUT_SCORES = "held_out", "held_out_scores"


@dataclass(frozen=True)
class TrainedFold:
    """One fold of a run.

    Attributes:
        run: the run's name, the same for all folds.
        folder: with checkpoints, log.jsonl, progress.png and the masks of the held-out cases.
        plan: what was trained.
        finished: how it ended; None while it has not.
    """

    run: str
    fold: int
    folder: Path
    plan: RunPlan
    finished: FitResult | None

    @property
    def held_out(self) -> Path:
        """Masks of the held-out cases, on their native grid."""
        return self.folder / HELD_OUT

    @property
    def held_out_scores(self) -> Path:
        """Scores of these masks."""
        return self.folder / HELD_OUT_SCORES

    @property
    def started(self) -> float:
        """When it was begun, for telling which is the newest."""
        return (self.folder / RUN_FILE).stat().st_mtime


def find_runs(workspace: Workspace) -> dict[str, list[TrainedFold]]:
    """Folds by the name of their run, the run that was begun last at the end; a damaged fold is named and left out."""
    found, damaged = all_runs(workspace)
    for folder, error in damaged.items():
        say(f"{folder} is left out: {error.problem}")
    return found


def all_runs(workspace: Workspace) -> tuple[dict[str, list[TrainedFold]], dict[Path, ModelError]]:
    """Folds by the name of their run, the run that was begun last at the end; and the folders of damaged folds."""
    found: dict[str, list[TrainedFold]] = {}
    damaged: dict[Path, ModelError] = {}
    for path in sorted(workspace.runs.glob(f"*/fold_*/{RUN_FILE}")):
        try:
            fold = read_fold(path.parent)
        except ModelError as error:
            damaged[path.parent] = error
            continue
        found.setdefault(fold.run, []).append(fold)
    ordered = sorted(found.items(), key=lambda item: max(fold.started for fold in item[1]))
    return {name: sorted(folds, key=lambda fold: fold.fold) for name, folds in ordered}, damaged


def read_fold(folder: Path) -> TrainedFold:
    """The fold in ``folder``.

    Raises:
        ModelError: if its run.json is missing or damaged.
    """
    plan = RunPlan.load(folder / RUN_FILE)
    finished = None
    if (folder / FINISHED_FILE).exists():
        result = FitResult.load(folder / FINISHED_FILE)
        finished = result if result.run_digest == plan.digest() else None
    return TrainedFold(folder.parent.name, plan.fold, folder, plan, finished)


def earlier_stage(fold: TrainedFold) -> TrainedFold | None:
    """The fold whose masks ``fold`` takes as input, in a cascade; None without one.

    Raises:
        ModelError: if it is missing, damaged or not finished.
    """
    if fold.plan.prior_run is None:
        return None
    earlier = read_fold(fold.folder.parents[1] / fold.plan.prior_run / fold.folder.name)
    if earlier.finished is None:
        raise ModelError(
            "The earlier stage of this cascade is not finished.",
            file=earlier.folder,
            remedy=f"autofuse train DATASET -c {earlier.plan.configuration} --fold {earlier.fold}",
        )
    return earlier


def read_plan(fold: TrainedFold) -> Plan:
    """The plan that ``fold`` was trained by; it stays valid when the workspace has got another one.

    Raises:
        ModelError: if it is missing, damaged or another one.
    """
    plan = Plan.load(fold.folder / PLAN_FILE)
    if plan.digest() != fold.plan.plan_digest:
        raise ModelError(
            "The plan beside this run is not the one that it was trained by.",
            file=fold.folder / PLAN_FILE,
            found=plan.digest()[:12],
            expected=fold.plan.plan_digest[:12],
            remedy="Copy the run again from where it came, or train it anew.",
        )
    return plan


def choose_run(workspace: Workspace, name: str | None = None, folds: Sequence[int] | None = None) -> list[TrainedFold]:
    """Finished folds of the run called ``name`` (the newest that has any, and is no earlier stage of a cascade).

    Raises:
        ModelError: if there is no such run, or a fold that is asked for is not finished.
    """
    runs = {run: [fold for fold in all_folds if fold.finished] for run, all_folds in find_runs(workspace).items()}
    if name is not None:
        return _named(workspace, runs, name, folds)
    last_stages = [trained for trained in runs.values() if trained and not _is_earlier_stage(trained[0])]
    if not last_stages:
        raise ModelError(
            "No run of this data set is finished.",
            file=workspace.runs,
            found=", ".join(runs) or "no run",
            remedy="Train one first: autofuse train DATASET",
        )
    return _only(last_stages[-1], folds)


def _named(
    workspace: Workspace, runs: dict[str, list[TrainedFold]], name: str, folds: Sequence[int] | None
) -> list[TrainedFold]:
    if not runs.get(name):
        raise ModelError(
            f"There is no finished run called {name!r}." if name not in runs else f"No fold of {name!r} is finished.",
            file=workspace.runs,
            found=", ".join(runs) or "no run",
            remedy="`autofuse info DATASET` lists the runs.",
        )
    return _only(runs[name], folds)


def _only(trained: list[TrainedFold], folds: Sequence[int] | None) -> list[TrainedFold]:
    if folds is None:
        return trained
    by_number = {fold.fold: fold for fold in trained}
    missing = [number for number in folds if number not in by_number]
    if missing:
        raise ModelError(
            f"Not every fold that is asked for is finished in {trained[0].run}.",
            found="finished: " + ", ".join(map(str, by_number)),
            expected=", ".join(map(str, folds)),
            remedy=f"autofuse train DATASET --fold {missing[0]}",
        )
    return [by_number[number] for number in folds]


def _is_earlier_stage(fold: TrainedFold) -> bool:
    """Whether another configuration of its plan takes its masks as input, and it is not itself the plan's choice."""
    try:
        plan = read_plan(fold)
    except ModelError:
        return False  # to be refused by name, rather than passed over in silence for an older run
    own = fold.plan.configuration
    return own != plan.configuration and any(item.previous == own for item in plan.configurations)


def require_fold(fold: int, folds: int) -> None:
    """Nothing, if there is such a fold.

    Raises:
        UsageError: if there is not.
    """
    if not 0 <= fold < folds:
        raise UsageError(
            "There is no such fold.", found=str(fold), expected=f"0 to {folds - 1}", remedy="Look at splits.json."
        )
