"""What every supervised loss shares: which voxels count, how much each weighs, and in which precision.

Shape legend: B batch, S spatial axes (slowest first). Ω = voxels with a trusted label, n_b = |Ω| of sample b.
"""

from __future__ import annotations

import torch
from torch import Tensor

from autofuse.dataset.types import IGNORE
from autofuse.sampling import ranks


def full_precision(logits: Tensor) -> Tensor:
    """``logits`` in float32 at least (float64 stays): sums over a patch drown in half precision."""
    return logits if logits.element_size() >= 4 else logits.float()


def labelled_voxels(target: Tensor) -> Tensor:
    """Ω of ``target`` (B, *S): (B, *S) bool."""
    return target != IGNORE


def voxel_weights(labelled: Tensor, case_weighting: float) -> Tensor:
    """What one labelled voxel of each sample weighs, (B,) float64; over all of Ω (B, *S) they add up to 1.

    Samples weigh n_b ** ``case_weighting``: at 1 every labelled voxel of the batch counts the same, at 0 every sample
    does, however little of it is labelled; at 0.5 a sample with a hundred times the labels counts ten times as much.
    A sample without labels weighs nothing, and a batch without labels adds up to 0. Where ranks share a batch it is the
    mean over ranks of these sums that is 1.
    """
    count = labelled.flatten(1).sum(1).double()
    sample = torch.where(count > 0, count.clamp(min=1).pow(case_weighting), 0.0)
    return sample / (ranks.mean_over_ranks(sample.sum()) * count).clamp(min=1.0 / ranks.count())
