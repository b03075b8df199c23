"""A graph of work units: frozen, written down once, the same for every process that works through it.

A unit is idempotent (done twice it leaves what it left the first time), its outputs are whole or absent, and it is one
command, ``autofuse unit DATASET NAME``. Nothing in a graph depends on the machine that it is carried out on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import ClassVar, Self

from pydantic import Field, JsonValue, model_validator

from autofuse.foundation.errors import UsageError
from autofuse.foundation.values import StoredValue, Value

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,149}$"
"""Of a unit: a file, a job of a cluster and a word of a shell can be called so."""


class Needs(Value):
    """What a unit takes while it is carried out; None where it is not known before.

    Attributes:
        processors: that it should have; it works with fewer.
        memory_gib: of the host.
        gpus: that it has for itself.
        minutes: that it takes, about.
    """

    processors: int | None = Field(default=None, ge=1)
    memory_gib: float | None = Field(default=None, gt=0)
    gpus: int = Field(default=0, ge=0)
    minutes: float | None = Field(default=None, gt=0)


class Unit(Value):
    """One piece of work.

    Attributes:
        kind: what is done ("prepare", "train" ...); units of a kind differ in ``about`` alone.
        about: what it is done for: trainer, fold, share of the cases.
        work: hash of everything asked for that decides what it leaves; a finished unit with another one is not this.
        after: names of the units that it stands on.
    """

    name: str = Field(pattern=NAME_PATTERN)
    kind: str
    about: dict[str, JsonValue] = Field(default_factory=dict)
    work: str
    after: tuple[str, ...] = ()
    needs: Needs = Needs()


class Graph(StoredValue):
    """Units in an order in which they can be done one after another; stands as units/graph.json in a workspace.

    Attributes:
        order: what was asked for, as the one who reads ``about`` understands it.
    """

    kind: ClassVar[str] = "work_units"

    order: dict[str, JsonValue] = Field(default_factory=dict)
    units: tuple[Unit, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _stands(self) -> Self:
        """Every name once, and every unit after those that it stands on: so there is no cycle either."""
        known: set[str] = set()
        for unit in self.units:
            if unit.name in known:
                raise ValueError(f"two units are called {unit.name}")
            if missing := [name for name in unit.after if name not in known]:
                raise ValueError(f"{unit.name} stands on {missing[0]}, which does not come before it")
            known.add(unit.name)
        return self

    @cached_property
    def by_name(self) -> Mapping[str, Unit]:
        """Units by name, in order."""
        return {unit.name: unit for unit in self.units}

    def named(self, name: str) -> Unit:
        """The unit called so.

        Raises:
            UsageError: if there is none.
        """
        if name not in self.by_name:
            raise UsageError(
                f"There is no unit called {name!r}.",
                found=name,
                expected=", ".join([*self.by_name][:20]),
                remedy="`autofuse status DATASET` lists all.",
            )
        return self.by_name[name]

    def standing_on(self, names: Iterable[str]) -> set[str]:
        """Names of all units that stand on one of these, directly or not."""
        below = set(names)
        found: set[str] = set()
        for unit in self.units:
            if below.intersection(unit.after):
                below.add(unit.name)
                found.add(unit.name)
        return found

    def share(self, index: int, of: int) -> tuple[Unit, ...]:
        """The ``index``-th (from 1) of ``of`` shares of the units, dealt out in order within each kind."""
        seen: dict[str, int] = {}
        mine = []
        for unit in self.units:
            position = seen.get(unit.kind, 0)
            seen[unit.kind] = position + 1
            if position % of == index - 1:
                mine.append(unit)
        return tuple(mine)


def in_order(units: Iterable[Unit]) -> tuple[Unit, ...]:
    """``units``, each after those that it stands on; otherwise as they come.

    Raises:
        ValueError: if a unit stands on one that is not there, or on itself by way of others.
    """
    waiting = list(units)
    done: dict[str, Unit] = {}
    while waiting:
        ready = [unit for unit in waiting if all(name in done for name in unit.after)]
        if not ready:
            raise ValueError("units stand on each other in a circle: " + ", ".join(unit.name for unit in waiting))
        done |= {unit.name: unit for unit in ready}
        waiting = [unit for unit in waiting if unit.name not in done]
    return tuple(done.values())
