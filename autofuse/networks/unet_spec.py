"""The planned U-Net as a description: encoder, decoder and both together, from a NetworkPlan. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from autofuse.foundation.errors import ModelError
from autofuse.networks.specs import (
    ConvolutionSpec,
    HeadSpec,
    ResidualSpec,
    Sizes,
    StackSpec,
    UpsamplingSpec,
    strided,
    total,
)
from autofuse.plan.cost import Cost
from autofuse.plan.types import NetworkPlan

if TYPE_CHECKING:
    from autofuse.networks.unet import Decoder, Encoder, UNet

NARROWEST = 4
"""Fewest channels of a stem or branch that is narrower than the plan, if the plan has as many."""


@dataclass(frozen=True)
class EncoderSpec:
    """Stages from the highest resolution to the lowest."""

    stages: tuple[StackSpec, ...]
    strides: tuple[Sizes, ...]

    def sizes(self, size: Sizes) -> tuple[Sizes, ...]:
        """Voxels per axis at each stage for an input of ``size``."""
        found = []
        for stride in self.strides:
            size = strided(size, stride)
            found.append(size)
        return tuple(found)

    def cost(self, size: Sizes) -> Cost:
        """Cost of one sample; the input itself is not counted."""
        inputs = (size, *self.sizes(size)[:-1])
        return total(stage.cost(before) for stage, before in zip(self.stages, inputs, strict=True))

    def build(self) -> Encoder:
        """The layers, freshly initialised."""
        from autofuse.networks.unet import Encoder

        return Encoder(self)


@dataclass(frozen=True)
class DecoderSpec:
    """Stages, upsamplings and heads by resolution, highest first; a head is None where deep supervision is off.

    ``upsamplings[i]`` leads from resolution i + 1 to resolution i. A network of one stage has a head and nothing else.
    """

    upsamplings: tuple[UpsamplingSpec, ...]
    stages: tuple[StackSpec, ...]
    heads: tuple[HeadSpec | None, ...]

    def cost(self, sizes: tuple[Sizes, ...]) -> Cost:
        """Cost of one sample while training, given the encoder's sizes."""
        costs = [up.cost(below) for up, below in zip(self.upsamplings, sizes[1:], strict=True)]
        costs += [stage.cost(size) for stage, size in zip(self.stages, sizes, strict=False)]
        costs += [head.cost(size) for head, size in zip(self.heads, sizes, strict=False) if head is not None]
        return total(costs)

    def build(self) -> Decoder:
        """The layers, freshly initialised."""
        from autofuse.networks.unet import Decoder

        return Decoder(self)


@dataclass(frozen=True)
class UNetSpec:
    """Encoder and decoder of one U-Net on ``in_channels`` channels."""

    in_channels: int
    encoder: EncoderSpec
    decoder: DecoderSpec

    @property
    def reduction(self) -> Sizes:
        """Per axis, the product of all strides: patch sizes must be multiples of it."""
        return tuple(prod(steps) for steps in zip(*self.encoder.strides, strict=True))

    def cost(self, size: Sizes) -> Cost:
        """Cost of one sample while training, the input (kept by the first convolution) included."""
        given = Cost(activations=float(self.in_channels * prod(size)))
        return total((given, self.encoder.cost(size), self.decoder.cost(self.encoder.sizes(size))))

    def build(self) -> UNet:
        """The layers, freshly initialised."""
        from autofuse.networks.unet import UNet

        return UNet(self)


