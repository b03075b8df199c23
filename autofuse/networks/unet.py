"""The planned U-Net: encoder, decoder, and both together.

Shape legend: B batch, C channel, S spatial axes (slowest first).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

from autofuse.foundation.errors import ModelError
from autofuse.plan.cost import Cost

if TYPE_CHECKING:
    from autofuse.networks.unet_spec import DecoderSpec, EncoderSpec, UNetSpec


class Encoder(nn.Module):
    """Features at every resolution, highest first."""

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stage.build() for stage in spec.stages)

    def forward(self, features: Tensor) -> list[Tensor]:
        """(B, C, *S) to one tensor per stage."""
        found = []
        for stage in self.stages:
            features = stage(features)
            found.append(features)
        return found


class Decoder(nn.Module):
    """Logits from an encoder's features; while training, those of the supervised lower stages too."""

    def __init__(self, spec: DecoderSpec) -> None:
        super().__init__()
        self.upsamplings = nn.ModuleList(up.build() for up in spec.upsamplings)
        self.stages = nn.ModuleList(stage.build() for stage in spec.stages)
        self.heads = nn.ModuleList(head.build() for head in spec.heads if head is not None)

    def forward(self, skips: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Features per stage to logits, highest resolution first; in eval mode only the first."""
        features = skips[-1]
        levels: list[Tensor] = [features] if len(self.stages) == 0 else []
        for index in reversed(range(len(self.stages))):
            features = self.stages[index](self.upsamplings[index](features, skips[index]))
            levels.insert(0, features)
        wanted = len(self.heads) if self.training else 1
        return tuple(self.heads[index](levels[index]) for index in range(wanted))


class UNet(nn.Module):
    """The planned U-Net on channels that are already merged."""

    def __init__(self, spec: UNetSpec) -> None:
        super().__init__()
        self.spec = spec
        self.encoder = spec.encoder.build()
        self.decoder = spec.decoder.build()

    def cost(self, patch: tuple[int, ...]) -> Cost:
        """Cost of one sample of ``patch`` voxels while training."""
        return self.spec.cost(patch)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """(B, C, *S) to logits, highest resolution first; in eval mode only the first.

        Raises:
            ModelError: if the image has other channels, other axes, or sizes that the strides do not divide.
        """
        check_input(image, self.spec.in_channels, self.spec.reduction)
        return self.decoder(self.encoder(image))  # type: ignore[no-any-return]


def check_input(image: Tensor, channels: int, reduction: tuple[int, ...]) -> None:
    """Nothing, if a network for ``channels`` whose strides multiply to ``reduction`` can take ``image``.

    Raises:
        ModelError: otherwise, naming the sizes.
    """
    size = tuple(image.shape[2:])
    if image.shape[1] != channels or len(size) != len(reduction):
        raise ModelError(
            "The image does not fit the network.",
            found=f"{image.shape[1]} channels, size {size}",
            expected=f"{channels} channels, {len(reduction)} spatial axes",
            remedy="Use the plan that the network was built from.",
        )
    if any(voxels % step for voxels, step in zip(size, reduction, strict=True)):
        raise ModelError(
            "The image's size does not fit the network's strides.",
            found=f"size {size}",
            expected=f"multiples of {reduction}",
            remedy="Pad the image, or use the planned patch.",
        )
