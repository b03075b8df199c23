"""Narrow U-Nets per modality and a cross branch that gathers from them.

Shape legend: B batch, M modality, K prior channel, C output channel, S spatial axes (slowest first).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

from autofuse.networks.fusing import OneDecoder
from autofuse.networks.heads import Branches
from autofuse.networks.presence import one_modality

if TYPE_CHECKING:
    from autofuse.networks.specific_shared_spec import SpecificSharedSpec


class SpecificShared(OneDecoder):
    """A specific encoder (and decoder) for each modality; a cross branch that gathers from them at every resolution.

    Stage s of the cross branch: its own features of stage s - 1 pass the planned stage, and are gathered together with
    the modalities' features of stage s. It sees no image, only what the specific encoders made of theirs, so that the
    order of the modalities does not matter and an absent one leaves nothing behind.
    """

    def __init__(self, spec: SpecificSharedSpec) -> None:
        super().__init__(spec)
        count = spec.inlet.modalities
        self.encoders = nn.ModuleList(spec.specific.encoder.build() for _ in range(count))
        heads = count if spec.specific_decoders else 0
        self.decoders = nn.ModuleList(spec.specific.decoder.build() for _ in range(heads))
        self.gathers = nn.ModuleList(gather.build() for gather in spec.gathers)
        self.stages = nn.ModuleList(stage.build() for stage in spec.stages)
        self.decoder = spec.decoder.build()

    def keep_cross_head_only(self) -> None:
        """Part with the specific decoders: nothing but the cross head is trained and predicts."""
        self.decoders = nn.ModuleList()

    def encode(self, image: Tensor, presence: Tensor) -> list[Tensor]:
        """What the cross branch gathers at each resolution; the specific decoders are not run."""
        return self._gathered(self._encoded(image), presence, image)

    def branches(self, image: Tensor, present: Tensor | None = None) -> Branches:
        """The cross head's logits and each specific head's; arguments and errors as of ``forward``."""
        image, presence = self.see(self.spec.inlet, image, present)
        skips = self._encoded(image)
        specific = tuple(decoder(skips[m]) for m, decoder in enumerate(self.decoders))
        logits = self.decode(self._gathered(skips, presence, image))
        return Branches(logits, specific, tuple(stages[-1] for stages in skips), presence)

    def _encoded(self, image: Tensor) -> list[list[Tensor]]:
        """Per modality, the features of its own encoder at every resolution."""
        return [encoder(one_modality(self.spec.inlet, image, m)) for m, encoder in enumerate(self.encoders)]

    def _gathered(self, skips: Sequence[Sequence[Tensor]], presence: Tensor, image: Tensor) -> list[Tensor]:
        """Features of the cross branch."""
        prior = image[:, self.spec.inlet.modalities :] if self.spec.inlet.prior_channels else None
        found = [self.gathers[0]([stages[0] for stages in skips], presence, prior)]
        for level, stage in enumerate(self.stages, start=1):
            own = stage(found[-1])
            found.append(self.gathers[level]([stages[level] for stages in skips], presence, own))
        return found
