"""The road as a graph: which units there are, what stands on what, and that all who ask get the same graph."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tiny_road import MEMORY_GIB, draw

from autofuse import road
from autofuse.dataset.types import Dataset
from autofuse.foundation.errors import ModelError, ResourceError, UsageError
from autofuse.foundation.sharing_out import share_of
from autofuse.foundation.workspace import Workspace
from autofuse.plan.types import Plan
from autofuse.road.run_graph import make_graph, needs_of, settle_graph
from autofuse.road.run_order import RunOrder, order_of
from autofuse.road.steps import open_both
from autofuse.units.claims import claimed
from autofuse.units.ledger import Ledger

CPU = RunOrder(device="cpu")


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five training and two test cases."""
    return draw(tmp_path_factory.mktemp("graph"))


@pytest.fixture(scope="module")
def plan(raw: Path) -> Plan:
    """The plan for them; it trains the trainer ``supervised``, and has no cascade."""
    return road.plan(raw, workspace=raw.parent / "planned", memory_gib=MEMORY_GIB, device="cpu", workers=0)


@pytest.fixture
def opened(raw: Path, tmp_path: Path) -> tuple[Dataset, Workspace]:
    """The data set, and a workspace with nothing in it."""
    return open_both(raw, tmp_path / "ws")


def test_every_step_of_the_road_is_a_unit(opened: tuple[Dataset, Workspace], plan: Plan) -> None:
    order = CPU.model_copy(update={"folds": (0, 1), "cases_a_unit": 3})
    graph = make_graph(order, opened[0], plan)
    after = {unit.name: unit.after for unit in graph.units}
    assert after == {
        "ground": (),
        "prepare.1-of-2": ("ground",),
        "prepare.2-of-2": ("ground",),
        "train.planned.fold_0": ("prepare.1-of-2", "prepare.2-of-2"),
        "train.planned.fold_1": ("prepare.1-of-2", "prepare.2-of-2"),
        "score.planned.fold_0": ("train.planned.fold_0",),
        "score.planned.fold_1": ("train.planned.fold_1",),
        "select": ("score.planned.fold_0", "score.planned.fold_1"),
        "predict.1-of-1": ("select",),
        "report": ("select", "predict.1-of-1"),
    }
    assert order_of(graph) == order


def test_trainers_and_all_folds(opened: tuple[Dataset, Workspace], plan: Plan) -> None:
    order = CPU.model_copy(update={"folds": None, "trainers": ("supervised", "partial")})
    graph = make_graph(order, opened[0], plan)
    trained = [unit.name for unit in graph.units if unit.kind == "train"]
    assert trained == [f"train.{name}.fold_{fold}" for name in ("supervised", "partial") for fold in range(5)]
    assert len(graph.named("select").after) == 10
    assert next(unit.name for unit in graph.units if unit.kind == "first_stage") == "first_stage.partial.fold_0"


def test_without_a_plan_there_may_be_a_first_stage_that_all_folds_wait_for(opened: tuple[Dataset, Workspace]) -> None:
    graph = make_graph(CPU.model_copy(update={"folds": (0, 2)}), opened[0])
    stages = ("first_stage.planned.fold_0", "first_stage.planned.fold_2")
    for fold in (0, 2):
        assert graph.named(f"train.planned.fold_{fold}").after == ("prepare.1-of-1", *stages)


def test_needs_are_what_the_plan_says(plan: Plan) -> None:
    assert needs_of("first_stage", None, CPU, plan) is None
    needs = needs_of("train", None, CPU.model_copy(update={"fold_minutes": 30.0}), plan)
    assert needs is not None
    assert (needs.gpus, needs.minutes) == (0, 30.0)
    assert needs.memory_gib == round(plan.named(plan.configuration).memory_gib + 1, 2)
    four = RunOrder(device="cuda", gpus=4)
    assert [found.gpus for kind in ("train", "score") if (found := needs_of(kind, None, four, None))] == [4, 1]


