"""The whole road as a graph of work units.

    ground -> prepare (shares of the cases) -> [first_stage per trainer and fold] -> train per trainer and fold
           -> [held_out, shares of a fold] -> score per fold -> select -> predict (shares of the test cases) -> report

The ground (check, fingerprint, plan, splits) is one unit before all others. The graph follows from the data set's list
of cases and from what was asked for; a plan that is there already adds what units will take. Teachers are trained by
the ``train`` unit of their student, for they belong to its fold alone. First stages of a cascade are units of their
own: the second stage of every fold learns from masks that all of them have made. While there is no plan, nobody knows
whether it will be a cascade; the units of a first stage then find out, and have nothing to do without one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import JsonValue

from autofuse.dataset.types import Dataset
from autofuse.foundation.errors import ModelError, ResourceError
from autofuse.foundation.locks import lock
from autofuse.foundation.values import short_hash
from autofuse.foundation.workspace import Workspace
from autofuse.plan.types import Configuration, Plan
from autofuse.road.run_order import RunOrder, require_possible
from autofuse.road.runs import require_fold
from autofuse.units.ledger import Ledger
from autofuse.units.shape import Graph, Needs, Unit, in_order

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

GROUND, PREPARE, FIRST_STAGE, TRAIN = "ground", "prepare", "first_stage", "train"
HELD_OUT, SCORE, SELECT, PREDICT, REPORT = "held_out", "score", "select", "predict", "report"
KINDS = (GROUND, PREPARE, FIRST_STAGE, TRAIN, HELD_OUT, SCORE, SELECT, PREDICT, REPORT)
PLANNED = "planned"
"""How the plan's own choice of trainer is called in the names of units."""
HOST_GIB = 4.0
"""Memory of the host beside a GPU: torch, CUDA's libraries, cases that are read ahead."""
SURROUNDINGS_GIB = 1.0
"""What a process takes beyond what the plan reckons with."""
_LOCK_WAIT_S = 600.0


def settle_graph(order: RunOrder, dataset: Dataset, workspace: Workspace) -> Graph:
    """The graph for ``order``, found in the workspace or made and written there.

    However many processes do this at once with the same order, they get the same graph.

    Raises:
        UsageError: if there is no such fold, or two things exclude each other.
        DataError: if no case has a label.
        ResourceError: if units of another order are being worked on.
    """
    ledger = Ledger(workspace.folder)
    described = _described(order, dataset)
    with lock(ledger.units, _LOCK_WAIT_S):
        before = _kept(ledger)
        if before is not None and before.order == described:
            return before
        if before is not None:
            _require_idle(ledger, before)
        graph = make_graph(order, dataset, plan_there(workspace))
        graph.save(ledger.graph_file)
        return graph


def make_graph(order: RunOrder, dataset: Dataset, plan: Plan | None = None) -> Graph:
    """All units of ``order``; what they will take is known where there is a plan."""
    require_possible(order)
    return Graph(order=_described(order, dataset), units=in_order(_Draft(order, dataset, plan).units()))


def plan_there(workspace: Workspace) -> Plan | None:
    """The plan in the workspace, if there is one that can be read."""
    try:
        return Plan.load(workspace.plan) if workspace.plan.exists() else None
    except ModelError:
        return None


