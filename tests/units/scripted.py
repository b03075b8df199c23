"""Jobs whose units are small scripts, so that executors can be watched at work without any image."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from autofuse.foundation.workspace import Workspace
from autofuse.units.executor import Job
from autofuse.units.shape import Graph, Unit

_UNIT = """
import os, sys, time
from pathlib import Path
from autofuse.units.claims import claimed
from autofuse.units.ledger import Ledger
ledger, name = Ledger(Path(sys.argv[1])), sys.argv[2]
graph = ledger.graph()
unit = graph.named(name)
with claimed(ledger.claim_file(name), name):
    stood_on = ledger.left_before(graph, unit)
    if ledger.finished(unit) is not None:
        sys.exit(0)
    begun = time.time()
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    processors = len(os.sched_getaffinity(0))
    def fail(code):
        ledger.fail(unit, code, f"{name} is broken.")
        sys.exit(code)
    exec(sys.argv[3])
    path = ledger.folder / f"{name}.out"
    path.write_text(name)
    with (ledger.folder / "history.txt").open("a") as stream:
        stream.write(f"{name} {begun} {time.time()} {gpus or '-'} {processors} {os.getppid()}\\n")
    ledger.finish(unit, stood_on, [path], 0.0)
"""


@dataclass(frozen=True)
class ScriptJob(Job):
    """Units do what ``scripts`` says by name, nothing by default; each leaves a line in history.txt."""

    scripts: Mapping[str, str] = field(default_factory=dict)

    def command(self, unit: Unit) -> tuple[str, ...]:
        """A small script instead of autofuse."""
        script = self.scripts.get(unit.name, "")
        return (sys.executable, "-c", _UNIT, str(self.workspace.folder), unit.name, script)


def script_job(folder: Path, units: tuple[Unit, ...], **scripts: str) -> ScriptJob:
    """A job in ``folder``; its graph is written down."""
    workspace = Workspace(folder, "Dataset001")
    job = ScriptJob(folder / "raw", workspace, Graph(units=units), scripts=scripts)
    job.graph.save(job.ledger.graph_file)
    return job


@dataclass(frozen=True)
class Line:
    """What a unit told of itself."""

    name: str
    begun: float
    ended: float
    gpus: str
    processors: int
    parent: int


def history(job: Job) -> list[Line]:
    """What was done, in the order in which it ended."""
    lines = [line.split() for line in (job.workspace.folder / "history.txt").read_text().splitlines()]
    return [Line(name, float(a), float(b), gpus, int(cores), int(pid)) for name, a, b, gpus, cores, pid in lines]


def killed_once(folder: Path, number: int = 9) -> str:
    """A script that is killed when it runs for the first time."""
    mark = folder / "killed"
    return f"mark = Path({str(mark)!r})\nif not mark.exists():\n    mark.touch()\n    os.kill(os.getpid(), {number})"


HAS_TWO_PROCESSORS = hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) > 1
