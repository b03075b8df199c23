"""What the outputs of a network say, in one form for exclusive classes and for overlapping regions.

Shape legend: B batch, C class, R region, G question, K answer, S spatial axes (slowest first). For classes there is one
question with K = C answers, for regions there are G = R questions with two answers each: inside and outside.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from autofuse.losses.labelled import full_precision
from autofuse.sampling import ranks


def log_answers(logits: Tensor, *, regions: bool) -> Tensor:
    """Log-probabilities (B, G, K, *S) of ``logits`` (B, C, *S) or (B, R, *S), in float32 at least.

    exp() of them adds up to 1 over K.
    """
    logits = full_precision(logits)
    if not regions:
        return F.log_softmax(logits, dim=1).unsqueeze(1)
    return torch.stack([F.logsigmoid(logits), F.logsigmoid(-logits)], dim=2)


def certainty(probabilities: Tensor) -> Tensor:
    """exp(-H(p) / log K), (B, G, *S), in [1/e, 1]: 1 where ``probabilities`` (B, G, K, *S) name one answer.

    H is the entropy in nats; where only one answer exists all is certain.
    """
    answers = probabilities.shape[2]
    if answers == 1:
        return torch.ones_like(probabilities[:, :, 0])
    entropy = -torch.special.xlogy(probabilities, probabilities).sum(2)
    return torch.exp(-entropy / math.log(answers))


def mean_where(values: Tensor, where: Tensor | None) -> Tensor:
    """Mean of ``values`` (B, G, *S) over the voxels ``where`` (B, 1, *S) or (B, 1, *1) bool; 0 where there is none.

    Where ranks share a batch, the mean over ranks of what this gives is the mean over the voxels of all.
    """
    if where is None:
        return values.mean()
    counted = where.expand(values.shape)
    return torch.where(counted, values, 0.0).sum() / ranks.mean_count(counted.sum())
