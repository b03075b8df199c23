"""Where every unit of a workspace stands, read from its folder alone: no data set, no other machine is asked."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import ClassVar

from autofuse.foundation.values import StoredValue, Value
from autofuse.units.ledger import Ledger, State, UnitState

FIRST_LINES = 4
"""Of an error's message, that a status shows."""


class UnitStatus(Value):
    """One unit.

    Attributes:
        where: process and host that are at it, or that ended it; "" while nobody was.
        since: when that process began with it, ended: when it ended; seconds since the epoch.
        seconds: that it took, or has taken by now.
        label, done, total: how far it is, where that is counted; told: what it said last.
        problem: the first lines of the error; exit_code: of its command.
        log: what its processes said, relative to the workspace's folder; "" where there is none.
        again: the command that tries it again.
        waits_for: units that it stands on and that are not done.
        scheduler: what a cluster says of it.
    """

    name: str
    kind: str
    state: State
    where: str = ""
    since: float | None = None
    ended: float | None = None
    seconds: float | None = None
    label: str = ""
    done: float | None = None
    total: float | None = None
    told: str = ""
    problem: str = ""
    exit_code: int | None = None
    log: str = ""
    again: str = ""
    waits_for: tuple[str, ...] = ()
    scheduler: str = ""


class Status(StoredValue):
    """All units, in order, as they stand at ``time`` (seconds since the epoch)."""

    kind: ClassVar[str] = "units_status"

    folder: str
    time: float
    units: tuple[UnitStatus, ...]

    def count(self, state: State) -> int:
        """How many units stand so."""
        return sum(unit.state == state for unit in self.units)


def status_of(ledger: Ledger, place: str, remarks: Mapping[str, str] | None = None) -> Status:
    """Where every unit stands now.

    Args:
        place: data set and workspace, as the words of a command.
        remarks: what a cluster says of units that are not done, by name.

    Raises:
        ModelError: if nothing was asked for yet, or the graph is damaged.
    """
    states, now = ledger.states(ledger.graph()), time.time()
    units = tuple(_status(ledger, state, states, now, place) for state in states.values())
    if remarks:
        units = tuple(_remarked(unit, remarks) for unit in units)
    return Status(folder=str(ledger.folder), time=now, units=units)


def _remarked(unit: UnitStatus, remarks: Mapping[str, str]) -> UnitStatus:
    known = unit.name in remarks and unit.state not in ("done", "failed")
    return unit.model_copy(update={"scheduler": remarks[unit.name]}) if known else unit


def _status(ledger: Ledger, state: UnitState, states: dict[str, UnitState], now: float, place: str) -> UnitStatus:
    unit, log = state.unit, ledger.log_file(state.unit.name)
    status = UnitStatus(
        name=unit.name,
        kind=unit.kind,
        state=state.state,
        log=log.relative_to(ledger.folder).as_posix() if log.exists() else "",
    )
    if state.claim is not None:
        claim = state.claim
        return status.model_copy(
            update={
                "where": claim.place.in_words(),
                "since": claim.since,
                "seconds": round(now - claim.since, 1),
                **{name: getattr(claim, name) for name in ("label", "done", "total", "told")},
            }
        )
    if state.state == "done" and state.finished is not None:
        ended = state.finished
        return status.model_copy(
            update={"where": ended.place.in_words(), "ended": ended.ended, "seconds": ended.seconds}
        )
    if state.failed is not None:
        failed = state.failed
        return status.model_copy(
            update={
                "where": failed.place.in_words(),
                "ended": failed.ended,
                "problem": "\n".join(failed.problem.splitlines()[:FIRST_LINES]),
                "exit_code": failed.exit_code,
                "again": f"autofuse unit {place} {unit.name}",
            }
        )
    missing = tuple(name for name in unit.after if states[name].state != "done")
    return status.model_copy(update={"waits_for": missing})
