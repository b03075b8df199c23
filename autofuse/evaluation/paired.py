"""Two methods on the same cases: how much better one is, and between which bounds, by resampling whole subjects."""

from __future__ import annotations

from collections.abc import Mapping

from autofuse.evaluation.resampling import CONFIDENCE, bounds, by_subject, resampled_means, sums_and_counts
from autofuse.foundation.errors import DataError
from autofuse.foundation.values import Value

RESAMPLES = 10_000
SEED = 12345


class PairedInterval(Value):
    """Mean over cases of (second - first), and the percentile bootstrap interval of that mean."""

    cases: int
    subjects: int
    difference: float
    lower: float
    upper: float


def paired_differences(first: Mapping[str, float | None], second: Mapping[str, float | None]) -> dict[str, float]:
    """Per case that both hold: second - first.

    None is a case where reference and mask are empty. Where the other method found something there, None counts as 1,
    so that a false alarm costs; where both are None, there is nothing to compare and the case is left out.
    """
    differences = {}
    for case in sorted(first.keys() & second.keys()):
        before, after = first[case], second[case]
        if before is None and after is None:
            continue
        differences[case] = (1.0 if after is None else after) - (1.0 if before is None else before)
    return differences


def paired_bootstrap(
    differences: Mapping[str, float],
    subjects: Mapping[str, str],
    *,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = SEED,
) -> PairedInterval:
    """The mean of ``differences`` with its interval; the same numbers give the same interval.

    Subjects are drawn with replacement and bring all their cases (cluster bootstrap), because two scans of one person
    are not two opinions.

    Args:
        differences: by case id.
        subjects: case id -> subject; a case that is not in it is a subject of its own.

    Raises:
        DataError: if there is no case.
    """
    if not differences:
        raise DataError("There is no case on which both methods can be compared.")
    groups = by_subject(differences, subjects)
    sums, counts = sums_and_counts(list(groups.values()))
    lower, upper = bounds(resampled_means(sums, counts, resamples, seed), confidence)
    return PairedInterval(
        cases=len(differences),
        subjects=len(groups),
        difference=float(sums.sum() / counts.sum()),
        lower=lower,
        upper=upper,
    )
