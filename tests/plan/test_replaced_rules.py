"""A rule is replaced, or a row added, without copying the planner; what the documentation prints is what is tried."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from plan_examples import GIB4, decision, plan_for

from autofuse.testing import MadeUpDataset, example_fingerprint
from autofuse_planners.default import DefaultPlanner
from autofuse_planners.fusion import FUSION_TABLE

PAGE = Path(__file__).resolve().parents[2] / "documentation" / "how-to" / "write_a_planner.md"


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> list[ModuleType]:
    """What each printed example defines; the last one lets ``check_planner`` judge the planner before it."""
    found: list[ModuleType] = []
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)):
        module = ModuleType(f"printed_{number}")
        monkeypatch.setitem(sys.modules, module.__name__, module)  # dataclasses look their module up
        if "check_planner" in code:
            module.__dict__["Hurried"] = found[-1].Hurried
        exec(code, module.__dict__)
        found.append(module)
    return found


def test_the_printed_examples_do_what_the_page_says(blocks: list[ModuleType]) -> None:
    numbers, table, rule, judged = blocks
    assert (numbers.planner.aligned_mm, numbers.planner.self_training_cases) == (3.0, 40)
    fingerprint, labels = example_fingerprint(MadeUpDataset("PET and CT", ("CT", "PET")))
    plan = table.planner.plan(fingerprint, labels, GIB4)
    assert plan.named(plan.configuration).network.topology == "late"
    assert decision(plan, "topology").rule.startswith("PET and CT (its modalities are CT and PET)")
    assert plan_for("aligned", table.planner).named("3d").network.topology == "early"
    rules = {"short_training_steps": 4000}
    ours, theirs = plan_for("aligned", DefaultPlanner(**rules)), plan_for("aligned", rule.Hurried(**rules))
    assert (ours.steps, theirs.steps) == (5000, 2500)
    assert theirs.configurations == ours.configurations
    # What follows from the length follows from the new one.
    assert (theirs.trainer.fields.get("momentum"), ours.trainer.fields.get("momentum")) == (0.9, None)
    assert judged.Hurried is rule.Hurried


def test_a_table_without_a_row_that_holds_says_so() -> None:
    with pytest.raises(LookupError, match="there is one modality: the data set has 2"):
        plan_for("aligned", DefaultPlanner(fusion_table=FUSION_TABLE[:1]))
