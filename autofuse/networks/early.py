"""Early fusion: one U-Net on the concatenated modalities.

Shape legend: B batch, M modality, K prior channel, C output channel, S spatial axes (slowest first).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from autofuse.networks.fusing import OneDecoder
from autofuse.networks.heads import Levels

if TYPE_CHECKING:
    from autofuse.networks.topologies import EarlySpec


class EarlyFusion(OneDecoder):
    """One U-Net on the concatenated modalities; absent ones are zero, whatever the image holds there."""

    def __init__(self, spec: EarlySpec) -> None:
        super().__init__(spec)
        self.unet = spec.unet.build()

    def encode(self, image: Tensor, presence: Tensor) -> list[Tensor]:
        """Features (B, F, *s) of each resolution."""
        return self.unet.encoder(image)  # type: ignore[no-any-return]

    def decode(self, features: Sequence[Tensor]) -> Levels:
        """As of ``OneDecoder.decode``."""
        return self.unet.decoder(features)  # type: ignore[no-any-return]
