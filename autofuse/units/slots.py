"""Room on this machine for units that are carried out side by side: processors, GPUs, memory."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from autofuse.foundation.machine import available_memory_gib, visible_gpus
from autofuse.units.shape import Needs


@dataclass(frozen=True)
class Slot:
    """Room for one unit.

    Attributes:
        processors: that it may use; empty for all.
        gpus: that it sees, as CUDA_VISIBLE_DEVICES names them; None for all that there are.
    """

    number: int
    processors: frozenset[int] = frozenset()
    gpus: tuple[str, ...] | None = None
    memory_gib: float = 0.0

    def environment(self) -> dict[str, str]:
        """The environment of a process in this slot."""
        return dict(os.environ) if self.gpus is None else {**os.environ, "CUDA_VISIBLE_DEVICES": ",".join(self.gpus)}


@dataclass
class Slots:
    """So many units at once, each with its part of the processors and GPUs of its own.

    With a single slot a unit has the whole machine, as a command that is given by hand would have.
    """

    jobs: int
    gpus: tuple[str, ...]
    memory_gib: float
    taken: dict[str, Slot] = field(default_factory=dict)

    @classmethod
    def of_machine(cls, jobs: int | None, on_gpus: bool) -> Slots:
        """Slots of this machine: ``jobs`` of them; without a number one a GPU, or a single one."""
        gpus = visible_gpus() if on_gpus else ()
        return cls(jobs=jobs or max(1, len(gpus)), gpus=gpus, memory_gib=available_memory_gib())

    def take(self, name: str, needs: Needs) -> Slot | None:
        """Room for the unit called so; None while there is none. One that is alone gets it, whatever it needs."""
        if len(self.taken) >= self.jobs:
            return None
        needed = needs.memory_gib or 0.0
        if self.taken and needed + sum(slot.memory_gib for slot in self.taken.values()) > self.memory_gib:
            return None
        gpus = self._free_gpus()[: needs.gpus]
        if self.taken and self.gpus and len(gpus) < needs.gpus:
            return None
        number = min(set(range(self.jobs)) - {slot.number for slot in self.taken.values()})
        seen = gpus if self.gpus and (needs.gpus or self.jobs > 1) else None
        slot = Slot(number, self._processors(number), seen, needed)
        self.taken[name] = slot
        return slot

    def give_back(self, name: str) -> None:
        """The unit called so has ended."""
        self.taken.pop(name, None)

    def _free_gpus(self) -> tuple[str, ...]:
        held = {gpu for slot in self.taken.values() for gpu in slot.gpus or ()}
        return tuple(gpu for gpu in self.gpus if gpu not in held)

    def _processors(self, number: int) -> frozenset[int]:
        if self.jobs == 1 or not hasattr(os, "sched_getaffinity"):
            return frozenset()
        mine = sorted(os.sched_getaffinity(0))
        if self.jobs >= len(mine):
            return frozenset({mine[number % len(mine)]})
        return frozenset(mine[number * len(mine) // self.jobs : (number + 1) * len(mine) // self.jobs])
