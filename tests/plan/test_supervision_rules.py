"""Supervision: every row of both tables is the reason for a plan; methods that are not installed are named as such."""

from __future__ import annotations

from typing import Any

import pytest
from plan_examples import case_of, decision, fingerprint_of, plan_for

from autofuse.foundation.registry import TRAINERS, load_registered
from autofuse.plan.explain import to_text
from autofuse_planners.default import DefaultPlanner
from autofuse_planners.supervision import (
    CHALLENGER_TABLE,
    MADE_FOR,
    SUPERVISION_TABLE,
    TRAININGS,
    Supervision,
    choose_supervision,
    within_time,
)
from autofuse_planners.thresholds import Thresholds
from autofuse_trainers.self_training import SelfTraining

RULES = Thresholds()
SHAPE, SPACING = (40, 50, 60), (1.0, 1.0, 1.0)

# Which data set is taught by which row.
SUPERVISION_ROWS: tuple[tuple[str, str, str], ...] = (
    ("isotropic", "supervised", "every case is densely labelled (12 dense, 0 sparse, 0 unlabelled cases)"),
    ("mixed labels", "partial", "labels are of several kinds (5 dense, 4 sparse, 3 unlabelled cases)"),
    ("thin scribbles", "partial", "every case is labelled in part (0 dense, 12 sparse"),
    ("many labels", "self_training", "unlabelled cases stand beside enough labelled ones"),
    ("few labels", "self_training", "unlabelled cases stand beside few labelled ones"),
    ("many labels, displaced", "self_training", "modalities do not show the same place"),
)


@pytest.mark.parametrize(("name", "trainer", "words"), SUPERVISION_ROWS)
def test_each_row_of_the_supervision_table_plans_a_data_set_and_says_why(name: str, trainer: str, words: str) -> None:
    plan = plan_for(name)
    assert plan.trainer.name == trainer
    assert words in decision(plan, "trainer").rule
    assert words in " ".join(to_text(plan, width=100).split())


def test_every_row_of_the_supervision_table_is_reached() -> None:
    plans = [plan_for("aligned", want_fused=True), *(plan_for(name) for name, _, _ in SUPERVISION_ROWS)]
    reasons = [decision(plan, "trainer").rule for plan in plans]
    for row in SUPERVISION_TABLE:
        assert any(reason.startswith(row.when + " (") for reason in reasons), row.when


ALL_METHODS = ("supervised", "partial", "cmfnet", "pseudo_labels", "self_training", "collaboration", "fuse4seg")
CHALLENGED: tuple[tuple[str, str, list[str]], ...] = (
    ("isotropic", "supervised", []),
    ("scribbles on two modalities", "partial", ["cmfnet"]),
    ("thin scribbles", "partial", ["cmfnet", "pseudo_labels"]),
    ("thick stack", "partial", ["cmfnet"]),
    ("many labels", "self_training", ["supervised"]),
    ("few labels", "self_training", ["collaboration", "supervised"]),
    ("many labels, displaced", "self_training", ["collaboration", "supervised"]),
    ("mixed labels", "partial", ["cmfnet", "self_training", "collaboration"]),
)


@pytest.mark.parametrize(("name", "default", "challengers"), CHALLENGED)
def test_what_is_installed_is_nominated_and_what_is_not_is_named(
    name: str, default: str, challengers: list[str]
) -> None:
    plan = plan_for(name, DefaultPlanner(available_trainers=ALL_METHODS))
    assert plan.trainer.name == default
    assert [item.trainer.name for item in plan.challengers if item.trainer.name != default] == challengers
    plan = plan_for(name, DefaultPlanner(available_trainers=("supervised", "partial")))
    assert not [item for item in plan.challengers if item.trainer.name != plan.trainer.name]
    said = "\n".join((decision(plan, "trainer").rule, *decision(plan, "trainer").alternatives))
    for method in {default, *challengers} - {"supervised", "partial"}:
        assert method in said and "not installed" in said


def test_networks_that_methods_are_made_for_are_those_they_name() -> None:
    """The planner knows them without loading a trainer."""
    for name in DefaultPlanner().available_trainers:
        kind = load_registered(TRAINERS, name)
        wanted = {"topology": kind.topology, "decoders": kind.decoders}
        assert {"topology": None, "decoders": 1} | MADE_FOR.get(name, {}) == wanted


def test_every_row_of_the_challenger_table_is_reached() -> None:
    planner = DefaultPlanner(available_trainers=ALL_METHODS)
    reasons = [item.because for name, _, _ in CHALLENGED for item in plan_for(name, planner).challengers]
    for row in CHALLENGER_TABLE:
        assert any(reason.startswith(row.when + " (") for reason in reasons), row.when


@pytest.mark.parametrize(
    ("dense", "sparse", "unlabelled", "trainer"),
    [
        (5, 0, 0, "supervised"),
        (0, 5, 0, "partial"),
        (4, 1, 0, "partial"),
        (4, 0, 3, "self_training"),
        (0, 4, 1, "partial"),
    ],
)
def test_annotation_decides_the_trainer(dense: int, sparse: int, unlabelled: int, trainer: str) -> None:
    assert taught(dense, sparse, unlabelled).trainer.name == trainer


@pytest.mark.parametrize(
    ("steps", "minutes", "trainer"),
    [(7499, 10.0, "supervised"), (7500, 10.0, "self_training"), (100, None, "self_training")],
)
def test_teachers_need_time(steps: int, minutes: float | None, trainer: str) -> None:
    found = within_time(taught(4, 0, 3), steps, minutes, RULES)
    assert found.trainer.name == found.decision.chosen == trainer
    names = [item.trainer.name for item in found.challengers]
    assert ("supervised" in names) == (trainer == "self_training")
    assert ("self_training" in names) == (trainer == "supervised")
    if trainer == "supervised":
        assert "leave 2499 for each of 3 trainings" in found.decision.rule


def test_the_time_that_is_divided_is_that_of_the_method() -> None:
    assert SelfTraining().teaching().trainings == TRAININGS


@pytest.mark.parametrize(("labelled", "holds"), [(19, False), (20, True)])
def test_a_teacher_needs_twenty_labelled_cases(labelled: int, holds: bool) -> None:
    rule = taught(labelled, 0, 5).decision.rule
    assert rule.startswith("unlabelled cases stand beside enough labelled ones") == holds


@pytest.mark.parametrize(
    ("share", "cover", "thin"),
    [(0.019, (0.19,), True), (0.021, (0.1,), False), (0.01, (0.21,), False), (0.01, (), False)],
)
def test_scribbles_are_thin_by_both_numbers(share: float, cover: tuple[float, ...], thin: bool) -> None:
    found = taught(0, 5, 0, share, DefaultPlanner(available_trainers=ALL_METHODS), class_cover=cover)
    assert ("pseudo_labels" in [item.trainer.name for item in found.challengers]) == thin


def taught(
    dense: int, sparse: int, unlabelled: int, share: float = 0.05, rules: Thresholds = RULES, **facts: Any
) -> Supervision:
    kinds = [("dense", 1.0)] * dense + [("sparse", share)] * sparse + [("none", 0.0)] * unlabelled
    cases = [
        case_of(i, SHAPE, SPACING, annotation=kind, labelled_fraction=part, **(facts if kind == "sparse" else {}))
        for i, (kind, part) in enumerate(kinds)
    ]
    return choose_supervision(fingerprint_of(cases), True, rules)
