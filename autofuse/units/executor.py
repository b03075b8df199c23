"""What an executor is given and what it hands back. Each unit is one command; how it gets to a machine is its own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from autofuse.foundation.workspace import Workspace
from autofuse.units.ledger import Failed, Ledger
from autofuse.units.shape import Graph, Needs, Unit

_SEVERITY = (0, 6, 2, 3, 4, 5, 1)
"""Exit codes, the worst last: a case among others, a mistake, data, a model, the machine, a bug of ours."""


@dataclass(frozen=True)
class Job:
    """A graph to be carried out, and where.

    Attributes:
        dataset: as commands on this machine name it; workspace: of that data set.
        options: further words of every unit's command line (``--workers 2``).
        needs: what a unit takes, as far as it is known by now; None where there turns out to be nothing to do.
    """

    dataset: Path
    workspace: Workspace
    graph: Graph
    options: tuple[str, ...] = ()
    needs: Callable[[Unit], Needs | None] = lambda unit: unit.needs

    @property
    def ledger(self) -> Ledger:
        """What is done of it."""
        return Ledger(self.workspace.folder)

    def arguments(self, unit: Unit) -> tuple[str, ...]:
        """What comes after ``autofuse`` in the command that does ``unit``."""
        place = ("--workspace", str(self.workspace.root))
        return ("unit", str(self.dataset), unit.name, *place, *self.options)

    def command(self, unit: Unit) -> tuple[str, ...]:
        """The command that does ``unit``, with the interpreter that runs now."""
        return (sys.executable, "-m", "autofuse", *self.arguments(unit))


@dataclass(frozen=True)
class Outcome:
    """What became of the units of a job.

    Attributes:
        done, failed: by name; left: names of those that were not begun, for they stand on a failed one, or were not
            this executor's share.
    """

    done: tuple[str, ...] = ()
    failed: dict[str, Failed] = field(default_factory=dict)
    left: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """The worst of all units'."""
        return worst(item.exit_code for item in self.failed.values())


class Executor(Protocol):
    """Carries out the units of a job that are not done, each after those that it stands on.

    A unit that fails stops only what stands on it. Stopped itself, it stops what it has started, or leaves it running
    where that is the way of a cluster, and says so; nothing that is done is lost.
    """

    def run(self, job: Job) -> Outcome:
        """What became of the units."""
        ...


def worst(codes: Iterable[int]) -> int:
    """The most severe of these exit codes; one that is not ours counts as a bug."""
    known = [code if code in _SEVERITY else 1 for code in codes]
    return max(known, key=_SEVERITY.index, default=0)