def test_many_cases_are_many_units_of_the_same_graph(opened: tuple[Dataset, Workspace]) -> None:
    dataset = opened[0]
    case, test_case = dataset.cases[0], dataset.test_cases[0]
    many = [case.model_copy(update={"id": f"case_{number}", "subject": f"s{number}"}) for number in range(10_000)]
    tests = tuple(test_case.model_copy(update={"id": f"test_{number}"}) for number in range(1_000))
    graph = make_graph(CPU, dataset.model_copy(update={"cases": tuple(many), "test_cases": tests}))
    kinds = [unit.kind for unit in graph.units]
    assert {kind: kinds.count(kind) for kind in ("prepare", "held_out", "score", "predict")} == {
        "prepare": 200,
        "held_out": 40,
        "score": 1,
        "predict": 20,
    }
    assert "prepare.017-of-200" in graph.by_name
    assert len(graph.named("score.planned.fold_0").after) == 41


def test_shares_are_even_and_cover_everything() -> None:
    generator = random.Random(7)
    for _ in range(50):
        items, of = list(range(generator.randrange(200))), generator.randrange(1, 40)
        parts = [share_of(items, number, of) for number in range(1, of + 1)]
        assert [item for part in parts for item in part] == items
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_the_same_order_finds_the_same_graph_and_another_makes_its_own(opened: tuple[Dataset, Workspace]) -> None:
    graph = settle_graph(CPU, *opened)
    assert Ledger(opened[1].folder).graph() == graph
    assert settle_graph(CPU, *opened) == graph
    longer = settle_graph(CPU.model_copy(update={"steps": 9}), *opened)
    assert {unit.work for unit in longer.units}.isdisjoint(unit.work for unit in graph.units)
    more = settle_graph(CPU.model_copy(update={"steps": 9, "folds": (0, 1)}), *opened)
    same = [
        unit.name for unit in more.units if unit.name in longer.by_name and unit.work == longer.named(unit.name).work
    ]
    assert "train.planned.fold_0" in same
    assert "select" not in same


def test_a_graph_that_is_being_worked_on_is_not_replaced(opened: tuple[Dataset, Workspace]) -> None:
    dataset, place = opened
    graph = settle_graph(CPU, dataset, place)
    other = CPU.model_copy(update={"steps": 9})
    with claimed(Ledger(place.folder).claim_file("ground"), "ground"):
        assert settle_graph(CPU, dataset, place) == graph
        with pytest.raises(ResourceError, match="Units of another order are being worked on"):
            settle_graph(other, dataset, place)
    assert settle_graph(other, dataset, place) != graph


def test_orders_that_cannot_be_meant(opened: tuple[Dataset, Workspace]) -> None:
    with pytest.raises(UsageError, match="no such fold"):
        make_graph(CPU.model_copy(update={"folds": (7,)}), opened[0])
    with pytest.raises(UsageError, match="steps and one in minutes"):
        make_graph(CPU.model_copy(update={"steps": 3, "fold_minutes": 1.0}), opened[0])
    with pytest.raises(UsageError, match="A pilot is to find out") as told:
        make_graph(CPU.model_copy(update={"pilot": True, "trainers": ("partial",)}), opened[0])
    assert "--trainer" in str(told.value)
    with pytest.raises(UsageError, match="named twice"):
        make_graph(CPU.model_copy(update={"trainers": ("partial", "partial")}), opened[0])


def test_an_order_of_another_version_is_named(opened: tuple[Dataset, Workspace]) -> None:
    graph = make_graph(CPU, opened[0])
    with pytest.raises(ModelError, match="not one that this version understands"):
        order_of(graph.model_copy(update={"order": {"asked": {"folds": "many"}}}))


@pytest.mark.parametrize("changes", [{"vram_gib": 8.0}, {"vram_gib": 8.0, "memory_gib": 8.0, "device": "auto"}])
def test_a_dial_that_cannot_be_meant_is_refused_at_once(
    changes: dict[str, object], opened: tuple[Dataset, Workspace]
) -> None:
    with pytest.raises(UsageError, match=r"no GPU here|given twice"):
        settle_graph(CPU.model_copy(update=changes), *opened)
    assert not Ledger(opened[1].folder).graph_file.exists()
