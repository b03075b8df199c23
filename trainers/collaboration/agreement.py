"""How well modalities agree on a case that nobody labelled: by channels, by voxels, by volumes and prototypes.

Every loss compares each modality with the mean of the others that are present, and is averaged over modalities; with
two modalities that is their comparison. Samples with fewer than two modalities count for nothing.
Shape legend: B batch, M modality, F feature channel, C structure, V pooled voxel, S spatial axes (slowest first), s
those of the lowest resolution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from autofuse.sampling import ranks

TINY = 1e-6
POOLS: dict[int, Callable[[Tensor, Any], Tensor]] = {2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}


def semantic_consistency(
    bottlenecks: Sequence[Tensor], present: Tensor, *, temperature: float = 0.5, pooled: int = 4
) -> Tensor:
    """NT-Xent over channels (Chen et al., arXiv 2002.05709, eq. 1; L_CSC of arXiv 2408.07341), a scalar.

    A channel's map, averaged to ``pooled`` voxels an axis, is to be like the same channel of the others, and unlike
    every other channel. Computed as a product of matrices: memory is (2 F)² a sample, whatever the patch.

    Args:
        bottlenecks: M times (B, F, *s).
        present: (B, M) bool.
        temperature: of the softmax.
        pooled: voxels an axis, at most as many as there are.
    """
    rows = torch.stack([_rows(features, pooled) for features in bottlenecks], 1)
    return _each_against_others(rows, present, lambda one, others: _contrast(one, others, temperature))


def anatomical_consistency(found: Sequence[Tensor], presence: Tensor) -> Tensor:
    """1 - 2 Σ p q / (Σ p² + Σ q²) over voxels, mean over structures (L_CAC), a scalar in [0, 1]; 0 at agreement.

    Only for modalities that lie on each other. (With Σ p + Σ q below, heads that both say one half would not agree.)

    Args:
        found: M times the probability of each structure, (B, C, *S).
        presence: (B, M, *1) or (B, M, *S) bool; what a modality does not see is left out of both sides.
    """
    stacked = torch.stack(list(found), 1)
    shown = presence.unsqueeze(2).expand(stacked.shape[0], stacked.shape[1], 1, *stacked.shape[3:])
    anywhere = shown.flatten(2).any(2)
    both = shown.all(1) if shown.shape[1] == 1 else _seen_together(shown, anywhere)
    return _each_against_others(stacked * both.unsqueeze(1), anywhere, _overlap)


def volume_consistency(found: Sequence[Tensor], presence: Tensor) -> Tensor:
    """(v - w)² / (v² + w²) of the volumes of each structure, mean over structures, a scalar in [0, 1]; 0 at agreement.

    For modalities that do not lie on each other. Arguments as of ``anatomical_consistency``.
    """
    volumes = torch.stack([head.flatten(2).mean(2, keepdim=True) for head in found], 1)
    return _each_against_others(volumes, presence.flatten(2).any(2), _overlap)


def prototype_consistency(found: Sequence[Tensor], bottlenecks: Sequence[Tensor], present: Tensor) -> Tensor:
    """1 - cosine of the prototypes of each structure, mean over structures, a scalar in [0, 2]; 0 at agreement.

    A prototype is the mean of the bottleneck's features, weighted by how much of a structure is found there: it tells
    what a structure looks like to an encoder, wherever it lies.

    Args:
        found: M times (B, C, *S); bottlenecks: M times (B, F, *s); present: (B, M) bool.
    """
    prototypes = torch.stack([_prototypes(*pair) for pair in zip(found, bottlenecks, strict=True)], 1)

    def apart(one: Tensor, others: Tensor) -> Tensor:
        return (1 - F.cosine_similarity(one, others, dim=2, eps=TINY)).mean(1)

    return _each_against_others(prototypes, present, apart)


def _each_against_others(stacked: Tensor, present: Tensor, apart: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Mean over modalities and samples of ``apart(one, mean of the others)`` -> (B,); ``stacked`` is (B, M, ...)."""
    ones = (1,) * (stacked.ndim - 2)
    there = present.to(stacked.dtype).view(*present.shape, *ones)
    whole, count = (stacked * there).sum(1), there.sum(1)
    total, pairs = stacked.new_zeros(()), stacked.new_zeros(())
    for modality in range(stacked.shape[1]):
        others = (whole - (stacked * there)[:, modality]) / (count - there[:, modality]).clamp(min=1)
        counts = (present[:, modality] & (present.sum(1) > 1)).to(stacked.dtype)
        total = total + (apart(stacked[:, modality], others) * counts).sum()
        pairs = pairs + counts.sum()
    return total / ranks.mean_count(pairs)


def _rows(features: Tensor, pooled: int) -> Tensor:
    """Pooled maps of unit length, mean removed, (B, F, V), in float32 at least."""
    size = tuple(features.shape[2:])
    features = features if features.element_size() >= 4 else features.float()
    small = POOLS[len(size)](features, [min(pooled, length) for length in size]).flatten(2)
    if small.shape[2] > 1:
        small = small - small.mean(2, keepdim=True)
    return F.normalize(small, dim=2, eps=TINY)


def _contrast(one: Tensor, others: Tensor, temperature: float) -> Tensor:
    """NT-Xent of channels (B, F, V) against their partners, (B,)."""
    channels = one.shape[1]
    both = torch.cat([one, F.normalize(others, dim=2, eps=TINY)], dim=1)
    likeness = both @ both.transpose(1, 2) / temperature
    itself = torch.eye(2 * channels, dtype=torch.bool, device=one.device)
    likeness = likeness.masked_fill(itself, float("-inf"))
    partners = torch.arange(2 * channels, device=one.device).roll(channels)
    return (
        F.cross_entropy(likeness.flatten(0, 1), partners.repeat(one.shape[0]), reduction="none")
        .view(one.shape[0], -1)
        .mean(1)
    )


def _overlap(one: Tensor, others: Tensor) -> Tensor:
    """1 - 2 Σ p q / (Σ p² + Σ q²), mean over structures, of (B, C, ...): (B,)."""
    p, q = one.flatten(2), others.flatten(2)
    shared, squares = (p * q).sum(2), (p**2 + q**2).sum(2)
    return ((squares - 2 * shared) / squares.clamp(min=TINY)).mean(1)


def _seen_together(shown: Tensor, anywhere: Tensor) -> Tensor:
    """(B, 1, *S): voxels that every modality sees which sees anything of the sample."""
    absent = ~anywhere.view(*anywhere.shape, *(1,) * (shown.ndim - 2))
    return (shown | absent).all(1)


def _prototypes(found: Tensor, features: Tensor) -> Tensor:
    """(B, C, F): mean features of each structure."""
    size = list(features.shape[2:])
    share = POOLS[len(size)](found, size).flatten(2)
    weighted = share @ features.to(share.dtype).flatten(2).transpose(1, 2)
    return weighted / share.sum(2, keepdim=True).clamp(min=TINY)
