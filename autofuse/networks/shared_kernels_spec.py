"""One U-Net for every modality, with norms of their own: the description. No torch here.

After Dou et al., "Unpaired multi-modal segmentation via knowledge distillation" (IEEE TMI 2020): all kernels shared,
scale and shift of each norm per modality.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from autofuse.networks.heads_spec import merging_cost
from autofuse.networks.inlet import Inlet, inlet
from autofuse.networks.specs import ConvolutionSpec, ResidualSpec, Sizes
from autofuse.networks.unet_spec import UNetSpec, unet_spec
from autofuse.plan.cost import Cost
from autofuse.plan.types import NetworkPlan

if TYPE_CHECKING:
    from autofuse.networks.shared_kernels import SharedKernels


@dataclass(frozen=True)
class SharedKernelsSpec:
    """The planned U-Net on one modality (and the priors) at a time."""

    inlet: Inlet
    unet: UNetSpec
    regions: bool

    def cost(self, size: Sizes) -> Cost:
        """Cost of one sample that has every modality, while training; one with fewer costs proportionally less."""
        modalities = self.inlet.modalities
        once = self.unet.cost(size)
        merging = merging_cost(self.unet.decoder, modalities, self.unet.encoder.sizes(size), regions=self.regions)
        parameters = once.parameters + (modalities - 1) * norm_parameters(self.unet)
        return merging + Cost(modalities * once.flops, modalities * once.activations, parameters)

    def build(self) -> SharedKernels:
        """The network, freshly initialised."""
        from autofuse.networks.shared_kernels import SharedKernels

        return SharedKernels(self)


def shared_kernels(
    network: NetworkPlan, modalities: int, prior_channels: int, outputs: int, *, regions: bool = False
) -> SharedKernelsSpec:
    """One U-Net through which each present modality passes on its own; the mean of the probabilities."""
    given = inlet(network, modalities, prior_channels)
    return SharedKernelsSpec(given, unet_spec(network, 1 + prior_channels, outputs), regions)


def norm_parameters(unet: UNetSpec) -> float:
    """Scales and shifts of all norms of ``unet``."""
    channels = 0
    for stage in (*unet.encoder.stages, *unet.decoder.stages):
        for block in stage.blocks:
            channels += sum(part.outputs for part in _convolutions(block))
    return 2.0 * channels


def _convolutions(block: ConvolutionSpec | ResidualSpec) -> tuple[ConvolutionSpec, ...]:
    if isinstance(block, ConvolutionSpec):
        return (block,)
    projection = () if block.projection is None else (block.projection,)
    return (block.first, block.second, *projection)
