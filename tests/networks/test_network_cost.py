"""What a network says it costs is what it costs: counted by hooks on the built layers."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
import torch
from measured_cost import STATISTICS_SHARE, measured_activations, measured_flops
from network_plans import PLANS, small_plan

from autofuse.foundation.errors import ModelError
from autofuse.networks import TOPOLOGIES, network_cost, topology


@pytest.mark.parametrize("name", PLANS)
def test_cost_is_what_hooks_measure(name: str) -> None:
    plan, patch = PLANS[name]
    network = topology(plan.topology)(plan, 2, 1, 4).build().train()
    said = network_cost(plan, 3, 4, patch, prior_channels=1)
    image = torch.randn(1, 3, *patch)
    assert said == network.cost(patch)  # type: ignore[operator]
    assert said.parameters == sum(weight.numel() for weight in network.parameters())
    assert said.flops == measured_flops(network, image)
    assert measured_activations(network, image) == pytest.approx(said.activations, rel=STATISTICS_SHARE)


@pytest.mark.parametrize("modalities", [1, 2, 3])
@pytest.mark.parametrize("plan", ["plain 3D", "residual 2D", "anisotropic", "one stage"])
@pytest.mark.parametrize("name", sorted(TOPOLOGIES))
def test_every_topology_costs_what_hooks_measure(name: str, plan: str, modalities: int) -> None:
    network_plan, patch = PLANS[plan]
    network = topology(name)(network_plan, modalities, 1, 4).build().train()
    said = network.cost(patch)  # type: ignore[operator]
    image = torch.randn(1, modalities + 1, *patch)
    assert said.parameters == sum(weight.numel() for weight in network.parameters())
    assert said.flops == measured_flops(network, image)
    assert measured_activations(network, image) == pytest.approx(said.activations, rel=STATISTICS_SHARE)


def test_a_patch_with_other_axes_is_refused() -> None:
    with pytest.raises(ModelError, match="patch does not fit"):
        network_cost(small_plan(), 1, 2, (16, 16))


def test_stages_that_contradict_each_other_are_refused() -> None:
    for changes in ({"blocks": (2, 1)}, {"kernels": ((2, 2, 2),) * 4}, {"strides": ((2, 2, 2),) * 4}):
        with pytest.raises(ModelError, match="contradicts itself"):
            network_cost(small_plan(**changes), 1, 2, (16, 16, 16))


def test_an_unknown_topology_names_those_that_exist() -> None:
    with pytest.raises(ModelError) as caught:
        network_cost(small_plan(topology="telepathy"), 1, 2, (16, 16, 16))
    assert "early" in str(caught.value)


def test_cost_is_quick_and_needs_no_torch() -> None:
    program = "import sys, autofuse.networks; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0
    plan = small_plan("residual")
    timings = []
    for _ in range(20):
        begin = time.perf_counter()
        network_cost(plan, 4, 4, (64, 64, 64))
        timings.append(time.perf_counter() - begin)
    assert min(timings) < 2e-3
