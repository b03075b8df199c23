"""Early fusion: one U-Net on the concatenated modalities.

Shape legend: B batch, M modality, K prior channel, C output channel, S spatial axes (slowest first).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from autofuse.networks.presence import SeesModalities
from autofuse.plan.cost import Cost

if TYPE_CHECKING:
    from autofuse.networks.topologies import EarlySpec


class EarlyFusion(SeesModalities):
    """One U-Net on the concatenated modalities; absent ones are zero, whatever the image holds there."""

    def __init__(self, spec: EarlySpec) -> None:
        super().__init__()
        self.spec = spec
        self.unet = spec.unet.build()

    def cost(self, patch: tuple[int, ...]) -> Cost:
        """Cost of one sample of ``patch`` voxels while training."""
        return self.spec.cost(patch)

    def forward(self, image: Tensor, present: Tensor | None = None) -> tuple[Tensor, ...]:
        """(B, M + K, *S) to logits (B, C, *S), highest resolution first; in eval mode only the first.

        Args:
            present: (B, M) or (B, M, *S) bool; without it every modality counts as there.

        Raises:
            ModelError: if the image or ``present`` does not fit the network.
        """
        image, _ = self.see(self.spec.inlet, image, present)
        return self.unet(image)  # type: ignore[no-any-return]
