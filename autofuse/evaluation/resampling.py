"""Means of resampled subjects: what every interval and every rank's stability is read off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
_BLOCK = 500
"""Resamples drawn at a time, to bound the memory; the draws do not depend on it."""

Numbers = NDArray[np.float64]


def by_subject(values: Mapping[str, float], subjects: Mapping[str, str]) -> dict[str, list[float]]:
    """The values of each subject's cases, in the order of the cases' ids; a case without a subject is one itself."""
    groups: dict[str, list[float]] = {}
    for case in sorted(values):
        groups.setdefault(subjects.get(case, case), []).append(values[case])
    return groups


def resampled_means(sums: Numbers, counts: Numbers, resamples: int, seed: int) -> Numbers:
    """Means over the cases of as many subjects as there are, drawn with replacement (cluster bootstrap).

    Subjects bring all their cases, because two scans of one person are not two opinions. The same numbers give the same
    means.

    Args:
        sums: (subjects,) or (subjects, columns), over each subject's cases.
        counts: (subjects,) cases of each.

    Returns:
        (resamples,) or (resamples, columns).
    """
    generator = np.random.default_rng(seed)
    means = np.empty((resamples, *sums.shape[1:]))
    for start in range(0, resamples, _BLOCK):
        rows = min(_BLOCK, resamples - start)
        drawn = generator.integers(0, counts.size, size=(rows, counts.size))
        cases = counts[drawn].sum(axis=1)
        means[start : start + rows] = sums[drawn].sum(axis=1) / cases.reshape(rows, *[1] * (sums.ndim - 1))
    return means


def bounds(means: Numbers, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Percentiles that leave out as much on either side."""
    tail = 50 * (1 - confidence)
    low, high = np.percentile(means, [tail, 100 - tail])
    return float(low), float(high)


def sums_and_counts(groups: Sequence[Sequence[float]]) -> tuple[Numbers, Numbers]:
    """Per subject the sum of its values, and how many there are."""
    sums = np.array([sum(group) for group in groups], dtype=np.float64)
    return sums, np.array([len(group) for group in groups], dtype=np.float64)
