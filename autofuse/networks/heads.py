"""Several heads that become one: probabilities merged over the modalities that are present, given as logits.

Shape legend: B batch, M modality, C output channel, S spatial axes (slowest first), at any resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from autofuse.networks.presence import NEVER, mean_weights, share_seen

Levels = tuple[Tensor, ...]
"""Logits (B, C, *S), highest resolution first; in eval mode only the first."""


@dataclass(frozen=True)
class Branches:
    """Everything that a network with a head per modality says about an image.

    Attributes:
        logits: of the network as a whole, as ``forward`` gives them.
        specific: those of each modality's own head; empty where these are switched off. An absent modality's are
            finite and mean nothing.
        bottlenecks: features (B, F, *s) of each modality's own encoder at its lowest resolution.
        presence: (B, M, *1) or (B, M, *S) bool; what was visible, modalities that training dropped left out.
    """

    logits: Levels
    specific: tuple[Levels, ...]
    bottlenecks: tuple[Tensor, ...]
    presence: Tensor


def merge_levels(specific: Sequence[Levels], presence: Tensor, *, regions: bool) -> Levels:
    """Level by level, the heads of all modalities as one."""
    if len(specific) == 1:
        return specific[0]
    merged = []
    for logits in zip(*specific, strict=True):
        weights = head_weights(presence, tuple(logits[0].shape[2:]))
        merged.append(merge_logits(torch.stack(logits, 1), weights, regions=regions))
    return tuple(merged)


def head_weights(presence: Tensor, size: tuple[int, ...]) -> Tensor:
    """Weights (B, M, *1) or (B, M, *S) that add up to 1 everywhere, none for an absent modality.

    What no modality sees is left to those that see another part of the sample; in a sample without any, all count.
    """
    share = share_seen(presence, size)
    anywhere = presence.flatten(2).any(2).float().view(*presence.shape[:2], *(1,) * len(size))
    anywhere = torch.where(anywhere.sum(1, keepdim=True) > 0, anywhere, 1.0)
    return mean_weights(torch.where(share.sum(1, keepdim=True) > 0, share, anywhere))


def merge_logits(logits: Tensor, weights: Tensor, *, regions: bool) -> Tensor:
    """Logits (B, C, *S) whose probabilities are the weighted mean of those of ``logits`` (B, M, C, *S).

    For classes log Σ_m w_m softmax(x_m), so that a softmax gives the mean; for regions logit Σ_m w_m sigmoid(x_m), so
    that a sigmoid does. In logarithms throughout, float32.
    """
    known = torch.where(weights > 0, weights.clamp_min(torch.finfo(weights.dtype).tiny).log(), NEVER).unsqueeze(2)
    with torch.autocast(logits.device.type, enabled=False):
        logits = logits.float()
        if not regions:
            return torch.logsumexp(F.log_softmax(logits, dim=2) + known, dim=1)
        missed = F.softplus(logits)  # -log of the probability of being outside
        inside = torch.logsumexp(known + (logits - missed), dim=1)
        return inside - torch.logsumexp(known - missed, dim=1)
