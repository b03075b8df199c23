"""One planned U-Net per modality, probabilities merged.

Shape legend: B batch, M modality, K prior channel, C output channel, S spatial axes (slowest first).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from autofuse.networks.heads import Branches, Levels, merge_levels
from autofuse.networks.presence import SeesModalities, one_modality
from autofuse.networks.unet import UNet
from autofuse.plan.cost import Cost

if TYPE_CHECKING:
    from autofuse.networks.late_spec import LateSpec


class LateFusion(SeesModalities):
    """U-Nets that know nothing of each other; the mean of their probabilities over the present modalities."""

    def __init__(self, spec: LateSpec) -> None:
        super().__init__()
        self.spec = spec
        self.unets = nn.ModuleList(spec.unet.build() for _ in range(spec.inlet.modalities))

    def cost(self, patch: tuple[int, ...]) -> Cost:
        """Cost of one sample of ``patch`` voxels while training."""
        return self.spec.cost(patch)

    def forward(self, image: Tensor, present: Tensor | None = None) -> Levels:
        """(B, M + K, *S) to logits (B, C, *S), highest resolution first; in eval mode only the first.

        Args:
            present: (B, M) or (B, M, *S) bool; without it every modality counts as there.

        Raises:
            ModelError: if the image or ``present`` does not fit the network.
        """
        return self.branches(image, present).logits

    def branches(self, image: Tensor, present: Tensor | None = None) -> Branches:
        """The merged logits and those of each U-Net; arguments and errors as of ``forward``."""
        image, presence = self.see(self.spec.inlet, image, present)
        specific, bottlenecks = [], []
        for modality, unet in enumerate(self.unets):
            assert isinstance(unet, UNet)
            skips = unet.encoder(one_modality(self.spec.inlet, image, modality))
            specific.append(unet.decoder(skips))
            bottlenecks.append(skips[-1])
        logits = merge_levels(specific, presence, regions=self.spec.regions)
        return Branches(logits, tuple(specific), tuple(bottlenecks))
