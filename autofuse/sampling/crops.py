"""Samples as they come from the store, with what will happen to them; the step between disk and batch."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from autofuse.sampling.draw import AugmentationDraw


@dataclass(frozen=True)
class Crop:
    """One sample before augmentation.

    Shapes: M modality, E spatial axes of the enclosing box (the patch itself where the draw has no matrix), slowest
    first; 2 or 3 axes.

    Attributes:
        images: (M, *E) float, 0 beyond the image and for absent modalities.
        label: (*E) int16 class indices, ``label_fill`` beyond the image; (M, *E) where modalities carry masks of
            their own.
        label_fill: background for dense labels, ``IGNORE`` for sparse and missing ones; one for each mask.
        prior: (*E) class indices of a cascade's earlier stage, or None.
        centre: of the patch, in voxels of the box.
        covered: (M, *E) bool, where a modality that is present sees anything; None where each sees all of the case.
    """

    case: str
    images: Tensor
    present: Tensor
    label: Tensor
    label_fill: int | tuple[int, ...]
    prior: Tensor | None
    draw: AugmentationDraw
    centre: tuple[float, ...]
    covered: Tensor | None = None

    @property
    def fills(self) -> tuple[int, ...]:
        """What lies beyond each label map."""
        return (self.label_fill,) if isinstance(self.label_fill, int) else self.label_fill

    def pinned(self) -> Crop:
        """The same crop in page-locked memory, from which copies to a GPU need not wait."""
        return replace(
            self,
            images=self.images.pin_memory(),
            label=self.label.pin_memory(),
            prior=None if self.prior is None else self.prior.pin_memory(),
            covered=None if self.covered is None else self.covered.pin_memory(),
        )


@dataclass(frozen=True)
class Crops:
    """The samples of one batch, and what they share.

    Attributes:
        patch: voxels per axis of the finished samples.
        keep_zero: per modality, whether exact zeros mean outside of the body and stay zero.
        prior_membership: (K, raw values + 1) bool, which class indices belong to each class or region; None without
            a prior.
        step_cases: ids of the samples that all ranks see in this step; empty where one process sees them all.
    """

    samples: tuple[Crop, ...]
    patch: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    keep_zero: tuple[bool, ...]
    prior_membership: Tensor | None = None
    step_cases: tuple[str, ...] = ()

    def pinned(self) -> Crops:
        """The same crops in page-locked memory."""
        return replace(self, samples=tuple(sample.pinned() for sample in self.samples))
