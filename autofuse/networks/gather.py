"""Features of any number of modalities brought together, whatever their order.

Shape legend: B batch, M modality, W width of a modality's features, P previous channels, S spatial axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from autofuse.networks.blocks import CONVOLUTIONS
from autofuse.networks.presence import mean_weights, share_seen

if TYPE_CHECKING:
    from autofuse.networks.gather_spec import GatherSpec


class Gather(nn.Module):
    """conv[Σ_m g_m F_m ; max_m F_m ; previous], g_m = sigmoid(a · F_m + b · mean_k F_k + c), m over those present.

    a, b and c are the same for all modalities and begin at 0. A gate is one number per voxel and modality. The sum over
    a subset is scaled as if all M were there.
    """

    def __init__(self, spec: GatherSpec) -> None:
        super().__init__()
        layer = CONVOLUTIONS[len(spec.kernel)]
        self.own = layer(spec.width, 1, 1, bias=False)
        self.context = layer(spec.width, 1, 1)
        for weight in (*self.own.parameters(), *self.context.parameters()):
            nn.init.zeros_(weight)
        self.convolution = spec.convolution.build()

    def forward(self, features: Sequence[Tensor], presence: Tensor, previous: Tensor | None) -> Tensor:
        """M times (B, W, *S), presence at full resolution, and (B, P, *S) to (B, outputs, *S)."""
        first = features[0]
        share = share_seen(presence, tuple(first.shape[2:]))
        weights = mean_weights(share).to(first.dtype)
        mean = sum((weights[:, m : m + 1] * found for m, found in enumerate(features)), torch.zeros_like(first))
        context = self.context(mean)
        gates = torch.cat([torch.sigmoid(self.own(found) + context) for found in features], dim=1)
        gates = gates * (len(features) * weights)
        gated = sum((gates[:, m : m + 1] * found for m, found in enumerate(features)), torch.zeros_like(first))
        parts = [gated, largest(features, share > 0)]
        return self.convolution(torch.cat(parts if previous is None else [*parts, previous.to(first.dtype)], dim=1))  # type: ignore[no-any-return]


def largest(features: Sequence[Tensor], there: Tensor) -> Tensor:
    """The maximum over the modalities that are ``there`` (B, M, *1) or (B, M, *S) bool; 0 where none is.

    One bool a voxel, channel and further modality is all that the backward pass keeps.
    """
    best, found = torch.zeros_like(features[0]), torch.zeros_like(there[:, :1])
    for modality, candidate in enumerate(features):
        here = there[:, modality : modality + 1]
        better = here if modality == 0 else here & (~found | (candidate > best))
        best = torch.where(better, candidate, best)
        found = found | here
    return best
