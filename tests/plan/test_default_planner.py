"""The default planner's decisions: dials kept, configurations that make sense, everything on record."""

from __future__ import annotations

import subprocess
import sys
from math import prod
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_examples import GIB8, case_of, decision, fingerprint_of, in_minutes, labels_of, same_cases

from autofuse.foundation.errors import DataError, ResourceError
from autofuse.networks.cost import network_cost
from autofuse.plan.memory import training_memory_gib
from autofuse.plan.types import Budget, Plan
from autofuse_planners.default import DefaultPlanner
from autofuse_planners.sizing import wanted_steps

ORGAN = labels_of("organ")
HIPPOCAMPUS = fingerprint_of(same_cases((35, 50, 35), (1.0, 1.0, 1.0), count=52))
BRAINS = fingerprint_of(
    same_cases((140, 170, 140), (1.0, 1.0, 1.0), count=40, modalities=4), modalities=("T1", "T1c", "T2", "FLAIR")
)
CINE = fingerprint_of(same_cases((10, 216, 256), (10.0, 1.5, 1.5)))


def plan(fingerprint, budget: Budget = GIB8, labels=ORGAN, **fields) -> Plan:
    return DefaultPlanner(**fields).plan(fingerprint, labels, budget)


def test_isotropic_brains_on_8_gib_of_a_gpu_get_the_patch_that_nnunet_gives_them() -> None:
    found = plan(BRAINS, Budget(memory_gib=8.0, device="cuda", precision="fp16"), encoder="plain").named("3d")
    assert found.patch == (128, 160, 128)
    assert found.batch == 2
    assert found.network.features == (32, 64, 128, 256, 320, 320)
    assert found.network.strides == ((1, 1, 1),) + ((2, 2, 2),) * 5


def test_small_cases_are_seen_whole() -> None:
    for budget in (GIB8, in_minutes(20), in_minutes(5)):
        found = plan(HIPPOCAMPUS, budget)
        assert found.configuration == "3d"
        assert found.named("3d").patch == (40, 56, 40)


def test_twenty_minutes_on_two_cores_leave_thousands_of_steps() -> None:
    found = plan(HIPPOCAMPUS, in_minutes(20))
    default = found.named("3d")
    assert default.network.features[0] >= 16
    assert 0.1 < default.seconds_per_step < 0.5
    assert 2500 <= found.steps <= 10_000


def test_large_brains_in_a_quarter_of_an_hour_keep_their_spacing_and_say_that_the_patch_is_small() -> None:
    found = plan(BRAINS, in_minutes(15))
    default = found.named(found.configuration)
    assert (default.name, default.spacing_mm) == ("3d", (1.0, 1.0, 1.0))
    assert 48**3 <= prod(default.patch) <= 80**3
    assert default.network.features[0] == 16
    assert found.steps >= 1000
    why = decision(found, "patch, network and batch of 3d")
    assert "less than 25% of the median case" in why.rule
    assert any("channels" in other for other in why.alternatives)


def test_thick_stacks_of_few_slices_are_seen_slice_by_slice_and_planned_in_3d_too() -> None:
    found = plan(CINE)
    assert found.configuration == "2d"
    assert [item.name for item in found.configurations] == ["2d", "3d"]
    assert len(found.named("2d").patch) == 2
    assert found.named("3d").anisotropic_axis == 0
    assert found.named("3d").network.kernels[0] == (1, 3, 3)


def test_single_slices_have_only_a_2d_configuration() -> None:
    found = plan(fingerprint_of(same_cases((1, 300, 400), (1.0, 1.0, 1.0))))
    assert [item.name for item in found.configurations] == ["2d"]


def test_a_patch_that_sees_too_little_brings_a_cascade() -> None:
    labels = labels_of("liver", "tumour")
    bodies = fingerprint_of(same_cases((500, 512, 512), (1.0, 0.8, 0.8), classes=2), classes=("liver", "tumour"))
    found = plan(bodies, labels=labels)
    low, second = found.named("3d_low"), found.named("3d_cascade")
    assert found.configuration == "3d"
    assert prod(low.patch) >= 0.25 * prod(low.median_shape)
    assert 2 * prod(low.median_shape) < prod(second.median_shape)
    assert (low.previous, second.previous) == (None, "3d_low")
    assert second.spacing_mm == found.named("3d").spacing_mm
    # The second stage pays for the masks that it sees.
    cost = network_cost(second.network, 1 + 2, 3, second.patch, prior_channels=2)
    expected = training_memory_gib(cost, second.batch, "fp32", logits=3 * prod(second.patch))
    assert second.memory_gib == pytest.approx(expected, rel=1e-3)


def test_a_patch_that_sees_enough_brings_none() -> None:
    found = plan(HIPPOCAMPUS)
    assert {item.name for item in found.configurations} == {"3d", "2d"}
    assert decision(found, "cascade").chosen == "none"


