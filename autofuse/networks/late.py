"""One planned U-Net per modality, probabilities merged.

Shape legend: B batch, M modality, K prior channel, C output channel, S spatial axes (slowest first).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from autofuse.networks.fusing import SeveralHeads
from autofuse.networks.heads import Branches, merge_levels
from autofuse.networks.presence import one_modality
from autofuse.networks.unet import UNet

if TYPE_CHECKING:
    from autofuse.networks.late_spec import LateSpec


class LateFusion(SeveralHeads):
    """U-Nets that know nothing of each other; the mean of their probabilities over the present modalities."""

    def __init__(self, spec: LateSpec) -> None:
        super().__init__(spec)
        self.unets = nn.ModuleList(spec.unet.build() for _ in range(spec.inlet.modalities))

    def look(self, image: Tensor, presence: Tensor) -> Branches:
        """The merged logits and those of each U-Net."""
        specific, bottlenecks = [], []
        for modality, unet in enumerate(self.unets):
            assert isinstance(unet, UNet)
            skips = unet.encoder(one_modality(self.spec.inlet, image, modality))
            specific.append(unet.decoder(skips))
            bottlenecks.append(skips[-1])
        logits = merge_levels(specific, presence, regions=self.spec.regions)
        return Branches(logits, tuple(specific), tuple(bottlenecks), presence)
