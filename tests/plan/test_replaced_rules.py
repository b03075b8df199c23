"""A rule is replaced, or a row added, without copying the planner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from plan_examples import GIB4, decision, plan_for

from autofuse.plan.types import Budget
from autofuse.testing import MadeUpDataset, example_fingerprint
from autofuse_planners.default import DefaultPlanner
from autofuse_planners.fusion import FUSION_TABLE, Meeting
from autofuse_planners.table import Finding, Row


def pet_and_ct(meeting: Meeting) -> Finding:
    """Whether the data set is PET and CT."""
    names = set(meeting.fingerprint.modalities)
    return Finding(names == {"PET", "CT"}, "its modalities are " + " and ".join(sorted(names)))


def test_a_row_is_added_without_a_new_planner() -> None:
    row = Row("PET and CT", "late", "each is read alone in our clinic", pet_and_ct)
    planner = DefaultPlanner(fusion_table=(row, *FUSION_TABLE))
    fingerprint, labels = example_fingerprint(MadeUpDataset("PET and CT", ("CT", "PET")))
    plan = planner.plan(fingerprint, labels, GIB4)
    assert plan.named(plan.configuration).network.topology == "late"
    assert decision(plan, "topology").rule.startswith("PET and CT (its modalities are CT and PET)")
    assert plan_for("aligned", planner).named("3d").network.topology == "early"


@dataclass(frozen=True)
class Patient(DefaultPlanner):
    """The default planner, but with a length of its own."""

    def choose_steps(self, default: Any, budget: Budget) -> Any:
        steps, why = super().choose_steps(default, budget)
        return 10 * steps, why.model_copy(update={"chosen": str(10 * steps), "rule": "ten times the default's"})


def test_one_rule_is_replaced_without_copying_the_rest() -> None:
    ours, theirs = plan_for("aligned"), plan_for("aligned", Patient())
    assert theirs.steps == 10 * ours.steps
    assert theirs.configurations == ours.configurations
    # What follows from the length follows from the new one.
    assert (theirs.trainer.fields.get("momentum"), ours.trainer.fields.get("momentum")) == (None, 0.9)


def test_a_table_without_a_row_that_holds_says_so() -> None:
    with pytest.raises(LookupError, match="PET and CT: its modalities are T1 and T2"):
        plan_for("aligned", DefaultPlanner(fusion_table=(Row("PET and CT", "late", "", pet_and_ct),)))
