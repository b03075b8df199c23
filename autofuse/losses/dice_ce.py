"""Dice and cross-entropy on labelled voxels: the loss of every supervised part of every method.

Shape legend: B batch, C output channel, R region, K raw value, S spatial axes (slowest first). Ω = labelled voxels.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from autofuse.dataset.label_codes import region_membership
from autofuse.dataset.types import Labels
from autofuse.losses.cross_entropy import binary_cross_entropy, cross_entropy
from autofuse.losses.dice import Overlap, dice_loss, overlap
from autofuse.losses.labelled import full_precision, labelled_voxels, voxel_weights


def dice_ce(
    logits: Tensor,
    target: Tensor,
    labels: Labels,
    *,
    dice_weight: float = 1.0,
    ce_weight: float = 1.0,
    batch_dice: bool = False,
    case_weighting: float = 1.0,
) -> dict[str, Tensor]:
    """``{"dice", "cross_entropy"}``, weighted scalars; computed in float32 whatever the autocast says.

    Voxels with IGNORE change neither value nor gradient; where nothing is labelled both are 0 with zero gradient.
    Besides ``logits`` the backward pass keeps about two more tensors of that size in float32.

    Args:
        logits: (B, C, *S) for classes, (B, R, *S) for regions.
        target: (B, *S) int64, index into ``(0, *labels.raw_values)``, IGNORE where nobody labelled.
        labels: what the outputs mean.
        dice_weight, ce_weight: factors of the two terms.
        batch_dice: one Dice over all samples together.
        case_weighting: samples weigh (labelled voxels) ** this; see ``labelled.voxel_weights``.
    """
    with torch.autocast(logits.device.type, enabled=False):
        labelled = labelled_voxels(target)
        weights = voxel_weights(labelled, case_weighting)
        counts = labelled.flatten(1).sum(1).double()
        measure = _regions if labels.has_regions else _classes
        overlaps, missed = measure(full_precision(logits), target, labels, labelled, weights)
        dice = dice_loss(overlaps, counts, weights, batch_dice=batch_dice)
        return {"dice": dice_weight * dice, "cross_entropy": ce_weight * missed}


def _classes(
    logits: Tensor, target: Tensor, labels: Labels, labelled: Tensor, weights: Tensor
) -> tuple[list[Overlap], Tensor]:
    """Overlap of each foreground class, and the cross-entropy; class index and channel are the same number."""
    log_probabilities = F.log_softmax(logits, dim=1)
    overlaps = [
        overlap(probability, target == index, labelled)
        for index, probability in enumerate(log_probabilities.exp().unbind(1))
        if index > 0
    ]
    return overlaps, cross_entropy(log_probabilities, target, weights)


def _regions(
    logits: Tensor, target: Tensor, labels: Labels, labelled: Tensor, weights: Tensor
) -> tuple[list[Overlap], Tensor]:
    """Overlap of each region, and the mean of the regions' binary cross-entropies."""
    membership, index = _membership(labels, target.device), target.clamp(min=0)
    overlaps, missed = [], []
    for region, logit in enumerate(logits.unbind(1)):
        inside = membership[region][index]
        overlaps.append(overlap(logit.sigmoid(), inside, labelled))
        missed.append(binary_cross_entropy(logit, inside, labelled, weights))
    return overlaps, torch.stack(missed).mean()


@lru_cache(maxsize=32)
def _membership(labels: Labels, device: torch.device) -> Tensor:
    return torch.from_numpy(region_membership(labels)).to(device)
