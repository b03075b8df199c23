"""Cross-entropy on labelled voxels, of exclusive classes and of overlapping regions.

Shape legend: B batch, C class, R region, S spatial axes (slowest first). Ω = voxels with a trusted label.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from autofuse.dataset.types import IGNORE


def cross_entropy(log_probabilities: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Σ_Ω w_b · (−log p of the labelled class), a scalar; 0 with zero gradient where Ω is empty.

    Args:
        log_probabilities: (B, C, *S), from a log-softmax in full precision.
        target: (B, *S) class indices, IGNORE where nobody labelled.
        weights: (B,), what a labelled voxel of each sample weighs (``labelled.voxel_weights``).
    """
    missed = F.nll_loss(log_probabilities, target, ignore_index=IGNORE, reduction="none")
    return (missed.flatten(1).sum(1) * weights).sum().to(log_probabilities.dtype)


def binary_cross_entropy(logits: Tensor, inside: Tensor, labelled: Tensor, weights: Tensor) -> Tensor:
    """Σ_Ω w_b · (softplus(x) − x · [voxel inside]) for one region: −log of the right answer's sigmoid, a scalar.

    Args:
        logits: (B, *S) of the region, in full precision.
        inside, labelled: (B, *S) bool.
        weights: (B,), what a labelled voxel of each sample weighs.
    """
    missed = torch.where(labelled, F.softplus(logits) - logits * inside, 0.0)
    return (missed.flatten(1).sum(1) * weights).sum().to(logits.dtype)
