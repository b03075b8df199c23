"""A second look at the same voxels, so that one modality alone has something to agree with."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from autofuse.networks.fusing import SeveralHeads
from autofuse.networks.heads import Branches
from autofuse.sampling import ranks
from autofuse.sampling.batch import Batch


def another_view(image: Tensor, strength: float) -> Tensor:
    """``image`` (B, M, *S) as another scanner might show it: contrast, brightness and noise of random strength.

    Geometry stays what it is, so that voxels can be compared. Intensities are in standard deviations (preprocessing's
    unit): contrast is multiplied by 1 ± ``strength``, brightness moved by up to ``strength``, and noise has up to half
    of it. Zeros, which stand for what is absent, stay zeros.
    """
    shape = (*image.shape[:2], *(1,) * (image.ndim - 2))

    def drawn() -> Tensor:
        return 2 * ranks.rand(*shape, device=image.device, dtype=image.dtype) - 1

    noise = ranks.randn(*image.shape, device=image.device, dtype=image.dtype) * (0.5 * strength * drawn().abs())
    seen: Tensor = image * (1 + strength * drawn()) + strength * drawn() + noise
    return torch.where(image == 0, image, seen)


def views_of(network: SeveralHeads, batch: Batch, strength: float) -> Branches:
    """What ``network`` says about two views of a batch of one modality, as if these were two modalities."""
    first = network.branches(batch.inputs(), batch.presence())
    second = network.branches(replace(batch, image=another_view(batch.image, strength)).inputs(), batch.presence())
    return Branches(
        first.logits,
        (*first.specific, *second.specific),
        (*first.bottlenecks, *second.bottlenecks),
        torch.cat([first.presence, second.presence], dim=1),
    )
