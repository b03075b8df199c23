"""Losses that make two heads agree where nobody labelled anything.

Shape legend: B batch, G question, K answer (``losses.probabilities``), S spatial axes (slowest first).
"""

from __future__ import annotations

import torch
from torch import Tensor

from autofuse.losses.probabilities import certainty, mean_where


def symmetric_divergence(
    first: Tensor, second: Tensor, *, where: Tensor | None = None, by_certainty: bool = False
) -> Tensor:
    """½ (KL(p‖q) + KL(q‖p)) = ½ Σ_k (p_k - q_k)(log p_k - log q_k), averaged over questions and voxels; a scalar.

    0 exactly where both agree, above 0 elsewhere, the same with both exchanged; its gradient reaches both.

    Args:
        first, second: log p and log q, (B, G, K, *S).
        where: (B, 1, *S) or (B, 1, *1) bool; voxels that count; None for all.
        by_certainty: voxels weigh exp(-H(p̄) / log K), p̄ the mean of both; the weight itself is not descended on, or
            both would learn to be unsure where they differ.
    """
    p, q = first.exp(), second.exp()
    divergence = ((p - q) * (first - second)).sum(2) / 2
    if by_certainty:
        with torch.no_grad():
            weight = certainty((p + q) / 2)
        divergence = divergence * weight
    return mean_where(divergence, where)


def divergence_from(goal: Tensor, learner: Tensor, *, by_certainty: bool = False) -> Tensor:
    """KL(goal‖p) averaged over questions and voxels; a scalar, 0 where ``learner`` says what the goal says.

    It differs from the soft cross-entropy by the goal's entropy, which no gradient sees.

    Args:
        goal: probabilities (B, G, K, *S); no gradient reaches them.
        learner: log-probabilities (B, G, K, *S).
        by_certainty: voxels weigh exp(-H(goal) / log K).
    """
    goal = goal.detach()
    divergence = (torch.special.xlogy(goal, goal) - goal * learner).sum(2)
    return mean_where(divergence * certainty(goal) if by_certainty else divergence, None)
