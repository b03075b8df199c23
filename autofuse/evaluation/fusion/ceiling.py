"""The most entropy that an image can have, and why a score above that cannot be right."""

from __future__ import annotations

import numpy as np

from autofuse.evaluation.fusion.greys import LEVELS, Unit, histogram

_ROUNDING = 1e-6


def background_share(image: Unit) -> float:
    """Share of the voxels that have the image's most frequent grey level."""
    return float(histogram(image).max() / image.size)


def entropy_ceiling(share: float, levels: int = LEVELS) -> float:
    """The most bits per voxel of an image of ``levels`` grey levels, a ``share`` b of whose voxels have one of them:
    H(b) + (1 - b) log2(levels - 1).

    The other voxels then spread evenly over the other levels. For shares below 1 / levels that share forbids nothing,
    and the ceiling is log2(levels).

    Source: the grouping property of entropy, Shannon 1948, doi 10.1002/j.1538-7305.1948.tb01338.x, section 6.
    """
    if share <= 1 / levels:
        return float(np.log2(levels))
    rest = 1 - share
    of_share = -sum(part * np.log2(part) for part in (share, rest) if part > 0)
    return float(of_share + rest * np.log2(levels - 1))


def doubts(entropy: float, own_share: float, shared_background: float, levels: int = LEVELS) -> str | None:
    """Why an entropy cannot be right, or not come from what the sources show; None where nothing is wrong.

    Args:
        entropy: bits per voxel of the fused image, as it was computed or quoted.
        own_share: of its voxels that have one value.
        shared_background: share of the voxels in which every source is constant background.
    """
    ceiling = entropy_ceiling(own_share, levels)
    if entropy > ceiling + _ROUNDING:
        return (
            f"entropy {entropy:.3f} bits is more than {levels} grey levels allow where {own_share:.1%} of the voxels "
            f"have one value ({ceiling:.3f}): it was not computed from this image and these grey levels"
        )
    ceiling = entropy_ceiling(shared_background, levels)
    if entropy > ceiling + _ROUNDING:
        return (
            f"entropy {entropy:.3f} bits is more than any image has that is constant in the {shared_background:.1%} of "
            f"the voxels where every source is background ({ceiling:.3f}): part of it is texture where no source shows "
            "anything"
        )
    return None
