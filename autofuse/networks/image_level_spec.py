"""Modalities fused to one image, and the planned U-Net on that: the description. No torch here.

After Fuse4Seg (arXiv 2409.10328), whose own fuser is a method's matter: ``ImageLevelSpec`` takes any ``FuserSpec``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from autofuse.networks.gather_spec import GatherSpec
from autofuse.networks.inlet import Inlet, inlet
from autofuse.networks.specs import ConvolutionSpec, HeadSpec, Sizes, StackSpec, kept, total
from autofuse.networks.unet_spec import UNetSpec, half_width, unet_spec
from autofuse.plan.cost import Cost
from autofuse.plan.types import NetworkPlan

if TYPE_CHECKING:
    from torch import nn

    from autofuse.networks.image_level import Fuser, ImageLevel


class FuserSpec(Protocol):
    """What makes one image of several modalities, not built yet."""

    def cost(self, size: Sizes) -> Cost:
        """Cost of one sample of ``size`` voxels while training; the modalities themselves are not counted."""
        ...

    def build(self) -> nn.Module:
        """``forward(modalities (B, M, *S), presence (B, M, *1) or (B, M, *S)) -> (B, 1, *S)`` in [0, 1]."""
        ...


@dataclass(frozen=True)
class GatheringFuserSpec:
    """One encoder for any modality, what it finds gathered, one channel of it in [0, 1]."""

    modalities: int
    encoder: StackSpec
    gather: GatherSpec
    head: HeadSpec

    def cost(self, size: Sizes) -> Cost:
        """Cost of one sample while training; the fused image is kept."""
        once = self.encoder.cost(size)
        encoded = Cost(self.modalities * once.flops, self.modalities * once.activations, once.parameters)
        return total((encoded, self.gather.cost(size), self.head.cost(size)))

    def build(self) -> Fuser:
        """The fuser, freshly initialised."""
        from autofuse.networks.image_level import Fuser

        return Fuser(self)


@dataclass(frozen=True)
class ImageLevelSpec:
    """A fuser, and the planned U-Net on the fused image and the priors."""

    inlet: Inlet
    fuser: FuserSpec
    unet: UNetSpec

    def cost(self, size: Sizes) -> Cost:
        """Cost of one sample while training, the input included."""
        return total((kept(self.inlet.channels, size), self.fuser.cost(size), self.unet.cost(size)))

    def build(self) -> ImageLevel:
        """The network, freshly initialised."""
        from autofuse.networks.image_level import ImageLevel

        return ImageLevel(self)


def image_level(
    network: NetworkPlan,
    modalities: int,
    prior_channels: int,
    outputs: int,
    *,
    regions: bool = False,
    fuser: FuserSpec | None = None,
) -> ImageLevelSpec:
    """A fused image, then the planned U-Net on it.

    Without ``fuser`` it is two convolutions for each modality and one of what is gathered, at half the planned width,
    since its features stand at full resolution for every modality.
    """
    given = inlet(network, modalities, prior_channels)
    unet = unet_spec(network, 1 + prior_channels, outputs)
    return ImageLevelSpec(given, gathering_fuser(network, modalities) if fuser is None else fuser, unet)


def gathering_fuser(network: NetworkPlan, modalities: int) -> GatheringFuserSpec:
    """The fuser whose width and kernels are those of the planned first stage, the width halved."""
    width, kernel = half_width(network.features[0]), network.kernels[0]
    ones = (1,) * len(kernel)
    encoder = StackSpec((ConvolutionSpec(1, width, kernel, ones), ConvolutionSpec(width, width, kernel, ones)))
    return GatheringFuserSpec(
        modalities, encoder, GatherSpec(modalities, width, 0, width, kernel), HeadSpec(width, 1, len(kernel))
    )
