"""What one training step or one tile of prediction sees."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Samples side by side.

    Shapes: B batch, M modality, K classes or regions of a cascade's earlier stage, S spatial axes (slowest first).

    Attributes:
        image: (B, M, *S) float32; an absent modality is filled with zeros.
        present: (B, M) bool; which modalities the case has, and sees something of the patch with. Zeros of absent ones
            mean nothing.
        target: (B, *S) int64, class index (0 background), ``IGNORE`` where nobody labelled; None at prediction.
            Where labels have regions it holds the index of the raw value in ``(0, *Labels.raw_values)``. (B, M, *S)
            where modalities carry masks of their own.
        prior: (B, K, *S) float32, masks of a cascade's earlier stage; None without one.
        cases: ids, for messages.
        spacing_mm: of the spatial axes of the patch.
        step_cases: ids of the samples that all ranks see in this step; empty where one process sees them all.
        covered: (B, M, *S) bool; where a modality that is present sees anything: its field of view may end inside the
            patch. None where every present one sees all of it.
    """

    image: Tensor
    present: Tensor
    target: Tensor | None = None
    prior: Tensor | None = None
    cases: tuple[str, ...] = ()
    spacing_mm: tuple[float, ...] = ()
    covered: Tensor | None = None
    step_cases: tuple[str, ...] = ()

    def to(self, device: torch.device) -> Batch:
        """The same batch on ``device``."""

        def move(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device, non_blocking=True)

        return replace(
            self,
            image=self.image.to(device, non_blocking=True),
            present=self.present.to(device, non_blocking=True),
            covered=move(self.covered),
            target=move(self.target),
            prior=move(self.prior),
        )

    def target_of(self, modality: int) -> Tensor:
        """(B, *S): what one modality is taught, its own mask where modalities have their own; not at prediction."""
        assert self.target is not None, "prediction has no targets"
        return self.target if self.target.ndim == self.image.ndim - 1 else self.target[:, modality]

    def used_on(self, stream: torch.cuda.Stream) -> None:
        """Keep the memory of a batch that was made on another stream until ``stream`` is done with it too."""
        for tensor in (self.image, self.present, self.target, self.prior, self.covered):
            if tensor is not None:
                tensor.record_stream(stream)

    def presence(self) -> Tensor:
        """What networks are told about absence: (B, M), or (B, M, *S) where fields of view end inside the patch."""
        return (
            self.present
            if self.covered is None
            else self.covered & self.present.reshape(*self.present.shape, *(1,) * (self.image.ndim - 2))
        )

    def inputs(self) -> Tensor:
        """Image and prior as channels of one tensor, (B, M + K, *S)."""
        return self.image if self.prior is None else torch.cat([self.image, self.prior], dim=1)
