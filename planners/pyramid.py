"""How a patch is pooled: strides and kernels stage by stage, and the sizes that this asks of the patch."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from autofuse.plan.types import NetworkPlan, Sizes
from autofuse_planners.thresholds import Thresholds


@dataclass(frozen=True)
class Pyramid:
    """The resolutions of a U-Net for one patch, highest first; two or three axes, slowest first.

    Attributes:
        patch: voxels per axis, a multiple of ``multiple`` on each.
        multiple: product of the strides per axis.
    """

    patch: Sizes
    strides: tuple[Sizes, ...]
    kernels: tuple[Sizes, ...]
    multiple: Sizes

    @property
    def voxels(self) -> int:
        """Voxels of the patch."""
        return prod(self.patch)


def pyramid_for(size: Sizes, spacing_mm: tuple[float, ...], rules: Thresholds) -> Pyramid:
    """The pyramid of a patch of at least ``size`` voxels at ``spacing_mm`` (nnU-Net's rule 4).

    Axes as fine as the finest are halved first; a coarser one joins when the others have come near its spacing, and is
    convolved (kernel 3 instead of 1) from then on.
    """
    axes = range(len(size))
    spacing, left, multiple = list(spacing_mm), list(size), [1] * len(size)
    kernel = [1 for _ in axes]
    strides: list[Sizes] = [tuple(1 for _ in axes)]
    kernels: list[Sizes] = []
    while True:
        finest = min(spacing)
        kernel = [3 if kernel[axis] == 3 or spacing[axis] < rules.same_spacing * finest else 1 for axis in axes]
        pooled = _poolable(left, spacing, rules)
        if not pooled:
            break
        kernels.append(tuple(kernel))
        strides.append(tuple(2 if axis in pooled else 1 for axis in axes))
        for axis in pooled:
            spacing[axis] *= 2
            left[axis] = -(-left[axis] // 2)
            multiple[axis] *= 2
    # The lowest stage sees all axes, as in nnU-Net; an axis of one voxel has nothing to convolve.
    kernels.append(tuple(3 if len(strides) > 1 else width for width in kernel))
    kernels = [tuple(1 if size[axis] == 1 else width for axis, width in enumerate(stage)) for stage in kernels]
    patch = tuple(-(-size[axis] // multiple[axis]) * multiple[axis] for axis in axes)
    return Pyramid(patch, tuple(strides), tuple(kernels), tuple(multiple))


def _poolable(left: list[int], spacing: list[float], rules: Thresholds) -> list[int]:
    """Axes that the next stage halves."""
    large = [axis for axis in range(len(left)) if left[axis] >= 2 * rules.min_feature_map]
    if not large:
        return []
    finest = min(spacing[axis] for axis in large)
    pooled = [axis for axis in large if spacing[axis] < rules.same_spacing * finest]
    if len(pooled) == 1 and left[pooled[0]] < 3 * rules.min_feature_map:
        return []
    return pooled


def network_for(pyramid: Pyramid, width: int, encoder: str, rules: Thresholds, dropout: float = 0.0) -> NetworkPlan:
    """The U-Net on ``pyramid`` whose first stage has ``width`` channels, doubling to a cap (nnU-Net's rule 5).

    The cap falls with the width, so that a narrow network is narrow at every stage.
    """
    stages = len(pyramid.strides)
    most = rules.max_features_3d if len(pyramid.patch) == 3 else rules.max_features_2d
    cap = most * width // rules.widths[0]
    features = tuple(min(width * 2**stage, cap) for stage in range(stages))
    if encoder == "residual":
        deeper = rules.residual_blocks[-1]
        blocks = (*rules.residual_blocks, *(deeper,) * stages)[:stages]
        decoder = (rules.residual_decoder_blocks,) * (stages - 1)
    else:
        blocks, decoder = (rules.plain_blocks,) * stages, (rules.plain_blocks,) * (stages - 1)
    return NetworkPlan(
        encoder="residual" if encoder == "residual" else "plain",
        features=features,
        kernels=pyramid.kernels,
        strides=pyramid.strides,
        blocks=blocks,
        decoder_blocks=decoder,
        modality_dropout=dropout,
    )
