"""One image of several modalities by a fixed rule: what the fused image departs from, and is where nobody learns.

Shape legend: B batch, M modality, S spatial axes (slowest first).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from autofuse.networks.presence import mean_weights
from autofuse_trainers.fuse4seg.leader_spec import Aggregate

SALIENCY_REACH = 2
"""Voxels to each side over which a modality's gradient counts for it."""
BANDS = (1, 2, 4)
"""Of the pyramid: how far each blur reaches, in the shortest spacing. Structures that are larger than all of them are
shown by the mean."""
TINY = 1e-8


def aggregate(light: Tensor, presence: Tensor, how: Aggregate, steps: Sequence[float]) -> Tensor:
    """One image (B, 1, *S) of shown modalities (B, M, *S), each voxel of those present; 0 where there is none.

    Args:
        presence: (B, M, *1) or (B, M, *S) bool.
        how: the brightest; the mean; the mean weighed by saliency, the local mean of each one's gradient; or a
            pyramid, see ``pyramid``.
        steps: per axis, the spacing as a multiple of the shortest.
    """
    if how == "pyramid":
        return pyramid(light, presence, steps)
    there = presence.expand(light.shape)
    if how == "max":
        return torch.where(there, light, 0.0).amax(1, keepdim=True)
    weights = there.float()
    if how == "saliency":
        edges = torch.cat([slopes(light[:, m : m + 1]) for m in range(light.shape[1])], dim=1)
        weights = weights * (local_mean(edges, (SALIENCY_REACH,) * (light.ndim - 2)) + 1e-3)
    return (mean_weights(weights) * light).sum(1, keepdim=True)


def pyramid(light: Tensor, presence: Tensor, steps: Sequence[float]) -> Tensor:
    """Each band of an undecimated Laplacian pyramid from the modalities that have most energy in it there.

    A mean shows what one modality alone shows at a part of its contrast, in the noise of all. Here it keeps most of
    its contrast: modalities weigh as the squares of a band's local energy. What is coarser than all bands is the mean.
    A voxel depends on what lies within all blurs and the last energy's, 11 of the shortest spacings: patches fit
    together. After Burt and Kolczynski, "Enhanced image capture through fusion", ICCV 1993; without their decimation,
    so that it moves with the voxel.

    Args:
        light: (B, M, *S) in [0, 1]; presence: (B, M, *1) or (B, M, *S) bool.
        steps: per axis, the spacing as a multiple of the shortest.

    Returns:
        (B, 1, *S) in [0, 1]; 0 where no modality is present.
    """
    seen = presence.float()
    low, fused = light * seen, torch.zeros_like(light[:, :1])
    for band in BANDS:
        reach = [round(band / step) for step in steps]
        near = local_mean(seen, reach).clamp(min=TINY)
        coarser = local_mean(low * seen, reach) / near
        detail = (low - coarser) * seen
        energy = local_mean(detail.square(), reach) / near + TINY
        weights = mean_weights(seen * (energy / energy.amax(1, keepdim=True)).square())
        fused = fused + (weights * detail).sum(1, keepdim=True)
        low = coarser
    whole = fused + (mean_weights(seen) * low).sum(1, keepdim=True)
    return whole.clamp(0.0, 1.0) * presence.any(1, keepdim=True)


def local_mean(features: Tensor, reach: Sequence[int]) -> Tensor:
    """(B, C, *S): mean over ``reach`` voxels to each side of each axis; beyond the border nothing is counted."""
    features = features if features.dtype == torch.float64 else features.float()  # sums in half precision drift
    kept = torch.is_grad_enabled() and features.requires_grad
    for axis, voxels in enumerate(reach):  # one axis at a time: 3 k additions a voxel instead of k cubed
        if voxels:
            count = int(features.shape[2 + axis])
            near = [min(place + voxels, count - 1) - max(place - voxels, 0) + 1 for place in range(count)]
            shares = torch.tensor(near, dtype=features.dtype, device=features.device)
            along = (features, 2 + axis, voxels)
            total: Tensor = _SumAlong.apply(*along) if kept else sums(*along)  # type: ignore[no-untyped-call]
            features = total / shares.view(count, *(1,) * (features.ndim - 3 - axis))
    return features


def sums(features: Tensor, axis: int, voxels: int) -> Tensor:
    """Over so many voxels to each side of an axis, of the shape of ``features``; zeros beyond its ends."""
    count = int(features.shape[axis])
    # Not padded by torch, which ONNX's exporter loses the shape over.
    beyond = torch.zeros_like(features.narrow(axis, 0, 1)).expand(
        *(voxels if other == axis else -1 for other in range(features.ndim))
    )
    padded = torch.cat([beyond, features, beyond], dim=axis)
    total = padded.narrow(axis, 0, count)
    for start in range(1, 2 * voxels + 1):
        total = total + padded.narrow(axis, start, count)
    return total


class _SumAlong(torch.autograd.Function):
    """``sums``, which is linear and its own adjoint: nothing is kept for the gradient, where torch's pools keep their
    input; and on a CPU they take ten times as long."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, axis: int, voxels: int) -> Tensor:
        ctx.along = axis, voxels
        return sums(features, axis, voxels)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """The gradient of ``features``; it can be differentiated again."""
        return _SumAlong.apply(gradients[0], *ctx.along), None, None  # type: ignore[no-untyped-call]


def slopes(image: Tensor) -> Tensor:
    """|∇I| (B, C, *S): the sum over axes of absolute differences to the next voxel; 0 beyond the last."""
    found = torch.zeros_like(image)
    for axis in range(2, image.ndim):
        first, inner = image.narrow(axis, 0, 1), int(image.shape[axis]) - 1
        steps = (image.narrow(axis, 1, inner) - image.narrow(axis, 0, inner)).abs()
        found = found + torch.cat([steps, torch.zeros_like(first)], dim=axis)
    return found
