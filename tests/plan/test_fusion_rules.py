"""Fusion: every row of the table is the reason for a plan, and what was passed over says why, with numbers."""

from __future__ import annotations

from typing import Any

import pytest
from plan_examples import GIB4, case_of, decision, fingerprint_of, plan_for, same_cases

from autofuse.fingerprint.types import Fingerprint, GridFacts, PairFacts, RegistrationFacts
from autofuse.foundation.errors import DataError
from autofuse.plan.explain import to_text
from autofuse_planners.fusion import FUSION_TABLE, Fusion, choose_fusion
from autofuse_planners.thresholds import Thresholds

RULES = Thresholds()
SHAPE, SPACING = (40, 50, 60), (1.0, 1.0, 1.0)
FUSED = {"want_fused": True}


def pair(distance_mm: float, resolution_mm: float = 1.0, reliable: bool = True, moving: int = 1) -> PairFacts:
    return PairFacts(
        fixed=0,
        moving=moving,
        displacement_mm=(distance_mm, 0.0, 0.0),
        distance_mm=distance_mm,
        agreement=1.2,
        agreement_unmoved=1.1,
        resolution_mm=resolution_mm,
        reliable=reliable,
    )


def two_modalities(*pairs: PairFacts | None, left_mm: tuple[float, ...] = (), **facts: Any) -> Fingerprint:
    """One case for each pair, and trials of registration on the first of them."""
    cases = [
        case_of(number, SHAPE, SPACING, modalities=2, pairs=() if item is None else (item,))
        for number, item in enumerate(pairs)
    ]
    trials = tuple(
        RegistrationFacts(
            case=cases[number].id, fixed=0, moving=1, before_mm=9, after_mm=left, rotation_degrees=0, shift_mm=9
        )
        for number, left in enumerate(left_mm)
    )
    return fingerprint_of(cases, modalities=("T1", "T2"), registrations=trials, **facts)


def fused(fingerprint: Fingerprint, spacing_mm: tuple[float, float, float] = SPACING, **wishes: Any) -> Fusion:
    return choose_fusion(fingerprint, GIB4.model_copy(update=wishes), spacing_mm, RULES)


# Which data set is planned by which row of the fusion table, and words of the reason that is printed.
FUSION_ROWS: tuple[tuple[str, dict[str, Any], str, str], ...] = (
    ("small cubes", {}, "early", "there is one modality (the data set has 1)"),
    ("unpaired", {}, "shared_kernels", "0 of 12 cases show two modalities"),
    ("no common view", {}, "shared_kernels", "0 of 12 cases show two modalities"),
    ("missing modality", {}, "stems", "up to 33% of the cases lack one"),
    ("optional modality", {}, "stems", "T2 marked as optional"),
    ("seen in part", {}, "stems", "in 100% of the cases one covers under 98% of the field of view"),
    ("aligned", {"expect_missing": True}, "stems", "asked for with --expect-missing"),
    ("aligned", FUSED, "image_level", "a fused image that a person can read is asked for"),
    ("aligned", {}, "early", "0.0 mm apart at the 90th percentile of 12 cases, and up to 2.0 mm is aligned"),
    ("isotropic", {}, "early", "displacement was not measured, so they are taken as aligned"),
    ("slightly displaced, rigidly", {}, "early", "rigid registration brought 10 of 10 tried cases below 1.2 mm"),
    ("slightly displaced, for good", {}, "early", "though 2.0 would do; rigid registration brought 0 of 10 tried"),
    ("displaced rigidly", {}, "early", "rigid registration brought 10 of 10 tried cases below 2.0 mm"),
    ("displaced for good", {}, "per_modality", "rigid registration brought 0 of 10 tried cases below 2.0 mm"),
)


@pytest.mark.parametrize(("name", "wishes", "topology", "words"), FUSION_ROWS)
def test_each_row_of_the_fusion_table_plans_a_data_set_and_says_why(
    name: str, wishes: dict[str, Any], topology: str, words: str
) -> None:
    plan = plan_for(name, **wishes)
    assert {item.network.topology for item in plan.configurations} == {topology}
    assert words in decision(plan, "topology").rule
    assert words in " ".join(to_text(plan, width=100).split())


def test_a_small_displacement_is_registered_away_or_left_but_never_splits_the_network() -> None:
    mended, left = (plan_for(f"slightly displaced, {how}") for how in ("rigidly", "for good"))
    assert mended.registration is not None and left.registration is None
    assert mended.named("3d").network == left.named("3d").network
    assert mended.trainer.fields["jitter_mm"] == 0.3