def test_residual_blocks_where_memory_and_time_allow() -> None:
    roomy = Budget(memory_gib=24.0, device="cuda", precision="fp16")
    assert plan(BRAINS, roomy).named("3d").network.encoder == "residual"
    assert plan(BRAINS).named("3d").network.encoder == "plain"
    assert plan(BRAINS, GIB8, encoder="residual").named("3d").network.encoder == "residual"


def test_the_same_fingerprint_and_budget_give_the_same_bytes() -> None:
    budget = in_minutes(15)
    assert plan(BRAINS, budget).to_json() == plan(BRAINS, budget).to_json()


def test_every_decision_has_a_rule_and_numbers() -> None:
    for fingerprint in (HIPPOCAMPUS, BRAINS, CINE):
        for item in plan(fingerprint, in_minutes(10)).decisions:
            assert item.chosen and item.rule and item.evidence, item.what


def test_a_memory_dial_that_no_network_fits_is_refused_with_numbers() -> None:
    with pytest.raises(ResourceError, match="too low") as caught:
        plan(HIPPOCAMPUS, Budget(memory_gib=0.3))
    assert "0.3 GiB" in str(caught.value) and "--memory" in str(caught.value)


def test_a_data_set_without_labels_is_refused() -> None:
    cases = same_cases((35, 50, 35), (1.0, 1.0, 1.0), annotation="none", labelled_fraction=0.0)
    with pytest.raises(DataError, match="label"):
        plan(fingerprint_of(cases))


shapes = st.tuples(*[st.integers(1, 600)] * 3)
spacings = st.tuples(*[st.sampled_from([0.3, 0.5, 0.7, 1.0, 1.5, 3.0, 5.0, 10.0])] * 3)
dials = st.one_of(
    st.builds(lambda gib: Budget(memory_gib=gib), st.floats(1.0, 24.0)),
    st.builds(lambda gib: Budget(memory_gib=gib, device="cuda", precision="fp16"), st.floats(2.0, 40.0)),
    st.builds(in_minutes, st.floats(0.5, 600.0), st.floats(1.0, 16.0)),
)


@settings(max_examples=25, deadline=None)
@given(shape=shapes, spacing=spacings, count=st.integers(1, 200), modalities=st.integers(1, 4), budget=dials)
def test_plans_keep_the_memory_dial_and_fit_their_networks(shape, spacing, count, modalities, budget) -> None:
    names = tuple(f"MR{index}" for index in range(modalities))
    case = case_of(0, shape, spacing, modalities=modalities)
    cases = [case.model_copy(update={"id": f"c{number:03d}"}) for number in range(count)]
    found = plan(fingerprint_of(cases, modalities=names), budget)
    for item in found.configurations:
        assert item.memory_gib <= budget.memory_gib
        assert item.batch >= 2
        multiple = [prod(steps) for steps in zip(*item.network.strides, strict=True)]
        assert all(size % step == 0 for size, step in zip(item.patch, multiple, strict=True))
        prior = 1 if item.previous else 0
        cost = network_cost(item.network, modalities + prior, 2, item.patch, prior_channels=prior)
        logits = 2 * prod(item.patch)
        predicted = training_memory_gib(cost, item.batch, budget.precision, budget.device, logits=logits)
        assert predicted <= budget.memory_gib
    assert Plan.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize("fingerprint", [HIPPOCAMPUS, BRAINS, CINE], ids=["hippocampus", "brains", "cine"])
def test_more_minutes_never_give_a_smaller_network(fingerprint) -> None:
    flops = []
    for minutes in (1, 3, 10, 30, 100, 300, 1000):
        budget = in_minutes(minutes)
        found = plan(fingerprint, budget)
        default = found.named(found.configuration)
        cost = network_cost(default.network, len(fingerprint.modalities), 2, default.patch)
        flops.append(cost.flops * default.batch)
        assert found.steps * default.seconds_per_step <= 60 * minutes
        if minutes >= 10:
            assert found.steps >= 0.5 * wanted_steps(budget, DefaultPlanner())
    assert flops == sorted(flops)
    assert flops[-1] > 2 * flops[0]


def test_more_memory_never_gives_a_smaller_patch() -> None:
    patches = [prod(plan(BRAINS, Budget(memory_gib=gib)).named("3d").patch) for gib in (1.0, 2.0, 4.0, 8.0, 16.0, 64.0)]
    assert patches == sorted(patches)
    assert patches[-1] >= 140 * 170 * 140


def test_planning_needs_no_torch() -> None:
    code = (
        "import sys; from plan_examples import *; from autofuse_planners.default import DefaultPlanner; "
        "plan = DefaultPlanner().plan(fingerprint_of(same_cases((35, 50, 35), (1.0,) * 3)), labels_of('a'), GIB8); "
        "sys.exit('torch' in sys.modules or 'scipy' in sys.modules or not plan.steps)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parent).returncode == 0
