"""Modalities fused to one image, and the planned U-Net on that.

Shape legend: B batch, M modality, K prior channel, C output channel, S spatial axes (slowest first).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from autofuse.networks.fusing import OneDecoder
from autofuse.networks.heads import Levels

if TYPE_CHECKING:
    from autofuse.networks.image_level_spec import GatheringFuserSpec, ImageLevelSpec


class Fuser(nn.Module):
    """One image in [0, 1] of any modalities in any order: the same encoder for each, gathered, one channel."""

    def __init__(self, spec: GatheringFuserSpec) -> None:
        super().__init__()
        self.encoder = spec.encoder.build()
        self.gather = spec.gather.build()
        self.head = spec.head.build()

    def forward(self, modalities: Tensor, presence: Tensor) -> Tensor:
        """(B, M, *S) and presence to (B, 1, *S)."""
        features = [self.encoder(modalities[:, m : m + 1]) for m in range(modalities.shape[1])]
        return torch.sigmoid(self.head(self.gather(features, presence, None)))


class ImageLevel(OneDecoder):
    """Fuses, then segments what was fused; where nobody sees anything the fused image is 0."""

    def __init__(self, spec: ImageLevelSpec) -> None:
        super().__init__(spec)
        self.fuser = spec.fuser.build()
        self.unet = spec.unet.build()

    def encode(self, image: Tensor, presence: Tensor) -> list[Tensor]:
        """Features (B, F, *s) of each resolution of the fused image."""
        fused = self._fused(image, presence)
        prior = image[:, self.spec.inlet.modalities :]
        return self.unet.encoder(torch.cat([fused, prior.to(fused.dtype)], dim=1))  # type: ignore[no-any-return]

    def decode(self, features: Sequence[Tensor]) -> Levels:
        """As of ``OneDecoder.decode``."""
        return self.unet.decoder(features)  # type: ignore[no-any-return]

    def fuse(self, image: Tensor, present: Tensor | None = None) -> Tensor:
        """The fused image (B, 1, *S) in [0, 1]; arguments and errors as of ``forward``."""
        return self._fused(*self.see(self.spec.inlet, image, present))

    def _fused(self, image: Tensor, presence: Tensor) -> Tensor:
        fused: Tensor = self.fuser(image[:, : self.spec.inlet.modalities], presence)
        return fused * presence.any(1, keepdim=True)
