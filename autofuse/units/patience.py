"""Waiting for what another machine has left to be seen here: network file systems take their time."""

from __future__ import annotations

import time

from autofuse.foundation.console import say
from autofuse.units.claims import STALE_S
from autofuse.units.executor import Job
from autofuse.units.ledger import Ledger
from autofuse.units.shape import Graph, Unit

PATIENCE_S = 2 * STALE_S
"""Of a unit that a cluster starts: what stands on it is seen late, and the claim of a node that died lives on."""
_FIRST_LOOK_S, _LOOK_EVERY_S = 0.5, 5.0


def patient_command(job: Job, unit: Unit) -> tuple[str, ...]:
    """The command that does ``unit`` on a machine of a cluster, which has just been told that it may begin."""
    return (*job.command(unit), "--patience", f"{PATIENCE_S / 60:g}")


def wait_until_ready(ledger: Ledger, graph: Graph, unit: Unit, patience_s: float) -> bool:
    """Whether, within ``patience_s``, all that ``unit`` stands on is seen to be done and nobody is at it."""
    deadline = time.monotonic() + patience_s
    pause_s = _FIRST_LOOK_S
    told = False
    while ledger.claim(unit.name) is not None or ledger.left_before(graph, unit) is None:
        if time.monotonic() >= deadline:
            return False
        if not told:
            say(f"Waiting, for {patience_s / 60:g} minutes at most, until {unit.name} can be seen to be ready.")
            told = True
        time.sleep(min(pause_s, max(0.0, deadline - time.monotonic())))
        pause_s = min(_LOOK_EVERY_S, 2 * pause_s)
    return True
