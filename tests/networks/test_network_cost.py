"""What a network says it costs is what it costs: counted by hooks on the built layers."""

from __future__ import annotations

import subprocess
import sys
import time
from math import prod

import pytest
import torch
from network_plans import PLANS, everything, small_plan
from torch import Tensor, nn

from autofuse.foundation.errors import ModelError
from autofuse.networks import TOPOLOGIES, network_cost, topology
from autofuse.networks.per_modality import ChannelAttention

FLOAT_BYTES = 4
STATISTICS_SHARE = 0.01
"""The norm's means and deviations (two numbers a map) are not counted; on these small patches they stay below this."""


def measured_flops(network: nn.Module, image: Tensor) -> float:
    """Multiply-adds times two of every convolution and attention, from the shapes that pass through it."""
    found = 0.0

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal found
        weight = layer.weight
        assert isinstance(weight, Tensor)
        moving = inputs[0] if isinstance(layer, nn.ConvTranspose2d | nn.ConvTranspose3d) else output
        found += 2.0 * weight.numel() * prod(moving.shape[2:]) * moving.shape[0]

    def count_attention(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal found
        found += 2 * 2.0 * output.shape[1] * output.numel()

    kinds = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    for layer in network.modules():
        if isinstance(layer, kinds):
            layer.register_forward_hook(count)
        elif isinstance(layer, ChannelAttention):
            layer.register_forward_hook(count_attention)
    everything(network, image)
    return found


def measured_activations(network: nn.Module, image: Tensor) -> float:
    """float32 elements that autograd keeps (each memory once, weights left out), and the logits."""
    weights = {weight.untyped_storage().data_ptr() for weight in network.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = everything(network, image)
    kept.update({level.untyped_storage().data_ptr(): level for level in logits})
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values()) / FLOAT_BYTES


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
