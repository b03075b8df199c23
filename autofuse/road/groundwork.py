"""What every later step stands on (fingerprint, budget, plan, splits), laid once however many folds start together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from autofuse.dataset.types import Dataset, Splits
from autofuse.fingerprint.types import Fingerprint
from autofuse.foundation.console import say
from autofuse.foundation.errors import ModelError, ResourceError, UsageError
from autofuse.foundation.locks import lock
from autofuse.foundation.machine import default_device
from autofuse.foundation.registry import PLANNERS, load_registered
from autofuse.foundation.values import StoredValue
from autofuse.foundation.workspace import Workspace
from autofuse.networks import TOPOLOGIES
from autofuse.plan.types import Budget, Plan
from autofuse.road.dials import ANY, DIALS_FILE, Asked, Dials, load_dials
from autofuse.road.foreseeing import held_to_memory

S = TypeVar("S", bound=StoredValue)

UNUSUAL_TOLD = 5
"""Of what is unusual about the data, that is said when they were measured; `autofuse fingerprint` says all."""
WAIT_S = 24 * 3600.0
"""How long a fold waits while another lays the ground; a holder that dies lets go at once."""


@dataclass(frozen=True)
class Ground:
    """A data set, its workspace, and the values that everything after them is made from."""

    dataset: Dataset
    workspace: Workspace
    fingerprint: Fingerprint
    plan: Plan
    splits: Splits

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        """Where the plan computes."""
        return self.plan.budget.device


def lay_ground(
    dataset: Dataset,
    workspace: Workspace,
    asked: Asked,
    *,
    workers: int | None = None,
    training_minutes: Callable[[Dials], float | None] | None = None,
) -> Ground:
    """The ground of ``dataset``, found or laid; values that no longer fit are named and made anew.

    Args:
        training_minutes: how much of the asked minutes training one fold gets; all of them if not given.

    Raises:
        AutofuseError: whatever measuring, planning or writing meets.
    """
    if asked.planner is not None:
        load_registered(PLANNERS, asked.planner)  # a wrong name must not become a dial
    _require_topology(asked.topology)
    with waiting_lock(workspace.folder):
        before = load_dials(workspace.folder)
        dials = asked.turned(before, _device(asked))  # a dial that cannot be meant is refused before any work
        fingerprint = find_fingerprint(dataset, workspace, workers)
        budget = _budget(workspace, before, dials, training_minutes)
        plan = _plan(dataset, workspace, fingerprint, budget, dials)
        return Ground(dataset, workspace, fingerprint, plan, _splits(dataset, workspace))


def standing_ground(dataset: Dataset, workspace: Workspace) -> Ground:
    """The ground that was laid for ``dataset``, as it stands; nothing is measured, and nobody is waited for.

    Raises:
        ModelError: if a part of it is missing, damaged, or does not fit the others.
    """
    fingerprint, plan = Fingerprint.load(workspace.fingerprint), Plan.load(workspace.plan)
    if plan.fingerprint_digest != fingerprint.digest():
        raise ModelError(
            "The plan was made for another fingerprint than the one beside it.",
            file=workspace.plan,
            found=plan.fingerprint_digest[:12],
            expected=fingerprint.digest()[:12],
            remedy=f"autofuse plan {dataset.root}",
        )
    return Ground(dataset, workspace, fingerprint, plan, Splits.load(workspace.splits))


def _require_topology(name: str | None) -> None:
    if name not in (None, ANY, *TOPOLOGIES):
        raise UsageError(
            f"No topology is called {name!r}.",
            found=f"--topology {name}",
            expected=", ".join((*TOPOLOGIES, ANY)),
        )


@contextmanager
def waiting_lock(folder: Path) -> Iterator[None]:
    """Hold ``folder``; where somebody else does, say so and wait for them."""
    with ExitStack() as held:
        try:
            held.enter_context(lock(folder))
        except ResourceError as busy:
            if busy.__cause__ is not None:
                raise  # the folder cannot be written; waiting would not help
            say(f"Waiting for another process in {folder} ({busy.found}).")
            held.enter_context(lock(folder, WAIT_S))
        yield


def find_fingerprint(dataset: Dataset, workspace: Workspace, workers: int | None) -> Fingerprint:
    """What was measured; cases whose files have not changed are not measured again. Needs the lock."""
    from autofuse.fingerprint.measure import measure
    from autofuse.fingerprint.oddities import oddities

    before = _kept(Fingerprint, workspace.fingerprint)
    if before is None:
        say("Measuring the data set.")
    fingerprint = measure(dataset, workspace, workers=workers)
    if before is not None and before.digest() != fingerprint.digest():
        say("The data set has changed since it was measured: it was measured anew.")
    if before is None or before.digest() != fingerprint.digest():
        for unusual in oddities(fingerprint)[:UNUSUAL_TOLD]:
            say(f"Unusual: {unusual}")
    return fingerprint


def _device(asked: Asked) -> Literal["cpu", "cuda"]:
    return asked.device or ("cuda" if default_device().startswith("cuda") else "cpu")


def _budget(
    workspace: Workspace,
    before: Dials | None,
    dials: Dials,
    training_minutes: Callable[[Dials], float | None] | None,
) -> Budget:
    kept = _kept(Budget, workspace.budget)
    if kept is not None and before == dials:
        return kept
    if kept is not None and before is not None:
        say("Other dials than before: the plan is made anew.")
    if kept is not None and before is not None and before.model_copy(update=dials.wishes) == dials:
        budget = kept  # a wish changes nothing that is measured
    else:
        from autofuse.plan.budget import measure_budget

        minutes = dials.minutes if training_minutes is None else training_minutes(dials)
        budget = measure_budget(dials.memory_gib, minutes, dials.device)
    budget = budget.model_copy(update=dials.wishes)
    budget.save(workspace.budget)
    dials.save(workspace.folder / DIALS_FILE)
    return budget


def _plan(dataset: Dataset, workspace: Workspace, fingerprint: Fingerprint, budget: Budget, dials: Dials) -> Plan:
    kept = _kept(Plan, workspace.plan)
    if kept is not None:
        stale = _why_stale(kept, fingerprint, budget, dials)
        if stale is None:
            return kept
        say(f"plan.json is stale ({stale}): it is made anew.")
    started = time.monotonic()
    planner = load_registered(PLANNERS, dials.planner)()

    def planned(under: Budget) -> Plan:
        made: Plan = planner.plan(fingerprint, dataset.labels, under)
        return made.model_copy(update={"planner": dials.planner})

    plan = held_to_memory(planned(budget), planned)
    plan.save(workspace.plan)
    say(f"Planned in {time.monotonic() - started:.1f} s; `autofuse explain {dataset.root}` says why so.")
    return plan


def _why_stale(plan: Plan, fingerprint: Fingerprint, budget: Budget, dials: Dials) -> str | None:
    if plan.fingerprint_digest != fingerprint.digest():
        return "the data set was measured anew"
    if plan.budget != budget:
        return "it was made for other dials"
    if plan.planner != dials.planner:
        return f"the planner {plan.planner!r} made it, and {dials.planner!r} is asked for"
    return None


def _splits(dataset: Dataset, workspace: Workspace) -> Splits:
    from autofuse.dataset.splits import make_splits

    splits = make_splits(dataset)
    kept = _kept(Splits, workspace.splits)
    if kept == splits:
        return splits
    if kept is not None:
        say("splits.json is stale (the cases or their subjects changed): it is made anew.")
    splits.save(workspace.splits)
    return splits


def _kept(kind: type[S], path: Path) -> S | None:
    """The value in ``path``; None where there is none. One that is damaged is named and made anew."""
    if not path.exists():
        return None
    try:
        return kind.load(path)
    except ModelError as error:
        say(f"{path.name} cannot be used and is made anew: {error.problem}")
        return None
