"""Graphs of work units: an order without circles, shares that cover everything, what stands on what."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from autofuse.foundation.errors import UsageError
from autofuse.units.shape import Graph, Unit, in_order


def unit(name: str, *after: str, kind: str = "train") -> Unit:
    return Unit(name=name, kind=kind, work=f"work of {name}", after=after)


def test_a_unit_stands_after_those_that_it_stands_on() -> None:
    graph = Graph(units=in_order([unit("c", "a", "b"), unit("a"), unit("b", "a")]))
    assert [item.name for item in graph.units] == ["a", "b", "c"]
    assert graph.standing_on(["a"]) == {"b", "c"}
    assert graph.standing_on(["b"]) == {"c"}
    assert graph.standing_on(["c"]) == set()


def test_a_circle_is_refused() -> None:
    with pytest.raises(ValueError, match="in a circle: a, b"):
        in_order([unit("a", "b"), unit("b", "a")])
    with pytest.raises(ValidationError, match="a stands on b, which does not come before it"):
        Graph(units=(unit("a", "b"), unit("b", "a")))


def test_names_are_unique_and_can_be_files_and_words() -> None:
    with pytest.raises(ValidationError, match="two units are called a"):
        Graph(units=(unit("a"), unit("a")))
    for name in ("", "../a", "a b", "a/b", ".a", "a;b"):
        with pytest.raises(ValidationError):
            unit(name)


def test_shares_cover_every_unit_once_and_deal_out_each_kind() -> None:
    units = [unit(f"{kind}.{number}", kind=kind) for kind in ("prepare", "train") for number in range(5)]
    graph = Graph(units=tuple(units))
    shares = [[item.name for item in graph.share(index, 3)] for index in (1, 2, 3)]
    assert shares[0] == ["prepare.0", "prepare.3", "train.0", "train.3"]
    assert sorted(name for share in shares for name in share) == sorted(item.name for item in units)


def test_an_unknown_name_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no unit called 'b'"):
        Graph(units=(unit("a"),)).named("b")