def test_every_row_of_the_fusion_table_is_reached() -> None:
    reasons = [decision(plan_for(name, **wishes), "topology").rule for name, wishes, _, _ in FUSION_ROWS]
    for row in FUSION_TABLE:
        assert any(reason.startswith(row.when + " (") for reason in reasons), row.when


def test_what_is_passed_over_says_why_with_numbers() -> None:
    passed = decision(plan_for("displaced for good"), "topology").alternatives
    assert len(passed) == len(FUSION_TABLE) - 1
    assert any(text.startswith("early (if modalities are aligned): no; they lie 8.0 mm apart") for text in passed)
    assert any("12 of 12 cases show two modalities" in text for text in passed)
    passed = decision(plan_for("missing modality"), "topology").alternatives
    assert "early (if modalities are aligned): true as well, but an earlier rule decides" in passed


def test_the_evidence_holds_the_numbers() -> None:
    evidence = decision(plan_for("displaced rigidly"), "topology").evidence
    assert (evidence["displacement_median_mm"], evidence["displacement_p90_mm"], evidence["limit_mm"]) == (
        8.0,
        8.0,
        2.0,
    )
    assert evidence["displacement_by_pair"] == {
        "T1 and T2": {"cases": 12, "reliable": 12, "median_mm": 8.0, "p90_mm": 8.0, "below_resolution": 0}
    }
    assert evidence["share_mended"] == 1.0
    evidence = decision(plan_for("missing modality"), "topology").evidence
    assert evidence["missing_rates"] == {"T1": 0.0, "T2": 0.3333}
    assert evidence["patterns"] == {"T1 + T2": 8, "T1": 4}


@pytest.mark.parametrize(("missing", "dropout"), [(0, 0.0), (1, 0.35), (8, 0.4), (15, 0.5)])
def test_a_modality_that_can_be_missing_is_dropped_while_training(missing: int, dropout: float) -> None:
    cases = [
        case_of(i, SHAPE, SPACING, modalities=2, present=(True, i >= missing), minmax=((0.0, 9.0),) * 2)
        for i in range(20)
    ]
    found = fused(fingerprint_of(cases, modalities=("T1", "T2")))
    assert (found.topology, found.modality_dropout) == ("stems" if missing else "early", dropout)


@pytest.mark.parametrize(
    ("covered", "topology"), [(1.0, "early"), (0.98, "early"), (0.97, "stems"), (0.005, "shared_kernels")]
)
def test_a_narrow_field_of_view_is_absence(covered: float, topology: str) -> None:
    whole = GridFacts(shape=SHAPE, spacing_mm=SPACING, same=True, overlap=1.0)
    grids = (whole, whole.model_copy(update={"same": False, "overlap": covered}))
    cases = same_cases(SHAPE, SPACING, modalities=2, grids=grids)
    assert fused(fingerprint_of(cases, modalities=("T1", "T2"))).topology == topology


@pytest.mark.parametrize(
    ("distance_mm", "spacing_mm", "topology"),
    [
        (1.9, (1.0, 1.0, 1.0), "early"),
        (2.1, (1.0, 1.0, 1.0), "per_modality"),
        (2.9, (3.0, 3.0, 3.0), "early"),
        (2.6, (10.0, 1.4, 1.4), "early"),  # a cube of the voxel's volume has edges of 2.7 mm
        (2.8, (10.0, 1.4, 1.4), "per_modality"),
    ],
)
def test_the_limit_is_a_voxel_or_two_millimetres(
    distance_mm: float, spacing_mm: tuple[float, float, float], topology: str
) -> None:
    assert fused(two_modalities(*[pair(distance_mm)] * 10), spacing_mm).topology == topology


def test_below_the_resolution_nothing_is_displaced() -> None:
    assert fused(two_modalities(*[pair(3.0, resolution_mm=4.0)] * 10)).topology == "early"


def test_unreliable_pairs_tell_neither_way() -> None:
    found = fused(two_modalities(*[pair(30.0, reliable=False)] * 10))
    assert (found.topology, found.together) == ("early", True)
    assert "only 0 of 10 cases could be compared reliably, which tells neither" in found.decisions[0].rule
    # One believable case among many that are not is too little; two of ten are enough.
    few = [pair(30.0, reliable=False)] * 9
    assert fused(two_modalities(pair(9.0), *few)).topology == "early"
    assert fused(two_modalities(pair(9.0), pair(9.0), *few[1:])).topology == "per_modality"


