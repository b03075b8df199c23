"""Whether paired differences are more than chance: Wilcoxon's signed-rank test, Holm's correction for many tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from autofuse.evaluation.resampling import by_subject

LEAST_SUBJECTS = 6
"""Fewer that differ cannot reach p < 0.05: all of n on one side have the two-sided probability 2 / 2^n."""


class Tested(NamedTuple):
    """A two-sided p-value, or None and the reason why there is none."""

    p: float | None
    note: str | None


def signed_rank(differences: Mapping[str, float], subjects: Mapping[str, str]) -> Tested:
    """Wilcoxon's signed-rank test on the mean difference of each subject; subjects that do not differ are left out.

    Source: Wilcoxon, Biometrics Bulletin 1 (1945), 80-83.

    Args:
        differences: by case id.
        subjects: case id -> subject; a case that is not in it is a subject of its own.
    """
    from scipy.stats import wilcoxon

    means = np.array([np.mean(group) for group in by_subject(differences, subjects).values()])
    moved = means[means != 0]
    if not moved.size:
        return Tested(None, "no subject differs")
    if moved.size < LEAST_SUBJECTS:
        few = f"{moved.size} subject{' differs' if moved.size == 1 else 's differ'}"
        return Tested(None, f"too few for a test: {few}, {LEAST_SUBJECTS} are needed")
    return Tested(float(wilcoxon(moved).pvalue), None)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values corrected for their number, in their order: the chance of any false finding among them is bounded.

    Source: Holm, Scandinavian Journal of Statistics 6 (1979), 65-70.
    """
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable").tolist()):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = highest
    return corrected
