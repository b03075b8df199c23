"""What is done, what failed, what is under way: read from the folder ``units`` of a workspace, and written there.

units/graph.json          what there is to do
units/done/<unit>.json    what a finished unit left, with hashes, and what it stood on
units/failed/<unit>.json  why one failed
units/claims/<unit>.json  who is at it
units/logs/<unit>.txt     what its process said
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from autofuse.foundation.console import say
from autofuse.foundation.errors import ModelError
from autofuse.foundation.files import crc32_of_file
from autofuse.foundation.values import StoredValue, Value, short_hash
from autofuse.units.claims import Claim, Place, here, read_claim
from autofuse.units.shape import Graph, Unit

UNITS = "units"
State = Literal["done", "running", "ready", "waiting", "failed"]
MOST_CHECKED_BYTES = 1 << 20
"""Of an output whose hash is kept; of larger ones (their own records hold theirs) the size."""


class Output(Value):
    """A file that a unit left; ``crc32`` None for a large one."""

    size: int
    crc32: int | None


class Finished(StoredValue):
    """How a unit ended well.

    Attributes:
        work: of the unit (``Unit.work``).
        stood_on: what the units before it had left (``Finished.left``), by name.
        outputs: files, by path relative to the workspace's folder.
        seconds: that it took this time.
    """

    kind: ClassVar[str] = "finished_unit"

    unit: str
    work: str
    stood_on: dict[str, str]
    outputs: dict[str, Output]
    place: Place
    ended: float
    seconds: float

    @property
    def left(self) -> str:
        """Hash of what it left."""
        return short_hash({name: item.model_dump() for name, item in self.outputs.items()})


class Failed(StoredValue):
    """How a unit failed: the exit code and message of its command, where and when; ``log`` is relative."""

    kind: ClassVar[str] = "failed_unit"

    unit: str
    work: str
    exit_code: int
    problem: str
    place: Place
    ended: float
    log: str


@dataclass(frozen=True)
class UnitState:
    """Where a unit stands: ``finished`` where it is done, ``failed`` where it failed, ``claim`` where it runs."""

    unit: Unit
    state: State
    finished: Finished | None = None
    failed: Failed | None = None
    claim: Claim | None = None


@dataclass(frozen=True)
class Ledger:
    """The units of the workspace in ``folder`` (``Workspace.folder``)."""

    folder: Path

    @property
    def units(self) -> Path:
        """Where everything about units stands."""
        return self.folder / UNITS

    @property
    def graph_file(self) -> Path:
        """What there is to do."""
        return self.units / "graph.json"

    def graph(self) -> Graph:
        """What there is to do.

        Raises:
            ModelError: if nothing was asked for yet, or the file is damaged.
        """
        if not self.graph_file.exists():
            raise ModelError(
                "There are no work units in this workspace.",
                file=self.graph_file,
                remedy="autofuse run DATASET --executor local, or autofuse worker DATASET",
            )
        return Graph.load(self.graph_file)

    def claim_file(self, name: str) -> Path:
        """Who is at the unit."""
        return self.units / "claims" / f"{name}.json"

    def log_file(self, name: str) -> Path:
        """What the unit's process says."""
        return self.units / "logs" / f"{name}.txt"

    def claim(self, name: str) -> Claim | None:
        """Who is at the unit now; None where nobody is, or its holder has died."""
        found = read_claim(self.claim_file(name))
        return found if found is not None and found.is_alive() else None

    def states(self, graph: Graph) -> dict[str, UnitState]:
        """Where every unit stands, in order; nothing is written, and no output is opened."""
        found: dict[str, UnitState] = {}
        for unit in graph.units:
            found[unit.name] = self._state(unit, found)
        return found

    def is_done(self, graph: Graph, name: str) -> bool:
        """Whether the unit is finished, and so is all that it stands on, unchanged since."""
        return self.states(graph)[name].state == "done"

    def _state(self, unit: Unit, before: Mapping[str, UnitState]) -> UnitState:
        claim = self.claim(unit.name)
        if claim is not None:
            return UnitState(unit, "running", claim=claim)
        stood_on = _left(unit, before)
        finished = self.finished(unit)
        if finished is not None and stood_on == finished.stood_on:
            return UnitState(unit, "done", finished=finished)
        failed = self._failed(unit)
        if failed is not None:
            return UnitState(unit, "failed", failed=failed)
        return UnitState(unit, "waiting" if stood_on is None else "ready")

    def left_before(self, graph: Graph, unit: Unit) -> dict[str, str] | None:
        """What the units before ``unit`` left; None while one of them is not done."""
        return _left(unit, self.states(graph))

    def finished(self, unit: Unit) -> Finished | None:
        """The record of this very unit's good end; None where there is none or it is damaged."""
        try:
            found = Finished.load(self.units / "done" / f"{unit.name}.json")
        except ModelError:
            return None
        return found if found.work == unit.work else None

    def _failed(self, unit: Unit) -> Failed | None:
        try:
            found = Failed.load(self.units / "failed" / f"{unit.name}.json")
        except ModelError:
            return None
        return found if found.work == unit.work else None

    def finish(self, unit: Unit, stood_on: Mapping[str, str], outputs: Sequence[Path], seconds: float) -> Finished:
        """Write down that the unit is done, what it left, and what the units before it had left when it was begun."""
        made = Finished(
            unit=unit.name,
            work=unit.work,
            stood_on=dict(stood_on),
            outputs={path.relative_to(self.folder).as_posix(): _output(path) for path in sorted(set(outputs))},
            place=here(),
            ended=time.time(),
            seconds=round(seconds, 2),
        )
        made.save(self.units / "done" / f"{unit.name}.json")
        self.forgive(unit.name)
        return made

    def fail(self, unit: Unit, exit_code: int, problem: str) -> Failed:
        """Write down that the unit failed."""
        made = Failed(
            unit=unit.name,
            work=unit.work,
            exit_code=exit_code,
            problem=problem,
            place=here(),
            ended=time.time(),
            log=self.log_file(unit.name).relative_to(self.folder).as_posix(),
        )
        made.save(self.units / "failed" / f"{unit.name}.json")
        return made

    def forgive(self, name: str) -> None:
        """Forget that the unit failed."""
        (self.units / "failed" / f"{name}.json").unlink(missing_ok=True)

    def reopen(self, name: str) -> None:
        """Forget that the unit is done: it is looked at again, and what fits is found."""
        (self.units / "done" / f"{name}.json").unlink(missing_ok=True)

    def verify(self, graph: Graph) -> None:
        """Reopen the finished units whose outputs are not there any more, or are others."""
        for unit in graph.units:
            finished = self.finished(unit)
            if finished is None or self.claim(unit.name) is not None:
                continue
            broken = [name for name, item in finished.outputs.items() if not _is(self.folder / name, item)]
            if broken:
                say(f"{unit.name} is done again: {broken[0]} is missing or was changed.")
                self.reopen(unit.name)


def _left(unit: Unit, states: Mapping[str, UnitState]) -> dict[str, str] | None:
    """What the units before ``unit`` left; None while one of them is not done."""
    found = {}
    for name in unit.after:
        finished = states[name].finished
        if finished is None:
            return None
        found[name] = finished.left
    return found


def _output(path: Path) -> Output:
    size = path.stat().st_size
    return Output(size=size, crc32=crc32_of_file(path) if size <= MOST_CHECKED_BYTES else None)


def _is(path: Path, wanted: Output) -> bool:
    try:
        return _output(path) == wanted
    except OSError:
        return False
