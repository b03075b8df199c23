"""Soft Dice on labelled voxels (Milletari et al., arXiv 1606.04797; per class as in nnU-Net).

Shape legend: B batch, K foreground class or region, S spatial axes (slowest first). Ω = voxels with a trusted label.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from autofuse.sampling import ranks

SMOOTH = 1e-5
"""Added above and below, in voxels: a class that is neither there nor predicted scores 1."""


@dataclass(frozen=True)
class Overlap:
    """Sums over Ω of one class or region, each (B,): probability inside it, probability, voxels of it."""

    shared: Tensor
    predicted: Tensor
    true: Tensor


def overlap(probability: Tensor, inside: Tensor, labelled: Tensor) -> Overlap:
    """The sums for one class or region; ``probability``, ``inside`` (bool) and ``labelled`` (bool) are (B, *S).

    Called class by class, so that never more than one class's voxels are in memory besides the probabilities.
    """
    inside = inside & labelled
    return Overlap(
        shared=(probability * inside).flatten(1).sum(1),
        predicted=(probability * labelled).flatten(1).sum(1),
        true=inside.flatten(1).sum(1).to(probability.dtype),
    )


def dice_loss(overlaps: list[Overlap], counts: Tensor, weights: Tensor, *, batch_dice: bool) -> Tensor:
    """1 − mean over classes of (2 Σ p t + s) / (Σ p + Σ t + s), a scalar in [0, 1]; 0 where Ω is empty.

    A class that is absent from the labels scores near 0 wherever it is predicted, with next to no gradient; the
    cross-entropy is what drives it out. That is nnU-Net's way.

    Args:
        overlaps: per foreground class or region (the background is left to the cross-entropy).
        counts: (B,), labelled voxels of each sample.
        weights: (B,), what a labelled voxel of each sample weighs (``labelled.voxel_weights``).
        batch_dice: one Dice over all samples together, instead of the mean of the samples' own.
    """
    shared = torch.stack([item.shared for item in overlaps], dim=1)
    predicted = torch.stack([item.predicted for item in overlaps], dim=1)
    true = torch.stack([item.true for item in overlaps], dim=1)
    share = counts * weights  # of each sample; adds up to 1, or to 0 without labels
    if batch_dice:
        labelled = ranks.mean_over_ranks(counts.sum())
        scale = (weights * labelled).to(shared.dtype)[:, None]
        sums = [(item * scale).sum(0) for item in (shared, predicted, true)]
        scores = _dice(*ranks.sum_over_ranks(torch.stack(sums)))
        return (1 - scores.mean()) * (labelled > 0)
    scores = _dice(shared, predicted, true)
    return ((1 - scores.mean(1)) * share.to(scores.dtype)).sum()


def _dice(shared: Tensor, predicted: Tensor, true: Tensor) -> Tensor:
    return (2 * shared + SMOOTH) / (predicted + true + SMOOTH)
