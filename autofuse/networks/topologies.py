"""How modalities meet: topologies by name. Each is a description that says its cost and builds its network.

A topology is a function ``(network plan, modalities, prior channels, outputs) -> description``. The description answers
``cost(patch)`` without torch and ``build()`` with it; its network answers ``forward(x, present)``. To add one, write
its description in a file of its own, its layers in another, and name it in ``TOPOLOGIES``: planner, trainers and tests
find it there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from autofuse.foundation.errors import ModelError
from autofuse.networks.image_level_spec import image_level
from autofuse.networks.inlet import Inlet, inlet
from autofuse.networks.late_spec import late
from autofuse.networks.per_modality_spec import per_modality
from autofuse.networks.shared_kernels_spec import shared_kernels
from autofuse.networks.specific_shared_spec import specific_shared
from autofuse.networks.specs import Sizes
from autofuse.networks.stems_spec import stems
from autofuse.networks.unet_spec import UNetSpec, unet_spec
from autofuse.plan.cost import Cost
from autofuse.plan.types import NetworkPlan

if TYPE_CHECKING:
    from torch import nn


class TopologySpec(Protocol):
    """A network for several modalities that is not built yet."""

    def cost(self, size: Sizes) -> Cost:
        """Cost of one sample of ``size`` voxels while training."""
        ...

    def build(self) -> nn.Module:
        """The network, freshly initialised: ``forward(x, present) -> logits, highest resolution first``."""
        ...


class Topology(Protocol):
    """A way for modalities to meet."""

    def __call__(
        self, network: NetworkPlan, modalities: int, prior_channels: int, outputs: int, *, regions: bool = False
    ) -> TopologySpec:
        """The network that is planned, as a description.

        Args:
            modalities, prior_channels: the image's channels, in this order.
            outputs: channels of the logits.
            regions: whether each output is a sigmoid of its own; topologies that merge probabilities ask.
        """
        ...


@dataclass(frozen=True)
class EarlySpec:
    """Concatenation at the input: modalities, then prior channels, are the channels of the first convolution."""

    inlet: Inlet
    unet: UNetSpec

    def cost(self, size: Sizes) -> Cost:
        """Cost of one sample of ``size`` voxels while training."""
        return self.unet.cost(size)

    def build(self) -> nn.Module:
        """The network, freshly initialised."""
        from autofuse.networks.early import EarlyFusion

        return EarlyFusion(self)


def early(
    network: NetworkPlan, modalities: int, prior_channels: int, outputs: int, *, regions: bool = False
) -> EarlySpec:
    """One U-Net on the concatenated modalities; absent ones are zero."""
    given = inlet(network, modalities, prior_channels)
    return EarlySpec(given, unet_spec(network, given.channels, outputs))


TOPOLOGIES: dict[str, Topology] = {
    "early": early,
    "stems": stems,
    "specific_shared": specific_shared,
    "per_modality": per_modality,
    "image_level": image_level,
    "shared_kernels": shared_kernels,
    "late": late,
}


def topology(name: str) -> Topology:
    """The topology called ``name``.

    Raises:
        ModelError: if there is none, naming those that exist.
    """
    if name not in TOPOLOGIES:
        raise ModelError(
            f"No topology is called {name!r}.",
            found=name,
            expected="one of " + ", ".join(sorted(TOPOLOGIES)),
            remedy="Plan again with this version of autofuse.",
        )
    return TOPOLOGIES[name]
