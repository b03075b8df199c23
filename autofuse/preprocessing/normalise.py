"""Intensities of one modality made comparable between cases, as the plan says.

Schemes: ``zscore`` (mean 0, standard deviation 1 over the cropped image), ``zscore_nonzero`` (the same over the inside
of the body, where something is not zero; the outside is exactly 0), ``ct`` (clipped to the data set's percentiles,
then its mean and standard deviation), ``rescale_0_1``, ``none``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autofuse.plan.types import NormalisationPlan

_CONSTANT = 1e-6
"""A spread below this fraction of the largest value is rounding, not contrast: such an image becomes 0."""


def normalise(image: Tensor, plan: NormalisationPlan, inside: Tensor | None = None) -> Tensor:
    """``image`` (z, y, x) float32 with comparable intensities; works in place on ``image`` and returns it.

    Args:
        inside: (z, y, x) bool, needed by "zscore_nonzero" only; see ``inside_mask``.
    """
    if plan.scheme == "none":
        return image
    if plan.scheme == "ct":
        return image.clamp_(plan.lower, plan.upper).sub_(plan.mean).div_(max(plan.std, 1e-8))
    if plan.scheme == "rescale_0_1":
        low, high = (float(value) for value in image.aminmax())
        return _scaled(image.sub_(low), high - low, max(abs(low), abs(high)))
    if plan.scheme == "zscore":
        return _zscore(image, None)
    if inside is None:
        raise ValueError("zscore_nonzero needs the mask of what is inside")
    return _zscore(only_inside(image, inside), inside)


def only_inside(image: Tensor, inside: Tensor) -> Tensor:
    """``image`` (z, y, x), exactly 0 where ``inside`` is False; works in place on ``image`` and returns it."""
    for plane, kept in zip(image, inside, strict=True):  # torch would convert the mask of the whole case at once
        plane.mul_(kept)
    return image


def _zscore(image: Tensor, inside: Tensor | None) -> Tensor:
    """Mean 0, deviation 1 over ``inside``, outside of which ``image`` is 0 and stays so."""
    voxels = float(image.numel() if inside is None else torch.count_nonzero(inside))
    low, high = (float(value) for value in image.aminmax())
    image.sub_(_total(image) / max(voxels, 1.0))
    if inside is not None:
        only_inside(image, inside)
    spread = float(torch.linalg.vector_norm(image, dim=(1, 2)).double().norm()) / max(voxels, 1.0) ** 0.5
    return _scaled(image, spread, max(abs(low), abs(high)))


def _total(volume: Tensor) -> float:
    """Sum in float32 within slices, in float64 over them: a tenth of the time of float64 throughout."""
    return float(volume.sum(dim=(1, 2)).double().sum())


def _scaled(image: Tensor, spread: float, largest: float) -> Tensor:
    return image.zero_() if spread <= _CONSTANT * largest else image.div_(spread)


def inside_mask(images: Sequence[NDArray[Any]]) -> NDArray[np.bool_]:
    """(z, y, x) bool: voxels where some modality is not 0, and the holes that they enclose (ventricles, sinuses).

    A hole is a 6-connected zero region that does not touch the border of the array.
    """
    inside = np.zeros(images[0].shape, dtype=np.bool_)
    for image in images:
        inside |= image != 0
    outside = ~inside
    if not outside.any():
        return inside
    import cc3d

    regions = np.asarray(cc3d.connected_components(outside.view(np.uint8), connectivity=6))
    is_hole = np.ones(int(regions.max()) + 1, dtype=np.bool_)
    is_hole[0] = False
    for axis in range(3):
        # A single slice has no enclosed side along its own axis; there only in-plane borders count.
        if regions.shape[axis] > 1:
            for side in (0, -1):
                is_hole[np.unique(np.take(regions, side, axis=axis))] = False
    for plane, numbers in zip(inside, regions, strict=True):  # slice by slice: no second mask of the whole image
        plane |= is_hole[numbers]
    return inside
