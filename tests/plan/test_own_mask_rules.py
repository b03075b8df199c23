"""Masks of each modality: a head for each, the trainer that teaches them, nothing registered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from plan_examples import GIB4, case_of, fingerprint_of, labels_of

from autofuse.fingerprint.types import Fingerprint, PairFacts, RegistrationFacts
from autofuse.foundation.errors import DataError
from autofuse.plan.explain import to_text
from autofuse.plan.types import Plan
from autofuse_planners.default import DefaultPlanner

APART_MM = 9.0


def measured(apart_mm: float, own: tuple[int, ...] = (6, 4), mended: bool = True, **facts: Any) -> Fingerprint:
    """Six cases of T1 and T2 so far apart; T1 has masks in six of them, T2 in four."""
    pair = PairFacts(
        fixed=0,
        moving=1,
        displacement_mm=(apart_mm, 0.0, 0.0),
        distance_mm=apart_mm,
        agreement=1.3,
        agreement_unmoved=1.1,
        resolution_mm=1.0,
    )
    cases = [case_of(number, (40, 40, 40), (1.0, 1.0, 1.0), 2, pairs=(pair,), **facts) for number in range(6)]
    after = 0.3 if mended else apart_mm
    trials = tuple(
        RegistrationFacts(
            case=case.id, fixed=0, moving=1, before_mm=apart_mm, after_mm=after, rotation_degrees=1.0, shift_mm=apart_mm
        )
        for case in cases
    )
    return fingerprint_of(cases, ("T1", "T2"), registrations=trials, labelled_per_modality=own)


def planned(fingerprint: Fingerprint, **wishes: Any) -> Plan:
    return DefaultPlanner().plan(fingerprint, labels_of("organ"), GIB4.model_copy(update=wishes))


@pytest.mark.parametrize(("apart_mm", "mended"), [(APART_MM, True), (APART_MM, False), (0.0, False)])
def test_each_modality_is_taught_by_its_own_mask(apart_mm: float, mended: bool) -> None:
    plan = planned(measured(apart_mm, mended=mended))
    assert plan.masks_per_modality and plan.registration is None
    assert {item.network.topology for item in plan.configurations} == {"per_modality"}
    assert plan.trainer.name == "collaboration" and plan.trainer.fields["aligned"] is (apart_mm == 0)
    drawn_together = "semantic_weight" not in plan.trainer.fields  # the method's own weights, else 0
    assert drawn_together is (apart_mm == 0)
    assert plan.challengers == () and all(item.previous is None for item in plan.configurations)


def test_the_plan_says_why() -> None:
    fingerprint = measured(APART_MM)
    plan = planned(fingerprint)
    said = {decision.what: decision for decision in plan.decisions}
    assert "carries a mask of its own (masks of T1 in 6 cases, T2 in 4 cases)" in said["topology"].rule
    assert said["masks"].evidence == {"cases_with_a_mask_of_its_own": {"T1": 6, "T2": 4}}
    assert said["trainer"].chosen == "collaboration" and "6 + 4 cases" in said["trainer"].rule
    assert "nothing has to be moved" in said["registration"].rule
    text = " ".join(to_text(plan, fingerprint).split())
    assert "Each image has outlines of its own, drawn where it shows things: T1 in 6 cases and T2 in 4 cases" in text


def test_one_mask_for_all_is_planned_as_ever() -> None:
    one = measured(APART_MM, own=())
    plan = planned(one)
    assert not plan.masks_per_modality and plan.registration is not None and plan.trainer.name == "supervised"
    assert "masks" not in {decision.what for decision in plan.decisions}
    assert "masks_per_modality" not in plan.model_dump(mode="json")
    assert "labelled_per_modality" not in one.model_dump(mode="json")


@pytest.mark.parametrize("topology", ["shared_kernels", "late"])
def test_another_network_with_a_head_for_each_can_be_asked_for(topology: str) -> None:
    plan = planned(measured(APART_MM), topology=topology)
    assert plan.named(plan.configuration).network.topology == topology and plan.masks_per_modality


@pytest.mark.parametrize("topology", ["early", "stems", "specific_shared"])
def test_a_network_with_one_head_is_refused(topology: str) -> None:
    with pytest.raises(DataError, match="cannot find a mask for each modality") as caught:
        planned(measured(APART_MM), topology=topology)
    assert "T1 in 6 cases" in str(caught.value)


def test_without_a_trainer_that_teaches_them_there_is_no_plan() -> None:
    planner = replace(DefaultPlanner(), available_trainers=("supervised", "partial"))
    with pytest.raises(DataError, match="no trainer is installed that teaches them"):
        planner.plan(measured(APART_MM), labels_of("organ"), GIB4)


def test_a_fused_image_is_not_made_of_them() -> None:
    plan = planned(measured(0.0), want_fused=True)
    said = {decision.what: decision for decision in plan.decisions}
    assert said["fused image"].chosen == "refused" and "one image would have one mask" in said["fused image"].rule
