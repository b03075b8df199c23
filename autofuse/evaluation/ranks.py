"""Ranks as challenges make them: within each case, over all classes and metrics, then the mean over cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from autofuse.evaluation.comparable import Values
from autofuse.evaluation.comparison_types import Ranked
from autofuse.evaluation.resampling import bounds, by_subject, resampled_means

_ROUNDING = 1e-9
"""Mean ranks that are closer than this are equal."""


def case_ranks(values: Sequence[Values], folders: int) -> dict[str, NDArray[np.float64]]:
    """Per case the rank of each folder, 1 the best, averaged over the classes and metrics that can be compared there.

    Equal numbers share the mean of their ranks.

    Returns:
        case id -> (folders,).
    """
    from scipy.stats import rankdata

    found: dict[str, list[NDArray[np.float64]]] = {}
    for item in values:
        sign = -1.0 if item.metric.higher_is_better else 1.0
        for case, numbers in item.by_case.items():
            found.setdefault(case, []).append(rankdata(sign * np.array(numbers[:folders])))
    return {case: np.mean(ranks, axis=0) for case, ranks in found.items()}


def ranking(
    values: Sequence[Values], names: Sequence[str], subjects: Mapping[str, str], *, resamples: int, seed: int
) -> tuple[Ranked, ...]:
    """Every folder with its mean rank over cases and its place, best first, and how stable both are.

    Subjects are drawn with replacement; each draw gives mean ranks and places anew.
    """
    ranks = case_ranks(values, len(names))
    if not ranks:
        return ()
    groups = list(by_subject({case: float(index) for index, case in enumerate(sorted(ranks))}, subjects).values())
    table = np.array([ranks[case] for case in sorted(ranks)])
    sums = np.array([table[np.array(group, dtype=int)].sum(axis=0) for group in groups])
    counts = np.array([len(group) for group in groups], dtype=np.float64)
    means = resampled_means(sums, counts, resamples, seed)
    drawn, own = _places(means), _places(table.mean(axis=0)[None])[0]
    rows = []
    for index, name in enumerate(names):
        lower, upper = bounds(means[:, index]) if len(groups) > 1 else (None, None)
        shares = [float(np.mean(drawn[:, index] == place)) for place in range(1, len(names) + 1)]
        rows.append(
            Ranked(
                name=name,
                place=int(own[index]),
                mean_rank=float(table[:, index].mean()),
                lower=lower,
                upper=upper,
                places=tuple(shares) if len(groups) > 1 else (),
            )
        )
    return tuple(sorted(rows, key=lambda row: (row.place, row.name)))


def _places(means: NDArray[np.float64]) -> NDArray[np.int64]:
    """(rows, folders) 1 + how many folders of the row are better."""
    better: NDArray[np.int64] = np.sum(means[:, None, :] < means[:, :, None] - _ROUNDING, axis=2)
    return 1 + better