def test_one_displaced_case_of_many_decides_nothing() -> None:
    assert fused(two_modalities(*[pair(0.0)] * 19, pair(40.0))).topology == "early"


@pytest.mark.parametrize(("mended", "registered"), [(10, True), (9, True), (8, False)])
def test_registration_must_mend_nine_of_ten(mended: int, registered: bool) -> None:
    left = (1.0,) * mended + (7.0,) * (10 - mended)
    found = fused(two_modalities(*[pair(9.0)] * 12, left_mm=left))
    assert (found.registration is not None) == found.together == registered
    assert found.topology == ("early" if registered else "per_modality")


def test_what_registration_leaves_is_the_jitter_of_training() -> None:
    plan = plan_for("displaced rigidly")
    assert plan.registration is not None
    assert plan.trainer.fields["jitter_mm"] == 0.6
    assert decision(plan, "registration").chosen == "rigid, onto T1, while preparing"
    assert "jitter_mm" not in plan_for("aligned").trainer.fields


def test_displaced_and_missing_are_registered_and_get_stems() -> None:
    plan = plan_for("displaced and missing")
    assert plan.registration is not None
    assert plan.named(plan.configuration).network.topology == "stems"
    assert plan.trainer.fields["jitter_mm"] == 0.6


@pytest.mark.parametrize(
    ("name", "wishes", "words"),
    [
        ("displaced for good", {}, "they lie 8.0 mm apart"),
        ("missing modality", {}, "a modality can be absent: up to 33% of the cases lack one"),
        ("small cubes", {}, "there is only one modality"),
        ("unpaired", {}, "no case shows two modalities of one place"),
    ],
)
def test_a_fused_image_is_refused_with_the_reason(name: str, wishes: dict[str, Any], words: str) -> None:
    plan = plan_for(name, **FUSED, **wishes)
    assert plan.named(plan.configuration).network.topology != "image_level"
    refused = decision(plan, "fused image")
    assert refused.chosen == "refused" and words in refused.rule


def test_a_fused_image_of_modalities_that_registration_brings_together_is_made() -> None:
    plan = plan_for("displaced rigidly", **FUSED)
    assert plan.named(plan.configuration).network.topology == "image_level"
    assert plan.registration is not None


@pytest.mark.parametrize(("name", "words"), [("displaced for good", "mm"), ("unpaired", "no case shows two")])
def test_a_fused_image_by_topology_is_refused_with_what_was_measured(name: str, words: str) -> None:
    with pytest.raises(DataError, match="cannot be fused") as caught:
        plan_for(name, topology="image_level")
    assert words in str(caught.value.found) and "--topology auto" in str(caught.value.remedy)


def test_who_asks_for_a_fused_image_gets_the_trainer_that_makes_it_readable() -> None:
    plan = plan_for("aligned", **FUSED)
    assert plan.trainer.name == "fuse4seg" and plan.trainer.fields["bilevel"] == "fixed"
    assert [item.trainer.name for item in plan.challengers] == ["supervised"]
    assert "a fused image is made" in decision(plan, "trainer").rule
    assert plan_for("aligned").trainer.name == "supervised"


def test_a_topology_that_is_asked_for_is_planned() -> None:
    plan = plan_for("aligned", topology="late")
    assert {item.network.topology for item in plan.configurations} == {"late"}
    assert "early (if modalities are aligned): true as well" in " ".join(decision(plan, "topology").alternatives)


@pytest.mark.parametrize(
    ("name", "rivals"),
    [
        ("aligned", []),
        ("nearly displaced", ["per_modality"]),
        ("displaced for good", []),
        ("rarely missing", ["early"]),
        ("missing modality", []),
    ],
)
def test_a_rival_topology_is_nominated_near_the_border_only(name: str, rivals: list[str]) -> None:
    plan = plan_for(name)
    assert [item.topology for item in plan.challengers] == rivals
    assert all(item.trainer.name == plan.trainer.name and item.because for item in plan.challengers)


def test_the_rival_of_an_encoder_for_each_is_concatenation() -> None:
    assert [item.topology for item in fused(two_modalities(*[pair(3.0)] * 10)).rivals] == ["early"]


def test_the_memory_dial_holds_for_every_topology() -> None:
    for topology in ("early", "stems", "specific_shared", "per_modality", "image_level", "shared_kernels", "late"):
        plan = plan_for("regions", topology=topology)
        for item in plan.configurations:
            assert item.network.topology == topology
            assert item.memory_gib <= GIB4.memory_gib
