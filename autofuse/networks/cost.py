"""What a planned network costs, and the network itself: two read-outs of one description."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autofuse.foundation.errors import ModelError
from autofuse.networks.specs import strided, total
from autofuse.networks.topologies import topology
from autofuse.networks.unet_spec import decoder_spec
from autofuse.plan.cost import Cost
from autofuse.plan.task import Task
from autofuse.plan.types import NetworkPlan

if TYPE_CHECKING:
    from torch import nn


def network_cost(
    network: NetworkPlan, in_channels: int, outputs: int, patch: tuple[int, ...], *, prior_channels: int = 0
) -> Cost:
    """Cost of one sample of ``patch`` voxels while training; no torch, no weights, well under a millisecond.

    Args:
        network: the planned network.
        in_channels: modalities and prior channels together.
        outputs: channels that it predicts.
        patch: voxels per axis; sizes that the strides do not divide are rounded up stage by stage.
        prior_channels: how many of ``in_channels`` are masks of a cascade's earlier stage.

    Raises:
        ModelError: if the topology is unknown, the patch has other axes, or the stages contradict each other.
    """
    spec = topology(network.topology)(network, in_channels - prior_channels, prior_channels, outputs)
    if len(patch) != len(network.strides[0]):
        raise ModelError(
            "The patch does not fit the network.",
            found=f"{len(patch)} axes: {patch}",
            expected=f"{len(network.strides[0])} axes",
        )
    return total((spec.cost(patch), *(decoder_cost(network, outputs, patch),) * (network.decoders - 1)))


def decoder_cost(network: NetworkPlan, outputs: int, patch: tuple[int, ...]) -> Cost:
    """Cost of one more decoder on the same encoder."""
    sizes, size = [], patch
    for stride in network.strides:
        size = strided(size, stride)
        sizes.append(size)
    return decoder_spec(network, outputs).cost(tuple(sizes))


def build_network(task: Task, *, in_channels: int | None = None, outputs: int | None = None) -> nn.Module:
    """The planned network of ``task``, freshly initialised.

    ``forward(x (B, M + K, *S), present (B, M) or (B, M, *S) bool | None)`` gives a tuple of logits (B, C, *S), highest
    resolution first: while training one per supervised stage, in eval mode only the first. ``cost(patch)`` says what it
    costs.

    Args:
        task: plan and configuration.
        in_channels: channels instead of the task's modalities and priors (a fused image, say); all count as modalities.
        outputs: channels instead of the task's.

    Raises:
        ModelError: if the topology is unknown or the stages contradict each other.
    """
    network = task.configuration.network
    modalities, prior = (task.modalities, task.prior_channels) if in_channels is None else (in_channels, 0)
    description = topology(network.topology)
    return description(network, modalities, prior, outputs or task.outputs, regions=task.labels.has_regions).build()
