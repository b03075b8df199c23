"""An encoder and a decoder per modality, fused at the bottleneck.

Shape legend: B batch, M modality, K prior channel, F feature channel, C output channel, S spatial axes (slowest first),
s those of the lowest resolution.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from autofuse.networks.fusing import SeveralHeads
from autofuse.networks.heads import Branches, merge_levels
from autofuse.networks.presence import mean_weights, one_modality, share_seen

if TYPE_CHECKING:
    from autofuse.networks.per_modality_spec import PerModalitySpec


class ChannelAttention(nn.Module):
    """X + γ A X with A = softmax(max(E) - E), E = X Xᵀ over voxels; γ begins at 0 (arXiv 2408.07341, MIA).

    The softmax runs along rows, the maximum too, and shifts nothing that a softmax would notice: it is left out.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, features: Tensor) -> Tensor:
        """(B, F, *s) to the same shape; in float32, since E is a sum over all voxels."""
        with torch.autocast(features.device.type, enabled=False):
            flat = features.flatten(2).float()
            attention = torch.softmax(-(flat @ flat.transpose(1, 2)), dim=-1)
            return features + (self.gamma * (attention @ flat)).view(features.shape).to(features.dtype)


class PerModality(SeveralHeads):
    """U-Nets whose bottlenecks meet: the mean over present modalities, convolved, is added to each of them."""

    def __init__(self, spec: PerModalitySpec) -> None:
        super().__init__(spec)
        count = spec.inlet.modalities
        self.encoders = nn.ModuleList(spec.unet.encoder.build() for _ in range(count))
        self.attentions = nn.ModuleList(spec.attention.build() for _ in range(count))
        self.fusion = spec.fusion.build()
        self.decoders = nn.ModuleList(spec.unet.decoder.build() for _ in range(count))

    def look(self, image: Tensor, presence: Tensor) -> Branches:
        """Merged logits, each modality's, and bottlenecks before attention."""
        skips = [encoder(one_modality(self.spec.inlet, image, m)) for m, encoder in enumerate(self.encoders)]
        bottlenecks = tuple(stages[-1] for stages in skips)
        lowest = self._fused(bottlenecks, presence)
        specific = tuple(
            decoder([*stages[:-1], features])
            for decoder, stages, features in zip(self.decoders, skips, lowest, strict=True)
        )
        return Branches(merge_levels(specific, presence, regions=self.spec.regions), specific, bottlenecks, presence)

    def _fused(self, bottlenecks: tuple[Tensor, ...], presence: Tensor) -> list[Tensor]:
        """Each modality's features after attention, plus what the fusion makes of them all."""
        seen = [layer(features) for layer, features in zip(self.attentions, bottlenecks, strict=True)]
        weights = mean_weights(share_seen(presence, tuple(seen[0].shape[2:]))).to(seen[0].dtype)
        mean = sum((weights[:, m : m + 1] * features for m, features in enumerate(seen)), torch.zeros_like(seen[0]))
        common = self.fusion(mean)
        return [features + common for features in seen]
