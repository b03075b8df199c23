"""What every topology takes in: the channels of its image, and how modalities are dropped while training. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from autofuse.networks.specs import Sizes
from autofuse.networks.unet_spec import check_network
from autofuse.plan.types import NetworkPlan


@dataclass(frozen=True)
class Inlet:
    """The input of a network for several modalities.

    Attributes:
        modalities: M, the first channels of the image; prior_channels: K, those behind them, never absent.
        modality_dropout: how often each modality is dropped while training.
        reduction: per axis, the product of all strides; sizes of images must be multiples of it.
    """

    modalities: int
    prior_channels: int
    modality_dropout: float
    reduction: Sizes

    @property
    def channels(self) -> int:
        """Channels of the image, M + K."""
        return self.modalities + self.prior_channels


def inlet(network: NetworkPlan, modalities: int, prior_channels: int) -> Inlet:
    """The input of the planned network.

    Raises:
        ModelError: if the plan's stages contradict each other.
    """
    check_network(network)
    reduction = tuple(prod(steps) for steps in zip(*network.strides, strict=True))
    return Inlet(modalities, prior_channels, network.modality_dropout, reduction)
