"""A unit that a cluster starts waits until it can be seen to be ready, and no longer than it is told to."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from autofuse.foundation.workspace import Workspace
from autofuse.units.claims import claimed
from autofuse.units.executor import Job
from autofuse.units.ledger import Ledger
from autofuse.units.patience import PATIENCE_S, patient_command, wait_until_ready
from autofuse.units.shape import Graph, Unit

GRAPH = Graph(units=(Unit(name="first", kind="a", work="w"), Unit(name="second", kind="a", work="w", after=("first",))))


def test_what_is_ready_is_not_waited_for(tmp_path: Path) -> None:
    assert wait_until_ready(Ledger(tmp_path), GRAPH, GRAPH.named("first"), 0.0)


def test_what_another_machine_has_left_is_waited_for(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    assert not wait_until_ready(ledger, GRAPH, GRAPH.named("second"), 0.3)
    later = threading.Timer(0.7, lambda: ledger.finish(GRAPH.named("first"), {}, [], 1.0))
    later.start()
    began = time.monotonic()
    assert wait_until_ready(ledger, GRAPH, GRAPH.named("second"), 30.0)
    assert time.monotonic() - began > 0.5
    later.join()


def test_a_unit_that_somebody_is_at_is_not_ready(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    with claimed(ledger.claim_file("first"), "first"):
        assert not wait_until_ready(ledger, GRAPH, GRAPH.named("first"), 0.1)
    assert wait_until_ready(ledger, GRAPH, GRAPH.named("first"), 0.1)


def test_clusters_start_units_with_patience(tmp_path: Path) -> None:
    job = Job(tmp_path / "D", Workspace(tmp_path / "ws", "D"), GRAPH)
    command = patient_command(job, GRAPH.named("first"))
    assert command[-2:] == ("--patience", f"{PATIENCE_S / 60:g}")
