"""Descriptions of network parts: each says what it costs and builds its layers, so that one text decides both.

Nothing here imports torch until ``build`` is called: a planner weighs hundreds of networks in milliseconds.

Activations are counted as what reverse-mode differentiation really keeps for one sample: a convolution's output (kept
by the normalisation), the non-linearity's output (kept by whatever reads it), and a concatenation. Sizes are voxels per
spatial axis, slowest first, two or three of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Protocol

from autofuse.plan.cost import Cost

if TYPE_CHECKING:
    from torch import nn

Sizes = tuple[int, ...]


class BlockSpec(Protocol):
    """A part of a network that is not built yet: features of one size in, features of another size out."""

    @property
    def outputs(self) -> int:
        """Channels that come out."""
        ...

    def output_size(self, size: Sizes) -> Sizes:
        """Voxels per axis that come out for ``size`` going in."""
        ...

    def cost(self, size: Sizes) -> Cost:
        """Cost of one sample whose voxels per axis are ``size`` at the input."""
        ...

    def build(self) -> nn.Module:
        """The layers, freshly initialised."""
        ...


def strided(size: Sizes, stride: Sizes) -> Sizes:
    """Voxels per axis after a padded convolution with ``stride``."""
    return tuple(-(-voxels // step) for voxels, step in zip(size, stride, strict=True))


def total(costs: Iterable[Cost]) -> Cost:
    """The sum of ``costs``."""
    flops = activations = parameters = 0.0
    for cost in costs:
        flops += cost.flops
        activations += cost.activations
        parameters += cost.parameters
    return Cost(flops, activations, parameters)


def kept(channels: float, size: Sizes) -> Cost:
    """What keeping ``channels`` at ``size`` voxels costs."""
    return Cost(activations=float(channels * prod(size)))


@dataclass(frozen=True)
class ConvolutionSpec:
    """Convolution, instance norm and (unless ``activated`` is false) leaky ReLU.

    Without the norm (``normal`` false) it has a bias, and what comes out at a voxel depends on the voxels around it
    alone, not on the rest of the patch.
    """

    inputs: int
    outputs: int
    kernel: Sizes
    stride: Sizes
    activated: bool = True
    normal: bool = True

    def output_size(self, size: Sizes) -> Sizes:
        """Voxels per axis that come out."""
        return strided(size, self.stride)

    def cost(self, size: Sizes) -> Cost:
        """Cost of one sample; the norm's output counts where a non-linearity overwrites and keeps it."""
        elements = self.outputs * prod(self.output_size(size))
        taps = self.inputs * prod(self.kernel)
        kept_times = 1.0 + self.activated if self.normal else 1.0
        further = 2.0 * self.outputs if self.normal else self.outputs
        return Cost(2.0 * elements * taps, elements * kept_times, self.outputs * taps + further)

    def build(self) -> nn.Module:
        """The layers, freshly initialised."""
        from autofuse.networks.blocks import ConvolutionBlock

        return ConvolutionBlock(self)


@dataclass(frozen=True)
class ResidualSpec:
    """Two convolutions whose result is added to the input; the input is averaged down and projected where needed."""

    inputs: int
    outputs: int
    kernel: Sizes
    stride: Sizes

    @property
    def first(self) -> ConvolutionSpec:
        """The convolution that changes width and resolution."""
        return ConvolutionSpec(self.inputs, self.outputs, self.kernel, self.stride)

    @property
    def second(self) -> ConvolutionSpec:
        """The convolution whose normalised output is added to the input."""
        return ConvolutionSpec(self.outputs, self.outputs, self.kernel, (1,) * len(self.kernel), activated=False)

    @property
    def projection(self) -> ConvolutionSpec | None:
        """The 1x1 convolution of the input, or None where the width stays."""
        ones = (1,) * len(self.kernel)
        return None if self.inputs == self.outputs else ConvolutionSpec(self.inputs, self.outputs, ones, ones, False)

    def output_size(self, size: Sizes) -> Sizes:
        """Voxels per axis that come out."""
        return strided(size, self.stride)

    def cost(self, size: Sizes) -> Cost:
        """Cost of one sample; the averaged input counts only where the projection reads it."""
        small = self.output_size(size)
        parts = [self.first.cost(size), self.second.cost(small), Cost(activations=float(self.outputs * prod(small)))]
        if self.projection is not None:
            parts.append(self.projection.cost(small))
            if max(self.stride) > 1:
                parts.append(Cost(activations=float(self.inputs * prod(small))))
        return total(parts)

    def build(self) -> nn.Module:
        """The layers, freshly initialised."""
        from autofuse.networks.blocks import ResidualBlock

        return ResidualBlock(self)


@dataclass(frozen=True)
class StackSpec:
    """Blocks one after the other: what one stage of an encoder or decoder does at one resolution."""

    blocks: tuple[ConvolutionSpec | ResidualSpec, ...]

    @property
    def outputs(self) -> int:
        """Channels that come out."""
        return self.blocks[-1].outputs

    def output_size(self, size: Sizes) -> Sizes:
        """Voxels per axis that come out."""
        for block in self.blocks:
            size = block.output_size(size)
        return size

    def cost(self, size: Sizes) -> Cost:
        """Cost of one sample."""
        costs = []
        for block in self.blocks:
            costs.append(block.cost(size))
            size = block.output_size(size)
        return total(costs)

    def build(self) -> nn.Module:
        """The layers, freshly initialised."""
        from torch import nn

        return nn.Sequential(*(block.build() for block in self.blocks))


@dataclass(frozen=True)
class UpsamplingSpec:
    """Transposed convolution with kernel = stride, then concatenation with ``outputs`` channels of the encoder."""

    inputs: int
    outputs: int
    stride: Sizes

    def output_size(self, size: Sizes) -> Sizes:
        """Voxels per axis that come out."""
        return tuple(voxels * step for voxels, step in zip(size, self.stride, strict=True))

    def cost(self, size: Sizes) -> Cost:
        """Cost of one sample; the concatenation is what the next convolution keeps."""
        elements = self.outputs * prod(self.output_size(size))
        return Cost(2.0 * elements * self.inputs, 2.0 * elements, self.inputs * self.outputs * prod(self.stride))

    def build(self) -> nn.Module:
        """The layers, freshly initialised."""
        from autofuse.networks.blocks import Upsampling

        return Upsampling(self)


@dataclass(frozen=True)
class HeadSpec:
    """1x1 convolution from features to logits."""

    inputs: int
    outputs: int
    dimensions: int

    def output_size(self, size: Sizes) -> Sizes:
        """Voxels per axis that come out: as many as go in."""
        return size

    def cost(self, size: Sizes) -> Cost:
        """Cost of one sample, the logits included; what a loss keeps besides them comes on top."""
        elements = self.outputs * prod(size)
        return Cost(2.0 * elements * self.inputs, elements, (self.inputs + 1.0) * self.outputs)

    def build(self) -> nn.Module:
        """The layer, freshly initialised."""
        from autofuse.networks.blocks import head

        return head(self)
