"""Narrow U-Nets per modality and a cross branch that gathers from them: the description. No torch here.

After CmFNet (arXiv 2506.18042); the half width is that of MAML (Zhang et al., MICCAI 2021).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from autofuse.networks.gather_spec import GatherSpec
from autofuse.networks.inlet import Inlet, inlet
from autofuse.networks.specs import Sizes, StackSpec, total
from autofuse.networks.unet_spec import DecoderSpec, UNetSpec, decoder_spec, encoder_spec, half_wide, unet_spec
from autofuse.plan.cost import Cost
from autofuse.plan.types import NetworkPlan

if TYPE_CHECKING:
    from autofuse.networks.specific_shared import SpecificShared


@dataclass(frozen=True)
class SpecificSharedSpec:
    """A half-width U-Net for each modality (each also sees the priors), and the cross branch at planned width.

    Attributes:
        specific: the half-width U-Net.
        specific_decoders: whether the modalities have decoders and heads; without them only the cross head remains.
        regions: whether each output is a sigmoid of its own.
        stages: of the cross branch, from the second resolution down; gathers: from the first.
    """

    inlet: Inlet
    specific: UNetSpec
    specific_decoders: bool
    stages: tuple[StackSpec, ...]
    gathers: tuple[GatherSpec, ...]
    decoder: DecoderSpec
    regions: bool = False

    def cost(self, size: Sizes) -> Cost:
        """Cost of one sample while training every head, the input included."""
        sizes = self.specific.encoder.sizes(size)
        each = self.specific.cost(size)
        if not self.specific_decoders:
            decoder = self.specific.decoder.cost(sizes)
            each = total((each, Cost(-decoder.flops, -decoder.activations, -decoder.parameters)))
        parts = [each] * self.inlet.modalities
        parts += [gather.cost(here) for gather, here in zip(self.gathers, sizes, strict=True)]
        parts += [stage.cost(above) for stage, above in zip(self.stages, sizes[:-1], strict=True)]
        return total((*parts, self.decoder.cost(sizes)))

    def build(self) -> SpecificShared:
        """The network, freshly initialised."""
        from autofuse.networks.specific_shared import SpecificShared

        return SpecificShared(self)


def specific_shared(
    network: NetworkPlan,
    modalities: int,
    prior_channels: int,
    outputs: int,
    *,
    regions: bool = False,
    specific_decoders: bool = True,
) -> SpecificSharedSpec:
    """Half-width U-Nets and the cross branch.

    At each resolution a 1x1 convolution reads what was gathered from the modalities beside the cross branch's own
    stage; at the first, where it has none, the planned kernel reads it beside the priors.
    """
    given = inlet(network, modalities, prior_channels)
    narrow = half_wide(network)
    ones = (1,) * len(network.strides[0])
    gathers = tuple(
        GatherSpec(
            modalities,
            narrow.features[index],
            prior_channels if index == 0 else features,
            features,
            network.kernels[0] if index == 0 else ones,
        )
        for index, features in enumerate(network.features)
    )
    stages = encoder_spec(network, network.features[0]).stages[1:]
    specific = unet_spec(narrow, 1 + prior_channels, outputs)
    return SpecificSharedSpec(
        given, specific, specific_decoders, stages, gathers, decoder_spec(network, outputs), regions
    )