def encoder_spec(network: NetworkPlan, in_channels: int) -> EncoderSpec:
    """The planned encoder on ``in_channels`` channels.

    Plain stages are stacks of convolutions, the first of them strided; residual ones are preceded by one convolution
    at full resolution (Isensee et al., nnU-Net Revisited, arXiv 2404.09556).

    Raises:
        ModelError: if the plan's stages contradict each other.
    """
    check_network(network)
    stages, inputs = [], in_channels
    for index, features in enumerate(network.features):
        kernel, stride, count = network.kernels[index], network.strides[index], network.blocks[index]
        blocks: list[ConvolutionSpec | ResidualSpec] = []
        if network.encoder == "residual" and index == 0:
            blocks.append(ConvolutionSpec(inputs, features, kernel, (1,) * len(kernel)))
            inputs = features
        kind = ResidualSpec if network.encoder == "residual" else ConvolutionSpec
        for number in range(count):
            step = stride if number == 0 else (1,) * len(stride)
            blocks.append(kind(inputs, features, kernel, step))
            inputs = features
        stages.append(StackSpec(tuple(blocks)))
    return EncoderSpec(tuple(stages), network.strides)


def decoder_spec(network: NetworkPlan, outputs: int) -> DecoderSpec:
    """The planned decoder to ``outputs`` channels; its stages are plain whatever the encoder is.

    With deep supervision every decoder stage but the lowest has a head.

    Raises:
        ModelError: if the plan's stages contradict each other.
    """
    check_network(network)
    features, dimensions = network.features, len(network.strides[0])
    count = len(features) - 1
    ups = tuple(UpsamplingSpec(features[i + 1], features[i], network.strides[i + 1]) for i in range(count))
    stages = tuple(_decoder_stage(network, index) for index in range(count))
    supervised = max(1, count - 1) if network.deep_supervision else 1
    heads = tuple(HeadSpec(features[i], outputs, dimensions) if i < supervised else None for i in range(max(1, count)))
    return DecoderSpec(ups, stages, heads)


def unet_spec(network: NetworkPlan, in_channels: int, outputs: int) -> UNetSpec:
    """The planned U-Net.

    Raises:
        ModelError: if the plan's stages contradict each other.
    """
    return UNetSpec(in_channels, encoder_spec(network, in_channels), decoder_spec(network, outputs))


def half_wide(network: NetworkPlan) -> NetworkPlan:
    """The planned network with half the channels at every stage."""
    return network.model_copy(update={"features": tuple(half_width(features) for features in network.features)})


def half_width(features: int) -> int:
    """Half of the planned ``features``, but at least ``NARROWEST`` where the plan has as many."""
    return min(features, max(NARROWEST, features // 2))


def check_network(network: NetworkPlan) -> None:
    """Nothing, if every stage has its kernel, stride and blocks, and they fit each other.

    Raises:
        ModelError: otherwise.
    """
    stages = len(network.features)
    lengths = (len(network.kernels), len(network.strides), len(network.blocks), len(network.decoder_blocks) + 1)
    problem = ""
    if lengths != (stages,) * 4:
        problem = f"{stages} stages, but kernels, strides, blocks, decoder blocks + 1 number {lengths}"
    elif {len(axes) for axes in (*network.kernels, *network.strides)} not in ({2}, {3}):
        problem = f"kernels {network.kernels} and strides {network.strides} do not all have 2 or all have 3 axes"
    elif any(width % 2 == 0 or width < 1 for kernel in network.kernels for width in kernel):
        problem = f"kernels {network.kernels} are not all odd"
    elif max(network.strides[0]) > 1 or any(step < 1 for stride in network.strides for step in stride):
        problem = f"strides {network.strides} do not begin with ones, or are not all positive"
    elif min(*network.features, *network.blocks, *network.decoder_blocks, 1) < 1:
        problem = "a stage without features or without blocks"
    if problem:
        raise ModelError(
            "The planned network contradicts itself.",
            found=problem,
            expected="per stage a width, an odd kernel, a stride (the first of ones), blocks; one decoder stage fewer",
            remedy="Plan again; if the plan is a planner's of your own, see autofuse.plan.types.NetworkPlan.",
        )


def _decoder_stage(network: NetworkPlan, index: int) -> StackSpec:
    features, kernel = network.features[index], network.kernels[index]
    ones = (1,) * len(kernel)
    widths = [2 * features] + [features] * (network.decoder_blocks[index] - 1)
    return StackSpec(tuple(ConvolutionSpec(width, features, kernel, ones) for width in widths))
