"""What networks for several modalities share: the way in, and the way out through one decoder or through several heads.

Shape legend: B batch, M modality, K prior channel, C output channel, S spatial axes (slowest first).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from autofuse.networks.heads import Branches, Levels
from autofuse.networks.presence import SeesModalities
from autofuse.plan.cost import Cost


class FusingNetwork(SeesModalities):
    """A network that was built from a description of ``autofuse.networks``."""

    def __init__(self, spec: Any) -> None:
        super().__init__()
        self.spec = spec

    def cost(self, patch: tuple[int, ...]) -> Cost:
        """Cost of one sample of ``patch`` voxels while training it whole."""
        cost: Cost = self.spec.cost(patch)
        return cost

    def forward(self, image: Tensor, present: Tensor | None = None) -> Levels:
        """(B, M + K, *S) to logits (B, C, *S), highest resolution first; in eval mode only the first.

        Args:
            present: (B, M) or (B, M, *S) bool; without it every modality counts as there.

        Raises:
            ModelError: if the image or ``present`` does not fit the network.
        """
        raise NotImplementedError


class OneDecoder(FusingNetwork):
    """A network whose modalities have met before its one decoder begins."""

    def forward(self, image: Tensor, present: Tensor | None = None) -> Levels:
        """Logits; arguments, result and errors as of ``FusingNetwork.forward``."""
        return self.decode(self.features(image, present))

    def features(self, image: Tensor, present: Tensor | None = None) -> list[Tensor]:
        """What the decoder reads, one tensor per resolution, highest first; arguments and errors as of ``forward``."""
        return self.encode(*self.see(self.spec.inlet, image, present))

    def encode(self, image: Tensor, presence: Tensor) -> list[Tensor]:
        """The features of what is visible: ``image`` with zeros where ``presence`` says absent."""
        raise NotImplementedError

    def decode(self, features: Sequence[Tensor]) -> Levels:
        """Features to logits (B, C, *S), highest resolution first; in eval mode only the first."""
        levels: Levels = self.get_submodule("decoder")(features)
        return levels


class SeveralHeads(FusingNetwork):
    """A network with a head for each modality, which its answer is made of."""

    def forward(self, image: Tensor, present: Tensor | None = None) -> Levels:
        """The merged logits; arguments, result and errors as of ``FusingNetwork.forward``."""
        return self.branches(image, present).logits

    def branches(self, image: Tensor, present: Tensor | None = None) -> Branches:
        """What the network as a whole and each head say; arguments and errors as of ``forward``."""
        return self.look(*self.see(self.spec.inlet, image, present))

    def look(self, image: Tensor, presence: Tensor) -> Branches:
        """The branches of what is visible: ``image`` with zeros where ``presence`` says absent."""
        raise NotImplementedError