def shares(cases: int, cases_a_unit: int) -> int:
    """Into how many shares so many cases are divided; at least one."""
    return max(1, -(-cases // cases_a_unit))


def _described(order: RunOrder, dataset: Dataset) -> dict[str, JsonValue]:
    """The order, and the facts of the data set that the graph follows from."""
    return {
        "asked": order.model_dump(mode="json"),
        "folds": [list(map(len, fold)) for fold in _splits(dataset)],
        "cases": len(dataset.cases),
        "test_cases": len(dataset.test_cases),
    }


def _splits(dataset: Dataset) -> Sequence[tuple[tuple[str, ...], tuple[str, ...]]]:
    from autofuse.dataset.splits import make_splits

    return make_splits(dataset).folds


def _kept(ledger: Ledger) -> Graph | None:
    try:
        return ledger.graph()
    except ModelError:
        return None


def _require_idle(ledger: Ledger, graph: Graph) -> None:
    busy = [state for state in ledger.states(graph).values() if state.claim is not None]
    if busy and busy[0].claim is not None:
        raise ResourceError(
            "Units of another order are being worked on here.",
            file=ledger.graph_file,
            found=f"{busy[0].unit.name}, {busy[0].claim.place.in_words()}",
            remedy="Give the options that those processes were started with, or wait, or stop them first.",
        )


@dataclass(frozen=True)
class _Draft:
    order: RunOrder
    dataset: Dataset
    plan: Plan | None

    def units(self) -> Iterator[Unit]:
        ground = self._unit(GROUND)
        yield ground
        prepared = [*self._shared(PREPARE, len(self.dataset.cases), (ground,))]
        yield from prepared
        scores: list[Unit] = []
        for trainer in self.order.methods:
            for unit in self._trainings(trainer, prepared):
                yield unit
                scores += [unit] if unit.kind == SCORE else []
        select = self._unit(SELECT, after=scores, whole=True)
        yield select
        predicted = [*self._shared(PREDICT, len(self.dataset.test_cases), (select,), whole=True)]
        yield from predicted
        yield self._unit(REPORT, after=[select, *predicted], whole=True)

    def _trainings(self, trainer: str | None, prepared: Sequence[Unit]) -> Iterator[Unit]:
        folds = self._folds()
        earlier = [
            self._unit(FIRST_STAGE, trainer, fold, after=prepared) for fold in folds if self._may_cascade(trainer)
        ]
        yield from earlier
        for fold in folds:
            train = self._unit(TRAIN, trainer, fold, after=[*prepared, *earlier])
            yield train
            held_out = len(_splits(self.dataset)[fold][1])
            parts: list[Unit] = []
            if shares(held_out, self.order.cases_a_unit) > 1:
                parts = [*self._shared(HELD_OUT, held_out, (train,), trainer, fold)]
            yield from parts
            yield self._unit(SCORE, trainer, fold, after=[train, *parts])

    def _folds(self) -> tuple[int, ...]:
        count = len(_splits(self.dataset))
        chosen = tuple(range(count)) if self.order.folds is None else self.order.folds
        for fold in chosen:
            require_fold(fold, count)
        return chosen

    def _shared(
        self,
        kind: str,
        cases: int,
        after: Sequence[Unit],
        trainer: str | None = None,
        fold: int | None = None,
        *,
        whole: bool = False,
    ) -> Iterator[Unit]:
        if not cases:
            return
        of = shares(cases, self.order.cases_a_unit)
        for number in range(1, of + 1):
            yield self._unit(kind, trainer, fold, (number, of), after=after, whole=whole)

    def _unit(
        self,
        kind: str,
        trainer: str | None = None,
        fold: int | None = None,
        share: tuple[int, int] | None = None,
        *,
        after: Sequence[Unit] = (),
        whole: bool = False,
    ) -> Unit:
        about: dict[str, JsonValue] = {}
        words = [kind]
        if fold is not None:
            about |= {"trainer": trainer, "fold": fold}
            words += [re.sub(r"[^A-Za-z0-9_+-]", "_", trainer or PLANNED), f"fold_{fold}"]
        if share is not None:
            about["share"] = list(share)
            words.append(f"{share[0]:0{len(str(share[1]))}}-of-{share[1]}")
        asked = self.order.model_dump(mode="json") if whole else self.order.identity()
        return Unit(
            name=".".join(words),
            kind=kind,
            about=about,
            work=short_hash([kind, about, asked]),
            after=tuple(unit.name for unit in after),
            needs=needs_of(kind, trainer, self.order, self.plan) or Needs(),
        )

    def _may_cascade(self, trainer: str | None) -> bool:
        return needs_of(FIRST_STAGE, trainer, self.order, self.plan) is not None


def needs_of(kind: str, trainer: str | None, order: RunOrder, plan: Plan | None) -> Needs | None:
    """What a unit of this kind takes, as far as a plan tells; None where the plan leaves it nothing to do.

    Of another trainer than the plan's nobody knows, before it is asked, whether its own plan has an earlier stage.
    """
    gpus = _gpus(order, plan) * (order.gpus if kind in (TRAIN, FIRST_STAGE) else 1)
    if plan is None:
        return Needs(gpus=gpus)
    last = _planned(order, plan)
    first = last if last.previous is None else plan.named(last.previous)
    if kind == FIRST_STAGE and first is last and trainer in (None, plan.trainer.name):
        return None
    memory = HOST_GIB if gpus else max(first.memory_gib, last.memory_gib) + SURROUNDINGS_GIB
    minutes = None
    if kind in (TRAIN, FIRST_STAGE):
        memory *= order.gpus  # that many processes
        minutes = order.fold_minutes or _minutes(first if kind == FIRST_STAGE else last, order.steps or plan.steps)
    return Needs(gpus=gpus, memory_gib=round(memory, 2), minutes=minutes)


def _gpus(order: RunOrder, plan: Plan | None) -> int:
    if order.device != "auto":
        return int(order.device == "cuda")
    if plan is not None:
        return int(plan.budget.device == "cuda")
    from autofuse.foundation.machine import visible_gpus

    return int(bool(visible_gpus()))


def _planned(order: RunOrder, plan: Plan) -> Configuration:
    """What is asked for, or the plan's choice."""
    try:
        return plan.named(order.configuration or plan.configuration)
    except KeyError:
        return plan.named(plan.configuration)  # laying the ground will refuse the name


def _minutes(configuration: Configuration, steps: int) -> float | None:
    step_s = configuration.seconds_per_step
    return None if step_s is None else round(max(steps * step_s / 60, 0.1), 1)
