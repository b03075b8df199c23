"""Fusion metrics that look at voxels one by one: entropy, standard deviation, mutual information, SCD; and the spatial
frequency, which looks at neighbours.

All take images in [0, 1], (y, x) or (z, y, x). The first four pool all voxels of a volume (truly 3D); the spatial
frequency looks at neighbours within slices and pools the slices. Larger is taken for better; whether it is better for
anybody is another question (see documentation/how-to/judge_fused_images.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from autofuse.evaluation.fusion.greys import LEVELS, WHITE, Unit, histogram, require_alike, slices, to_levels

_FLAT = 1e-12
"""Variance of an image in [0, 1] below which it is constant."""


def entropy(image: Unit) -> float:
    """Bits per voxel, - sum p log2 p over the shares p of 256 grey levels; 0 (constant) to 8.

    Source: Shannon 1948, doi 10.1002/j.1538-7305.1948.tb01338.x; for fused images Roberts et al. 2008,
    doi 10.1117/1.2945910.
    """
    require_alike([image])
    return _bits(histogram(image))


def standard_deviation(image: Unit) -> float:
    """Population standard deviation of all voxels, in grey levels: 0 (constant) to 127.5."""
    require_alike([image])
    mean = float(image.mean(dtype=np.float64))
    squares = sum(float(np.square(plane - mean).sum()) for plane in slices(image))
    return WHITE * float(np.sqrt(squares / image.size))


def spatial_frequency(image: Unit, slice_axis: int = 0) -> float:
    """sqrt(RF² + CF²) in grey levels: RF² and CF² are the sums of squared differences of neighbours along the rows and
    along the columns of slices, divided by the number of voxels.

    Source: Eskicioglu & Fisher 1995, doi 10.1109/26.477498; for fused images Li et al. 2001,
    doi 10.1016/S1566-2535(01)00038-0. Volumes: squares are pooled over the slices across ``slice_axis``.
    """
    require_alike([image])
    total = sum(
        float(np.square(np.diff(plane, axis=0)).sum() + np.square(np.diff(plane, axis=1)).sum())
        for plane in slices(image, slice_axis)
    )
    return WHITE * float(np.sqrt(total / image.size))


def mutual_information(fused: Unit, source: Unit) -> float:
    """Bits that the fused image's 256 grey levels tell about the source's: H(F) + H(S) - H(F, S).

    At most the smaller of both entropies; a copy reaches it. From finite numbers of voxels it comes out too large, by
    about (occupied pairs of levels) / (2 ln 2 · voxels).

    Source: Qu, Zhang & Yan 2002, doi 10.1049/el:20020212; the table's score is the sum over the sources.
    """
    require_alike([fused, source])
    counts = np.zeros(LEVELS * LEVELS, np.int64)
    for plane, own in zip(slices(fused), slices(source), strict=True):
        pairs = to_levels(plane).astype(np.int32) * LEVELS + to_levels(own)
        counts += np.bincount(pairs.reshape(-1), minlength=LEVELS * LEVELS)
    joint = counts.reshape(LEVELS, LEVELS)
    return max(0.0, _bits(joint.sum(axis=1)) + _bits(joint.sum(axis=0)) - _bits(joint.reshape(-1)))


def sum_of_correlations_of_differences(fused: Unit, sources: Sequence[Unit]) -> float:
    """SCD: the sum over the sources of r(F - O, S), O being the mean of the other sources; -M to M.

    r is the correlation coefficient over all voxels, 0 where one of both is constant. With two sources O is the other
    source, as published; for more (O their mean) and for one (O = 0) the extension is ours.

    Source: Aslantas & Bendes 2015, doi 10.1016/j.aeue.2015.09.004.
    """
    require_alike([fused, *sources])
    others = max(1, len(sources) - 1)
    sums = np.zeros((len(sources), 5))
    for plane, *owns in zip(*(slices(image) for image in (fused, *sources)), strict=True):
        total = np.sum(owns, axis=0)
        for number, own in enumerate(owns):
            rest = plane - (total - own) / others
            sums[number] += [part.sum() for part in (rest, own, rest * rest, own * own, rest * own)]
    return sum(_correlation(*row / fused.size) for row in sums)


def _bits(counts: NDArray[np.int64]) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum()) + 0.0


def _correlation(one: float, other: float, one_squared: float, other_squared: float, product: float) -> float:
    """The correlation coefficient from means; 0 where one of both is constant, but for rounding."""
    variances = one_squared - one * one, other_squared - other * other
    return float((product - one * other) / np.sqrt(variances[0] * variances[1])) if min(variances) > _FLAT else 0.0
