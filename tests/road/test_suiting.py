"""A trainer that is named gets the network it is made for, and its models are found and used as any others."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_road import MEMORY_GIB, draw

from autofuse import road
from autofuse.foundation.errors import UsageError
from autofuse.foundation.workspace import Workspace
from autofuse.plan.types import Plan


@pytest.mark.slow
def test_cmfnet_goes_the_whole_road_on_scribbles_beside_an_unlabelled_case(tmp_path: Path) -> None:
    raw = draw(tmp_path / "raw", cases=6, test_cases=1, scribbles=0.1, unlabelled=1)
    root = tmp_path / "work"
    common = {"workspace": root, "device": "cpu", "workers": 0}
    road.plan(raw, memory_gib=MEMORY_GIB, **common)  # type: ignore[arg-type]
    report = road.run(raw, trainer="cmfnet", steps=2, **common)  # type: ignore[arg-type]
    assert not report.failed
    place = Workspace(root, raw.name)
    planned, used = Plan.load(place.plan), Plan.load(next(place.folder.rglob("fold_0/plan.json")))
    assert [plan.named(plan.configuration).network.topology for plan in (planned, used)] == ["early", "specific_shared"]
    # The plan in the workspace stays, and with it what other trainers get.
    assert used.budget == planned.budget
    first = used.named(used.configuration).memory_gib
    assert first <= MEMORY_GIB
    other = road.train(raw, trainer="partial", steps=2, **common)  # type: ignore[arg-type]
    assert Plan.load(other.folder / "plan.json") == planned


@pytest.mark.slow
def test_pseudo_labels_get_a_second_decoder(tmp_path: Path) -> None:
    raw, root = draw(tmp_path / "raw", cases=3, test_cases=0, scribbles=0.1), tmp_path / "work"
    common = {"workspace": root, "device": "cpu", "workers": 0}
    road.plan(raw, memory_gib=MEMORY_GIB, **common)  # type: ignore[arg-type]
    trained = road.train(raw, trainer="pseudo_labels", steps=2, **common)  # type: ignore[arg-type]
    used = Plan.load(trained.folder / "plan.json")
    assert used.named(used.configuration).network.decoders == 2


def test_a_topology_that_is_asked_for_goes_before_the_trainers_wish(tmp_path: Path) -> None:
    raw, root = draw(tmp_path / "raw", cases=3, test_cases=0, scribbles=0.1), tmp_path / "work"
    common = {"workspace": root, "device": "cpu", "workers": 0}
    asked = road.plan(raw, memory_gib=MEMORY_GIB, topology="late", **common)  # type: ignore[arg-type]
    assert asked.named(asked.configuration).network.topology == "late"
    assert road.plan(raw, **common) == asked  # type: ignore[arg-type]
    trained = road.train(raw, trainer="cmfnet", steps=1, **common)  # type: ignore[arg-type]
    assert Plan.load(trained.folder / "plan.json") == asked
    again = road.plan(raw, topology="auto", **common)  # type: ignore[arg-type]
    assert again.named(again.configuration).network.topology == "early"


def test_an_unheard_of_topology_is_refused_at_once(tmp_path: Path) -> None:
    raw = draw(tmp_path / "raw", cases=3, test_cases=0)
    with pytest.raises(UsageError, match="telepathy") as refused:
        road.plan(raw, workspace=tmp_path / "work", topology="telepathy", device="cpu", workers=0)
    assert refused.value.expected is not None and "specific_shared" in refused.value.expected
