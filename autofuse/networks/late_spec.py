"""One planned U-Net per modality, probabilities merged: the description. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from autofuse.networks.heads_spec import merging_cost
from autofuse.networks.inlet import Inlet, inlet
from autofuse.networks.specs import Sizes, total
from autofuse.networks.unet_spec import UNetSpec, unet_spec
from autofuse.plan.cost import Cost
from autofuse.plan.types import NetworkPlan

if TYPE_CHECKING:
    from autofuse.networks.late import LateFusion


@dataclass(frozen=True)
class LateSpec:
    """A U-Net of its own for each modality, at the planned width; each also sees the prior channels."""

    inlet: Inlet
    unet: UNetSpec
    regions: bool

    def cost(self, size: Sizes) -> Cost:
        """Cost of one sample while training, the input included."""
        modalities = self.inlet.modalities
        sizes = self.unet.encoder.sizes(size)
        merging = merging_cost(self.unet.decoder, modalities, sizes, regions=self.regions)
        return total((*(self.unet.cost(size),) * modalities, merging))

    def build(self) -> LateFusion:
        """The network, freshly initialised."""
        from autofuse.networks.late import LateFusion

        return LateFusion(self)


def late(
    network: NetworkPlan, modalities: int, prior_channels: int, outputs: int, *, regions: bool = False
) -> LateSpec:
    """One U-Net per modality; the mean of the present ones' probabilities."""
    given = inlet(network, modalities, prior_channels)
    return LateSpec(given, unet_spec(network, 1 + prior_channels, outputs), regions)
