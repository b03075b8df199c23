"""A graph as arrays of jobs: units of one kind, with the same needs, that stand on the same or on each its own.

SLURM gives dependencies to an array as a whole. Units whose dependencies cannot be said so go into arrays of their own:
nothing ever waits for, or falls with, a unit that it does not stand on.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from autofuse.units.shape import Graph, Needs, Unit

MOST_ELEMENTS = 1000
"""Of an array; SLURM's own default limit is 1001, and it is asked for."""


@dataclass(frozen=True)
class Array:
    """Units that are submitted together.

    Attributes:
        name: the kind of the units, with a number where there are several arrays of it.
        units: by their number in the array.
        after: arrays all of whose units must have ended well before any of these begins.
        after_same: array whose unit of the same number must have ended well.
        after_some: single units of arrays, as (array, number), that must have ended well.
        after_jobs: jobs of an earlier submission that must have ended well, as SLURM calls them.
    """

    name: str
    kind: str
    needs: Needs
    units: Mapping[int, Unit]
    after: tuple[str, ...] = ()
    after_same: str | None = None
    after_some: tuple[tuple[str, int], ...] = ()
    after_jobs: tuple[str, ...] = ()


class _Standing(NamedTuple):
    """What a unit stands on, in arrays; ``number`` is that of the unit of ``after_same``."""

    after: tuple[str, ...]
    after_same: str | None
    after_some: tuple[tuple[str, int], ...]
    after_jobs: tuple[str, ...]
    number: int | None


def arrays_of(
    graph: Graph,
    waiting: Collection[str],
    queued: Mapping[str, str],
    most: int = MOST_ELEMENTS,
    needs: Callable[[Unit], Needs | None] = lambda unit: unit.needs,
) -> tuple[Array, ...]:
    """The units named ``waiting``, as arrays in an order in which they can be submitted.

    Args:
        queued: job by the name of a unit that has been submitted before and has not ended; neither waiting nor queued
            units are done.
        most: units in an array.
        needs: of a unit, as far as it is known by now; None where there turns out to be nothing to do.
    """
    known = {name: needs(graph.named(name)) or Needs() for name in waiting}
    before = _before(graph, waiting, queued)
    arrays: dict[str, Array] = {}
    places: dict[str, tuple[str, int]] = {}
    for level in _levels([unit for unit in graph.units if unit.name in waiting], before):
        standing = {unit.name: _standing(before[unit.name], arrays, places, queued) for unit in level}
        standing = _with_room(standing, level)
        for units in _alike(level, lambda unit: (unit.kind, known[unit.name].digest(), *standing[unit.name][:-1])):  # noqa: B023
            for piece in _pieces(units, standing, most):
                made = _array(piece, known[units[0].name], standing[units[0].name], arrays)
                arrays[made.name] = made
                places |= {unit.name: (made.name, number) for number, unit in piece.items()}
    return tuple(arrays.values())


def _before(graph: Graph, waiting: Collection[str], queued: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Which units that are yet to be done each unit stands on, directly or by way of units that are done.

    A unit that is done may stand on one that is done once more.
    """
    found: dict[str, tuple[str, ...]] = {}
    for unit in graph.units:
        names: dict[str, None] = {}
        for name in unit.after:
            names |= dict.fromkeys((name,) if name in waiting or name in queued else found[name])
        found[unit.name] = tuple(names)
    return found


def _levels(units: list[Unit], before: Mapping[str, Sequence[str]]) -> list[list[Unit]]:
    """Units by the length of the longest way to them, in order."""
    depth: dict[str, int] = {}
    for unit in units:
        depth[unit.name] = 1 + max((depth[name] for name in before[unit.name] if name in depth), default=-1)
    levels: list[list[Unit]] = [[] for _ in range(1 + max(depth.values(), default=-1))]
    for unit in units:
        levels[depth[unit.name]].append(unit)
    return levels


def _standing(
    before: Sequence[str], arrays: Mapping[str, Array], places: Mapping[str, tuple[str, int]], queued: Mapping[str, str]
) -> _Standing:
    numbers: dict[str, set[int]] = {}
    for name, number in (places[name] for name in before if name in places):
        numbers.setdefault(name, set()).add(number)
    whole = [name for name in numbers if numbers[name] == set(arrays[name].units)]
    single = [name for name in numbers if name not in whole and len(numbers[name]) == 1]
    same = single[0] if single else None
    some = [(name, number) for name in numbers if name not in (*whole, same) for number in sorted(numbers[name])]
    jobs = tuple(dict.fromkeys(queued[name] for name in before if name in queued))
    return _Standing(tuple(whole), same, tuple(some), jobs, None if same is None else next(iter(numbers[same])))


def _with_room(standing: Mapping[str, _Standing], units: Sequence[Unit]) -> dict[str, _Standing]:
    """Where several units of a kind stand on the same one, they cannot all have its number: they name it instead."""
    places = {unit.name: (unit.kind, standing[unit.name].after_same, standing[unit.name].number) for unit in units}
    taken = Counter(places.values())
    found = {}
    for name, item in standing.items():
        if item.after_same is not None and item.number is not None and taken[places[name]] > 1:
            some = (*item.after_some, (item.after_same, item.number))
            item = item._replace(after_same=None, number=None, after_some=some)
        found[name] = item
    return found


def _alike(units: Iterable[Unit], key: Callable[[Unit], Hashable]) -> list[list[Unit]]:
    found: dict[Hashable, list[Unit]] = {}
    for unit in units:
        found.setdefault(key(unit), []).append(unit)
    return list(found.values())


def _pieces(units: list[Unit], standing: Mapping[str, _Standing], most: int) -> list[dict[int, Unit]]:
    """``units`` by number, at most ``most`` in an array; numbers are those of what they stand on, where that counts."""
    pieces: list[dict[int, Unit]] = []
    for position, unit in enumerate(units):
        wanted = standing[unit.name].number
        number = position % most if wanted is None else wanted
        free = next((piece for piece in pieces if number not in piece), None)
        if free is None:
            free = {}
            pieces.append(free)
        free[number] = unit
    return pieces


def _array(units: Mapping[int, Unit], needs: Needs, standing: _Standing, arrays: Mapping[str, Array]) -> Array:
    first = next(iter(units.values()))
    count = 1 + sum(array.kind == first.kind for array in arrays.values())
    # The name becomes that of a file and a word of a shell; a graph from a file may call a kind anything.
    plain = re.sub(r"[^A-Za-z0-9_]", "_", first.kind)
    name = plain if count == 1 else f"{plain}-{count}"
    return Array(name, first.kind, needs, dict(units), *standing[:-1])
