"""An encoder and a decoder per modality, fused at the bottleneck: the description. No torch here.

After "CMC" (MICCAI 2024, arXiv 2408.07341): channel attention for each modality, one fusion layer over all, whose
result is added to each. Here it reads the mean of those that are present, so that there may be any number of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from autofuse.networks.heads_spec import merging_cost
from autofuse.networks.inlet import Inlet, inlet
from autofuse.networks.specs import ConvolutionSpec, Sizes, StackSpec, kept, total
from autofuse.networks.unet_spec import UNetSpec, unet_spec
from autofuse.plan.cost import Cost
from autofuse.plan.types import NetworkPlan

if TYPE_CHECKING:
    from autofuse.networks.per_modality import ChannelAttention, PerModality

FUSION_CONVOLUTIONS = 2


@dataclass(frozen=True)
class ChannelAttentionSpec:
    """Self-attention between the channels of one modality."""

    channels: int

    def cost(self, size: Sizes) -> Cost:
        """Cost of one sample: two products of (channels x channels) with the features, the attention and its result."""
        features = float(self.channels * prod(size))
        return Cost(4.0 * self.channels * features, features + self.channels**2, 1.0)

    def build(self) -> ChannelAttention:
        """The layer, freshly initialised."""
        from autofuse.networks.per_modality import ChannelAttention

        return ChannelAttention()


@dataclass(frozen=True)
class PerModalitySpec:
    """A planned U-Net for each modality (each also sees the priors), attention and fusion at their bottlenecks."""

    inlet: Inlet
    unet: UNetSpec
    attention: ChannelAttentionSpec
    fusion: StackSpec
    regions: bool

    def cost(self, size: Sizes) -> Cost:
        """Cost of one sample while training, the input included."""
        modalities, sizes = self.inlet.modalities, self.unet.encoder.sizes(size)
        lowest = kept(self.attention.channels, sizes[-1])
        each = total((self.unet.cost(size), self.attention.cost(sizes[-1]), lowest))
        merging = merging_cost(self.unet.decoder, modalities, sizes, regions=self.regions)
        return total((*(each,) * modalities, lowest, self.fusion.cost(sizes[-1]), merging))

    def build(self) -> PerModality:
        """The network, freshly initialised."""
        from autofuse.networks.per_modality import PerModality

        return PerModality(self)


def per_modality(
    network: NetworkPlan, modalities: int, prior_channels: int, outputs: int, *, regions: bool = False
) -> PerModalitySpec:
    """An encoder and a decoder per modality, both as planned; bottlenecks fused; the mean of the probabilities."""
    given = inlet(network, modalities, prior_channels)
    channels, kernel = network.features[-1], network.kernels[-1]
    convolution = ConvolutionSpec(channels, channels, kernel, (1,) * len(kernel))
    fusion = StackSpec((convolution,) * FUSION_CONVOLUTIONS)
    unet = unet_spec(network, 1 + prior_channels, outputs)
    return PerModalitySpec(given, unet, ChannelAttentionSpec(channels), fusion, regions)
