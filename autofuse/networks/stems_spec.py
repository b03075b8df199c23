"""Modality stems and a gated merge, then the rest of the planned U-Net: the description. No torch here.

The merge is a convolution of the stems' features side by side, each multiplied by its gate. A convolution of
concatenated channels is a sum of one projection per modality, so with gates that add up to 1 it is a weighted mean of
the projections: it holds all that early fusion's concatenation holds, and any subset comes out at the same scale.
A plain sum or mean of the stems would mix modalities before anything could tell them apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from autofuse.networks.inlet import Inlet, inlet
from autofuse.networks.specs import ConvolutionSpec, ResidualSpec, Sizes, StackSpec, kept, total
from autofuse.networks.unet_spec import DecoderSpec, EncoderSpec, decoder_spec, encoder_spec, half_width
from autofuse.plan.cost import Cost
from autofuse.plan.types import NetworkPlan

if TYPE_CHECKING:
    from autofuse.networks.stems import GatedMerge, Stems


@dataclass(frozen=True)
class GatedMergeSpec:
    """Modalities' features of ``width`` channels each and prior channels, to one tensor of them all, gated.

    One modality needs no gate.
    """

    modalities: int
    width: int
    prior_channels: int
    dimensions: int

    @property
    def outputs(self) -> int:
        """Channels that come out."""
        return self.modalities * self.width + self.prior_channels

    def cost(self, size: Sizes) -> Cost:
        """Cost of one sample: the mean of all, scores and gates, and the gated features side by side."""
        if self.modalities == 1:
            return kept(self.outputs if self.prior_channels else 0, size)
        taps = 2 * self.modalities * self.width
        scores = Cost(2.0 * taps * prod(size), 0.0, taps + self.modalities)
        return total((scores, kept(self.width + 2 * self.modalities + self.outputs, size)))

    def build(self) -> GatedMerge:
        """The layers, freshly initialised."""
        from autofuse.networks.stems import GatedMerge

        return GatedMerge(self)


@dataclass(frozen=True)
class StemsSpec:
    """A stem per modality at full resolution, the merge, and the planned U-Net whose first stage begins behind it.

    ``encoder`` is the planned one on the merged channels; ``stems`` take the place of its first convolution.
    """

    inlet: Inlet
    stems: tuple[StackSpec, ...]
    merge: GatedMergeSpec
    encoder: EncoderSpec
    decoder: DecoderSpec

    def cost(self, size: Sizes) -> Cost:
        """Cost of one sample while training, the input included."""
        parts = [kept(self.inlet.channels, size), *(stem.cost(size) for stem in self.stems), self.merge.cost(size)]
        parts += [self.encoder.cost(size), self.decoder.cost(self.encoder.sizes(size))]
        return total(parts)

    def build(self) -> Stems:
        """The network, freshly initialised."""
        from autofuse.networks.stems import Stems

        return Stems(self)


def stems(
    network: NetworkPlan, modalities: int, prior_channels: int, outputs: int, *, regions: bool = False
) -> StemsSpec:
    """Isolated stems, gated merge, the rest of the planned U-Net.

    A stem has all convolutions of the planned first stage but the last (at least one), at half the planned width (the
    whole for one modality). The convolution that reads the merge is the stage's last one: depth stays as planned.
    """
    given = inlet(network, modalities, prior_channels)
    width = network.features[0] if modalities == 1 else half_width(network.features[0])
    count = 1 if network.encoder == "residual" else max(1, network.blocks[0] - 1)
    kernel = network.kernels[0]
    ones = (1,) * len(kernel)
    stem = StackSpec(tuple(ConvolutionSpec(1 if i == 0 else width, width, kernel, ones) for i in range(count)))
    merge = GatedMergeSpec(modalities, width, prior_channels, len(kernel))
    encoder = _behind(network, encoder_spec(network, merge.outputs))
    return StemsSpec(given, (stem,) * modalities, merge, encoder, decoder_spec(network, outputs))


def _behind(network: NetworkPlan, encoder: EncoderSpec) -> EncoderSpec:
    """``encoder`` whose first stage keeps one convolution of a plain plan's, and all blocks of a residual one's."""
    if network.encoder == "residual":
        return encoder
    first: tuple[ConvolutionSpec | ResidualSpec, ...] = encoder.stages[0].blocks[:1]
    return EncoderSpec((StackSpec(first), *encoder.stages[1:]), encoder.strides)
