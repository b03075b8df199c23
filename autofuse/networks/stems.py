"""Modality stems and a gated merge, then the rest of the planned U-Net.

Shape legend: B batch, M modality, K prior channel, W width of a stem, C output channel, S spatial axes (slowest first).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from autofuse.networks.blocks import CONVOLUTIONS
from autofuse.networks.fusing import OneDecoder
from autofuse.networks.presence import gate_weights, mean_weights

if TYPE_CHECKING:
    from autofuse.networks.stems_spec import GatedMergeSpec, StemsSpec


class GatedMerge(nn.Module):
    """Features of all modalities side by side, each times its gate.

    Gate of modality m at a voxel: softmax over the modalities present there of a_m · F_m + b_m · mean_k F_k + c_m. It
    starts even.
    """

    def __init__(self, spec: GatedMergeSpec) -> None:
        super().__init__()
        self.spec = spec
        if spec.modalities > 1:
            layer = CONVOLUTIONS[spec.dimensions]
            self.own = nn.ModuleList(layer(spec.width, 1, 1, bias=False) for _ in range(spec.modalities))
            self.context = layer(spec.width, spec.modalities, 1)
            for weight in (*self.own.parameters(), *self.context.parameters()):
                nn.init.zeros_(weight)

    def forward(self, features: Sequence[Tensor], presence: Tensor, prior: Tensor) -> Tensor:
        """M times (B, W, *S), presence and (B, K, *S) to (B, M W + K, *S)."""
        if self.spec.modalities == 1:
            return torch.cat([features[0], prior.to(features[0].dtype)], dim=1) if prior.shape[1] else features[0]
        share = presence.float()
        weights = mean_weights(share).to(features[0].dtype)
        mean = sum((weights[:, m : m + 1] * found for m, found in enumerate(features)), torch.zeros_like(features[0]))
        own = torch.cat([score(found) for score, found in zip(self.own, features, strict=True)], dim=1)
        gates = gate_weights(own + self.context(mean), share).to(features[0].dtype)
        gated = [gates[:, m : m + 1] * found for m, found in enumerate(features)]
        return torch.cat([*gated, prior.to(features[0].dtype)], dim=1)


class Stems(OneDecoder):
    """Isolated stems, so that no feature of one modality depends on another; gated merge; the planned U-Net."""

    def __init__(self, spec: StemsSpec) -> None:
        super().__init__(spec)
        self.stems = nn.ModuleList(stem.build() for stem in spec.stems)
        self.merge = spec.merge.build()
        self.encoder = spec.encoder.build()
        self.decoder = spec.decoder.build()

    def encode(self, image: Tensor, presence: Tensor) -> list[Tensor]:
        """Features (B, F, *s) of each resolution, behind the merge."""
        found = [stem(image[:, m : m + 1]) for m, stem in enumerate(self.stems)]
        return self.encoder(self.merge(found, presence, image[:, len(self.stems) :]))  # type: ignore[no-any-return]
