"""What is wished for is kept like a dial: it makes another plan, stays, and can be taken back."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_road import MEMORY_GIB, draw

from autofuse import road
from autofuse.cli.parser import parse
from autofuse.plan.types import Plan


def topology(plan: Plan) -> str:
    return plan.named(plan.configuration).network.topology


def test_a_wish_makes_another_plan_stays_and_is_taken_back(tmp_path: Path) -> None:
    raw = draw(tmp_path / "raw", cases=3, test_cases=0)

    def plan(**wishes: bool) -> Plan:
        return road.plan(raw, workspace=tmp_path / "work", workers=0, device="cpu", **wishes)

    before = road.plan(raw, workspace=tmp_path / "work", workers=0, device="cpu", memory_gib=MEMORY_GIB)
    assert (topology(before), before.budget.expect_missing) == ("early", False)
    wished = plan(expect_missing=True)
    assert (topology(wished), wished.budget.expect_missing) == ("stems", True)
    assert wished.named("3d").network.modality_dropout == 0.35
    assert plan() == wished
    # Nothing but the wish is another: the machine is not measured anew.
    assert wished.budget.model_copy(update={"expect_missing": False}) == before.budget
    assert plan(expect_missing=False) == before
    assert topology(plan(want_fused=True)) == "image_level"
    assert plan(want_fused=False) == before


@pytest.mark.parametrize("verb", ["plan", "run"])
@pytest.mark.parametrize(("words", "wish"), [([], None), (["--want-fused"], True), (["--no-want-fused"], False)])
def test_a_wish_that_is_not_named_stays_as_it_was(verb: str, words: list[str], wish: bool | None) -> None:
    options = parse([verb, "my_data", *words])
    assert (options.want_fused, options.expect_missing) == (wish, None)
