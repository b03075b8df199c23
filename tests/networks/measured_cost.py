"""What a built network really computes and keeps, by hooks."""

from __future__ import annotations

from math import prod

import torch
from network_plans import everything
from torch import Tensor, nn

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
