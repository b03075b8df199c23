"""One U-Net for every modality, with norms of their own.

Shape legend: B batch, M modality, K prior channel, C channel, S spatial axes (slowest first), N rows: the pairs of
sample and modality that are present.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from autofuse.networks.blocks import ConvolutionBlock, InstanceNorm
from autofuse.networks.fusing import SeveralHeads
from autofuse.networks.heads import Branches, merge_levels

if TYPE_CHECKING:
    from autofuse.networks.shared_kernels_spec import SharedKernelsSpec


class Rows:
    """Which modality each row of the running forward pass holds; the network writes it, its norms read it."""

    def __init__(self) -> None:
        self.modality = torch.zeros(0, dtype=torch.long)


class ModalityNorm(InstanceNorm):
    """Instance norm with a scale and shift for each modality; all begin as those of the norm that it replaces."""

    def __init__(self, norm: InstanceNorm, modalities: int, rows: Rows) -> None:
        super().__init__(len(norm.weight), norm.activated)
        self.weight = nn.Parameter(norm.weight.detach().repeat(modalities, 1))
        self.bias = nn.Parameter(norm.bias.detach().repeat(modalities, 1))
        self.rows = rows

    def scales(self, samples: int) -> tuple[Tensor, Tensor]:
        """Scale and shift of each channel of each row, (N, C) both."""
        return self.weight[self.rows.modality], self.bias[self.rows.modality]


class SharedKernels(SeveralHeads):
    """The planned U-Net on each present modality by itself; the mean of the probabilities over these.

    Cases with one modality each train it: then it costs what one U-Net costs.
    """

    def __init__(self, spec: SharedKernelsSpec) -> None:
        super().__init__(spec)
        self.rows = Rows()
        self.unet = spec.unet.build()
        for block in self.unet.modules():
            if isinstance(block, ConvolutionBlock) and block.norm is not None:
                block.norm = ModalityNorm(block.norm, spec.inlet.modalities, self.rows)

    def look(self, image: Tensor, presence: Tensor) -> Branches:
        """Merged logits, each modality's, and bottlenecks, absent ones 0."""
        sample, self.rows.modality = pairs(presence)
        own = image[sample, self.rows.modality].unsqueeze(1)
        skips = self.unet.encoder(torch.cat([own, image[sample, self.spec.inlet.modalities :]], dim=1))
        levels = [self._apart(level, sample, presence) for level in self.unet.decoder(skips)]
        specific = tuple(zip(*levels, strict=True))
        logits = merge_levels(specific, presence, regions=self.spec.regions)
        return Branches(logits, specific, self._apart(skips[-1], sample, presence), presence)

    def _apart(self, rows: Tensor, sample: Tensor, presence: Tensor) -> tuple[Tensor, ...]:
        """Rows (N, C, *S) by modality, each (B, C, *S)."""
        table = rows.new_zeros(*presence.shape[:2], *rows.shape[1:])
        return table.index_put((sample, self.rows.modality), rows).unbind(1)


def pairs(presence: Tensor) -> tuple[Tensor, Tensor]:
    """Sample and modality of each pair that is present; of a sample without any, all."""
    anywhere = presence.flatten(2).any(2)
    sample, modality = (anywhere | ~anywhere.any(1, keepdim=True)).nonzero(as_tuple=True)
    return sample, modality
