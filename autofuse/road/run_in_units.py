"""The whole road by an executor: the graph is settled, carried out, and the report of its last unit handed back."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from autofuse.foundation.console import say
from autofuse.foundation.errors import ModelError
from autofuse.foundation.workspace import Workspace
from autofuse.road.places import workspace_of
from autofuse.road.results import REPORT_FILE, RunReport
from autofuse.road.run_graph import GROUND, REPORT, SELECT, needs_of, plan_there, settle_graph
from autofuse.road.run_order import RunOrder, order_of
from autofuse.road.steps import Folder, open_both
from autofuse.units.executor import Executor, Job, Outcome
from autofuse.units.ledger import Ledger
from autofuse.units.slurm.executor import remarks
from autofuse.units.status import Status, status_of

if TYPE_CHECKING:
    from autofuse.dataset.types import Dataset
    from autofuse.units.shape import Graph, Needs, Unit

LOOKED_AT_AGAIN = (GROUND, SELECT, REPORT)
"""Kinds of units that depend on more than the units before them: the images, and runs that were trained otherwise."""


@dataclass(frozen=True)
class RunOutcome:
    """What became of a run in units.

    Attributes:
        report: of the whole road; None where a unit failed, or nothing was carried out.
    """

    workspace: Workspace
    outcome: Outcome
    status: Status
    report: RunReport | None


def run_in_units(
    dataset: Folder,
    order: RunOrder,
    executor: Executor,
    *,
    workspace: Folder | None = None,
    workers: int | None = None,
    look_again: Sequence[str] | None = LOOKED_AT_AGAIN,
) -> RunOutcome:
    """The road by ``executor``: what was done before and still fits is kept, what failed before is tried again.

    Args:
        look_again: kinds of units that are done again in any case; None where nothing at all is to be looked at, for
            others rely on it.

    Raises:
        AutofuseError: if the order cannot be carried out, or the executor cannot go on. A unit that fails is in the
            outcome.
    """
    opened, place = open_both(dataset, workspace)
    graph = settle_graph(order, opened, place)
    if look_again is not None:
        _look_again(Ledger(place.folder), graph, look_again)
    return _carried_out(opened, place, graph, executor, workers)


def work_on_units(
    dataset: Folder,
    order: RunOrder | None,
    executor: Executor,
    *,
    workspace: Folder | None = None,
    workers: int | None = None,
    retry: bool = False,
) -> RunOutcome:
    """The same together with others who do likewise; nothing that they have done is looked at again.

    Args:
        order: None for what stands in the workspace, or, where nothing does, what `autofuse run` does by itself.
        retry: try again what failed before.
    """
    opened, place = open_both(dataset, workspace)
    ledger = Ledger(place.folder)
    if order is None and ledger.graph_file.exists():
        graph = ledger.graph()
    else:
        graph = settle_graph(order or RunOrder(), opened, place)
    for unit in graph.units if retry else ():
        ledger.forgive(unit.name)
    return _carried_out(opened, place, graph, executor, workers)


def units_status(dataset: Folder, *, workspace: Folder | None = None) -> Status:
    """Where every unit stands; read from the workspace alone, and from SLURM where it has units.

    Raises:
        ModelError: if there are no units, or their graph is damaged.
    """
    place = workspace_of(dataset, workspace)
    ledger = Ledger(place.folder)
    return status_of(ledger, place_words(dataset, place), remarks(ledger))


def place_words(dataset: Folder, place: Workspace) -> str:
    """Data set and workspace as the words of a command."""
    return shlex.join([str(dataset), "--workspace", str(place.root)])


def _look_again(ledger: Ledger, graph: Graph, kinds: Sequence[str]) -> None:
    """Forget failures, and what may have changed from outside, unless others are at work here."""
    states = ledger.states(graph)
    busy = [state.claim for state in states.values() if state.claim is not None]
    if busy:
        say(f"Others are at work here ({busy[0].place.in_words()}): their units are left to them.")
        return
    ledger.verify(graph)
    for unit in graph.units:
        ledger.forgive(unit.name)
        if unit.kind in kinds:
            ledger.reopen(unit.name)


def _carried_out(
    dataset: Dataset, place: Workspace, graph: Graph, executor: Executor, workers: int | None
) -> RunOutcome:
    job = job_of(dataset, place, graph, workers)
    outcome = executor.run(job)
    status = status_of(job.ledger, place_words(dataset.root, place))
    return RunOutcome(place, outcome, status, _report(job, outcome))


def job_of(dataset: Dataset, place: Workspace, graph: Graph, workers: int | None) -> Job:
    """The units of ``graph``, as an executor takes them."""
    options = () if workers is None else ("--workers", str(workers))
    return Job(Path(dataset.root), place, graph, options, _needs(place, graph))


def _needs(place: Workspace, graph: Graph) -> Callable[[Unit], Needs | None]:
    """What units take, by the plan; that there is nothing to do only by one that they will find."""
    order, ledger = order_of(graph), Ledger(place.folder)

    def needs(unit: Unit) -> Needs | None:
        known = needs_of(unit.kind, cast("str | None", unit.about.get("trainer")), order, plan_there(place))
        return known or unit.needs if ledger.finished(graph.units[0]) is None else known

    return needs


def _report(job: Job, outcome: Outcome) -> RunReport | None:
    last = job.graph.units[-1]
    if last.name not in outcome.done:
        return None
    path = job.workspace.folder / REPORT_FILE
    try:
        return RunReport.load(path)
    except ModelError as error:
        say(f"{path.name} cannot be read: {error.problem}")
        return None
