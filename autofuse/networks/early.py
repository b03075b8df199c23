"""Early fusion: one U-Net on the concatenated modalities.

Shape legend: B batch, M modality, K prior channel, C output channel, S spatial axes (slowest first).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from autofuse.foundation.errors import ModelError
from autofuse.plan.cost import Cost

if TYPE_CHECKING:
    from autofuse.networks.topologies import EarlySpec


class EarlyFusion(nn.Module):
    """One U-Net on the concatenated modalities; absent ones are zero, whatever the image holds there."""

    def __init__(self, spec: EarlySpec) -> None:
        super().__init__()
        self.spec = spec
        self.unet = spec.unet.build()

    def cost(self, patch: tuple[int, ...]) -> Cost:
        """Cost of one sample of ``patch`` voxels while training."""
        return self.spec.cost(patch)

    def forward(self, image: Tensor, present: Tensor | None = None) -> tuple[Tensor, ...]:
        """(B, M + K, *S) and (B, M) bool to logits (B, C, *S), highest resolution first; in eval mode only the first.

        Without ``present`` every modality counts as there.

        Raises:
            ModelError: if the image or ``present`` does not fit the network.
        """
        if present is not None and tuple(present.shape) != (image.shape[0], self.spec.modalities):
            raise ModelError(
                "The table of present modalities does not fit the network.",
                found=f"shape {tuple(present.shape)}",
                expected=f"shape {(image.shape[0], self.spec.modalities)}",
            )
        if self.training and self.spec.modality_dropout > 0:
            if present is None:
                present = torch.ones(image.shape[0], self.spec.modalities, dtype=torch.bool, device=image.device)
            present = drop_modalities(present, self.spec.modality_dropout)
        return self.unet(image if present is None else without_absent(image, present))  # type: ignore[no-any-return]


def without_absent(image: Tensor, present: Tensor) -> Tensor:
    """``image`` (B, M + K, *S) with zeros in the channels of modalities that are absent by ``present`` (B, M)."""
    absent = image.new_zeros(image.shape[:2], dtype=torch.bool)
    absent[:, : present.shape[1]] = ~present
    return image.masked_fill(absent.view(*absent.shape, *(1,) * (image.ndim - 2)), 0.0)


def drop_modalities(present: Tensor, probability: float) -> Tensor:
    """``present`` (B, M) with each modality dropped at ``probability``, but never a sample's last one."""
    luck = torch.rand(present.shape, device=present.device).masked_fill(~present, -1.0)
    luckiest = torch.zeros_like(present).scatter_(1, luck.argmax(1, keepdim=True), True)
    return present & ((luck >= probability) | luckiest)
