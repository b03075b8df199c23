"""What a person reads about a plan."""

from __future__ import annotations

import json

from plan_examples import fingerprint_of, in_minutes, labels_of, same_cases

from autofuse.plan.explain import to_json, to_text
from autofuse_planners.default import DefaultPlanner

BRAINS = fingerprint_of(
    same_cases((140, 170, 140), (1.0, 1.0, 1.0), modalities=2), modalities=("T1", "[bold]T2"), classes=("tumour",)
)
PLAN = DefaultPlanner().plan(BRAINS, labels_of("tumour"), in_minutes(15))


def test_text_holds_every_decision_rule_and_alternative() -> None:
    # Wrapped lines are joined again, so that phrases can be looked for.
    text = " ".join(to_text(PLAN, width=100).split())
    for item in PLAN.decisions:
        assert item.what in text
        for part in (item.chosen, item.rule, *item.alternatives):
            assert " ".join(part.split()) in text, part


def test_text_says_the_dials_the_default_and_stays_within_its_width() -> None:
    text = to_text(PLAN, width=100)
    assert "8 GiB of memory on cpu, bf16, 15 minutes" in text
    assert "configuration 3d, trainer supervised" in text
    assert all(len(line) <= 100 for line in text.splitlines())
    assert to_text(PLAN, width=100) == text


def test_wishes_stand_beside_the_dials() -> None:
    plan = PLAN.model_copy(update={"budget": PLAN.budget.model_copy(update={"expect_missing": True})})
    assert "modalities may be absent at prediction." in " ".join(to_text(plan).split())
    assert "absent at prediction" not in to_text(PLAN)


def test_names_from_the_data_set_are_not_taken_for_markup() -> None:
    assert "normalisation of [bold]T2" in to_text(PLAN)


def test_json_holds_the_same() -> None:
    content = json.loads(json.dumps(to_json(PLAN), allow_nan=False))
    assert [item["what"] for item in content["decisions"]] == [item.what for item in PLAN.decisions]
    assert content["plan"] == PLAN.digest()
    assert (content["reference"], content["registration"], content["challengers"]) == ("T1", None, [])
    assert {item["name"] for item in content["configurations"]} >= {"2d", "3d"}
