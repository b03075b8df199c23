"""The gated conditional random field: neighbours that look alike should be of one class.

Obukhov et al., arXiv 1906.04651. Per pair of voxels i, j within a radius: the kernel
k_ij = exp(-|x_i - x_j|² / 2σ_x² - |I_i - I_j|² / 2σ_I²) times the probability 1 - p_i · p_j that they differ (Potts).
Shape legend: B batch, M modality, G question, K answer, S spatial axes (slowest first), A = G K.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from autofuse.losses.labelled import full_precision
from autofuse.networks.blocks import AVERAGES

Offset = tuple[int, ...]


@dataclass(frozen=True)
class Neighbourhood:
    """Which voxels are compared, and how alike they must look.

    Attributes:
        radius_mm: of the neighbourhood; the nearest voxels along the finest axis always belong to it.
        sigma_mm: σ_x.
        sigma_intensity: σ_I, in the unit of the prepared images (about one standard deviation of a modality).
        most_voxels: radius in voxels beyond which nothing is compared, however fine the grid: it bounds the time.
        reduction: images and probabilities are averaged over so many voxels along each axis first, the axes that are
            coarser than the finest by that factor left as they are.
    """

    radius_mm: float = 5.0
    sigma_mm: float = 6.0
    sigma_intensity: float = 0.5
    most_voxels: int = 5
    reduction: int = 1


def gated_crf(
    probabilities: Tensor,
    image: Tensor,
    spacing_mm: tuple[float, ...],
    neighbourhood: Neighbourhood,
    *,
    seen: Tensor | None = None,
) -> Tensor:
    """Σ_ij k_ij (1 - p_i · p_j) / (N Σ_j exp(-|x_i - x_j|² / 2σ_x²)), averaged over questions; a scalar in [0, 1].

    N counts voxels (of all samples), pairs are those inside the patch, and the sum in the denominator runs over a whole
    neighbourhood: the value is the mean share of a voxel's alike neighbours that are called something else, and does
    not grow with the radius or the number of axes. 0 where all are surely the same. Memory does not grow with the
    radius either: about four tensors of the size of ``probabilities``. The energy is quadratic,
    E = c - p · W p with W symmetric, so its gradient -2 W p falls out of the same loop over half of the offsets, and
    nothing needs to be kept for a backward pass. (There is no second derivative.)

    Args:
        probabilities: (B, G, K, *S).
        image: (B, M, *S); no gradient reaches it.
        spacing_mm: of S.
        seen: (B, M, *S) or (B, M, *1) bool; where a modality sees anything. Of a pair, only modalities that see both
            voxels are compared; two voxels that none sees together are no pair.
    """
    with torch.autocast(probabilities.device.type, enabled=False):
        steps = _steps(spacing_mm, neighbourhood.reduction, tuple(probabilities.shape[3:]))
        spacing = tuple(mm * step for mm, step in zip(spacing_mm, steps, strict=True))
        offsets = half_offsets(spacing, neighbourhood)
        p = _reduced(full_precision(probabilities).flatten(1, 2), steps)
        with torch.no_grad():
            view = _View.of(image.to(p.dtype), seen, steps)
            linked, links = _links(p, view, offsets, neighbourhood.sigma_intensity)
        pairs = p[:, 0].numel() * 2 * sum(nearness for _, nearness in offsets)
        energy = links - ((2 * p - p.detach()) * linked).sum() / probabilities.shape[1]
        return energy / pairs


@lru_cache(maxsize=64)
def half_offsets(spacing_mm: tuple[float, ...], neighbourhood: Neighbourhood) -> tuple[tuple[Offset, float], ...]:
    """One of every two opposite offsets within the radius, in voxels, with its exp(-|x|² / 2σ_x²)."""
    radius = max(neighbourhood.radius_mm, min(spacing_mm)) * (1 + 1e-6)
    reaches = [min(neighbourhood.most_voxels, int(radius / step)) for step in spacing_mm]
    found = []
    for offset in itertools.product(*(range(-reach, reach + 1) for reach in reaches)):
        far = math.sqrt(sum((voxels * step) ** 2 for voxels, step in zip(offset, spacing_mm, strict=True)))
        if far <= radius and offset > (0,) * len(offset):
            found.append((offset, math.exp(-(far**2) / (2 * neighbourhood.sigma_mm**2))))
    return tuple(found)


@dataclass(frozen=True)
class _View:
    """What modalities show, (B, M, *S), 0 where they see nothing, and where they see, the same or (B, M, *1) bool."""

    image: Tensor
    seen: Tensor | None

    @classmethod
    def of(cls, image: Tensor, seen: Tensor | None, steps: tuple[int, ...]) -> _View:
        """The view at the resolution that is ``steps`` times lower; a voxel is seen where all of it was."""
        if seen is None:
            return cls(_reduced(image, steps), None)
        small = _reduced(torch.where(seen, image, 0.0), steps)
        if seen.shape[2:] != image.shape[2:]:
            return cls(small, seen)
        return cls(small, _reduced(seen.to(image.dtype), steps) > 1 - 1e-3)

    def likeness(self, here: tuple[slice, ...], there: tuple[slice, ...], sigma: float) -> Tensor:
        """exp(-|I_i - I_j|² / 2σ_I²), (B, 1, *P), of pairs; 0 where no modality sees both."""
        squares = (self.image[here] - self.image[there]).square_()
        if self.seen is None:
            return squares.sum(1, keepdim=True).mul_(-1 / (2 * sigma**2)).exp_()
        whole = self.seen.shape[2:] != self.image.shape[2:]
        both = self.seen if whole else self.seen[here] & self.seen[there]
        like = (squares * both).sum(1, keepdim=True).mul_(-1 / (2 * sigma**2)).exp_()
        return like * both.any(1, keepdim=True)


def _links(p: Tensor, view: _View, offsets: tuple[tuple[Offset, float], ...], sigma: float) -> tuple[Tensor, Tensor]:
    """W p (B, A, *S) and Σ_ij k_ij, a scalar."""
    linked, links = torch.zeros_like(p), torch.zeros((), dtype=p.dtype, device=p.device)
    for offset, nearness in offsets:
        here, there = _pair(offset, tuple(p.shape[2:]))
        kernel = view.likeness(here, there, sigma).mul_(nearness)
        linked[here].addcmul_(p[there], kernel)
        linked[there].addcmul_(p[here], kernel)
        links += 2 * kernel.sum()
    return linked, links


def _pair(offset: Offset, size: tuple[int, ...]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Indices of all voxels that have a neighbour at ``offset`` inside the patch, and of these neighbours."""
    here = [slice(max(0, -step), max(0, length - max(0, step))) for step, length in zip(offset, size, strict=True)]
    there = [slice(max(0, step), max(0, length - max(0, -step))) for step, length in zip(offset, size, strict=True)]
    return (slice(None), slice(None), *here), (slice(None), slice(None), *there)


def _steps(spacing_mm: tuple[float, ...], reduction: int, size: tuple[int, ...]) -> tuple[int, ...]:
    """Voxels that become one, per axis: none along an axis that is that coarse already, or that they do not divide."""
    finest = min(spacing_mm)
    return tuple(
        reduction if mm < finest * reduction and length % reduction == 0 else 1
        for mm, length in zip(spacing_mm, size, strict=True)
    )


def _reduced(values: Tensor, steps: tuple[int, ...]) -> Tensor:
    """Means over blocks of ``steps`` voxels."""
    return values if max(steps) == 1 else AVERAGES[len(steps)](values, steps, steps)
