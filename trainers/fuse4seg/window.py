"""Prepared intensities as a person looks at them: between 0 (black) and 1 (white), by the same window in every case.

A window is fixed per modality and never measured on a patch: otherwise neighbouring patches of one image would be of
different brightness, and seams would show where they meet.

Shape legend: B batch, M modality, S spatial axes (slowest first).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from autofuse.plan.types import NormalisationPlan

STANDARD_SCORES = (-2.5, 4.0)
"""Of images with mean 0 and deviation 1: tissue lies around 0, and what matters is more often bright than dark."""

Window = tuple[float, float]


def window_of(plan: NormalisationPlan) -> Window:
    """Prepared intensities that are shown black and white: all that a CT or a rescaled image can hold, else
    ``STANDARD_SCORES``."""
    if plan.scheme == "rescale_0_1":
        return 0.0, 1.0
    if plan.scheme == "ct" and plan.upper > plan.lower:
        spread = max(plan.std, 1e-8)
        return (plan.lower - plan.mean) / spread, (plan.upper - plan.mean) / spread
    return STANDARD_SCORES


def shown(image: Tensor, windows: Sequence[Window]) -> Tensor:
    """Prepared modalities (B, M, *S) through their windows, float32 in [0, 1]."""
    shape = (1, -1, *(1,) * (image.ndim - 2))
    black = torch.tensor([low for low, _ in windows], device=image.device).view(shape)
    width = torch.tensor([high - low for low, high in windows], device=image.device).view(shape)
    return ((image.float() - black) / width).clamp(0.0, 1.0)
