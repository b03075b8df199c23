"""A moving average of the weights: often a better model than the weights themselves."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class Average:
    """Networks whose weights follow those of ``nets``.

    a <- a + (1 - d) (w - a) with d = min(decay, (1 + t) / (10 + t)). The smaller decay of the first steps t keeps the
    initial weights from lingering. Buffers are copied.
    """

    def __init__(self, nets: nn.ModuleDict, decay: float) -> None:
        self.nets = copy.deepcopy(nets).requires_grad_(False).eval()
        self.decay = decay
        self._followers: list[Tensor] = list(self.nets.parameters())
        self._leaders: list[Tensor] = list(nets.parameters())
        self._buffers = list(zip(self.nets.buffers(), nets.buffers(), strict=True))

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """One step closer to the weights; ``step`` counts from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._followers, self._leaders, 1.0 - decay)
        for follower, leader in self._buffers:
            follower.copy_(leader)
