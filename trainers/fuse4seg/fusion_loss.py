"""How good a fused image is, without any label: intensities, edges, and the decomposition behind it.

    L_fuse = L1(F, agg_m I_m) + 10 L1(|∇F|, max_m |∇I_m|) + 2 Σ_(i<j) cc(D_i, D_j)² / (1.01 + cc(B_i, B_j))

Fuse4Seg (arXiv 2409.10328 v3) names a Frequency Decomposition Loss and a Spatial Gradient Loss without formulas; the
decomposition is that of CDDFuse (arXiv 2211.14461) and its released code, summed over pairs; the weights are ours.

Shape legend: B batch, M modality, W channel of features, S spatial axes (slowest first).
"""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from autofuse.losses.probabilities import mean_where
from autofuse_trainers.fuse4seg.aggregate import slopes
from autofuse_trainers.fuse4seg.leader import Fused

FLAT = 1e-6
"""Variance below which a map of features has no correlation with anything."""


def intensity(fused: Fused) -> Tensor:
    """L1 between the fused image and the aggregate of what is shown; a scalar."""
    return mean_where((fused.image - fused.basis).abs(), fused.presence.any(1, keepdim=True))


def edges(fused: Fused) -> Tensor:
    """L1 between |∇F| and the steepest |∇I_m| of the modalities that see a voxel; a scalar."""
    seen = fused.presence.expand(fused.shown.shape)
    steepest = torch.where(seen, slopes(fused.shown), 0.0).amax(1, keepdim=True)
    return mean_where((slopes(fused.image) - steepest).abs(), fused.presence.any(1, keepdim=True))


def decomposition(fused: Fused) -> Tensor:
    """Σ over pairs of cc(D_i, D_j)² / (1.01 + cc(B_i, B_j)): details that differ, bases that agree; a scalar.

    0 exactly where no details are correlated; the same in any order of the modalities. A pair counts in the samples
    that have both.
    """
    there = fused.presence.flatten(2).any(2)
    terms = [torch.zeros((), device=fused.image.device)]
    for i, j in combinations(range(there.shape[1]), 2):
        where = fused.presence[:, i : i + 1] & fused.presence[:, j : j + 1]
        details = correlation(fused.details[i], fused.details[j], where)
        bases = correlation(fused.bases[i], fused.bases[j], where)
        both = there[:, i] & there[:, j]
        terms.append(mean_where((details.square() / (1.01 + bases))[:, None], both[:, None]))
    return torch.stack(terms).sum()


def correlation(first: Tensor, second: Tensor, where: Tensor) -> Tensor:
    """Pearson's correlation over voxels ``where`` (B, 1, *1 or *S), mean over channels; (B,) float32 in [-1, 1]."""
    shape = first.shape
    counted = where.expand(shape[0], 1, *shape[2:]).flatten(2).float()
    voxels = counted.sum(2, keepdim=True).clamp(min=1)
    x, y = (features.float().flatten(2) for features in (first, second))
    x = (x - (x * counted).sum(2, keepdim=True) / voxels) * counted
    y = (y - (y * counted).sum(2, keepdim=True) / voxels) * counted
    spread = ((x.square().sum(2) / voxels[..., 0] + FLAT) * (y.square().sum(2) / voxels[..., 0] + FLAT)).sqrt()
    return ((x * y).sum(2) / voxels[..., 0] / spread).mean(1)
