"""Scores summed up over cases: mean, median, spread and the interval of the mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from autofuse.dataset.types import Labels
from autofuse.evaluation.metrics import TOLERANCE_MM, tolerance_of
from autofuse.evaluation.types import METRICS, CaseScore, ClassSummary, Failure, Scores, Statistic

BOOTSTRAP_SAMPLES = 2000
BOOTSTRAP_SEED = 12345
CONFIDENCE = 0.95


def summarise(
    cases: Sequence[CaseScore],
    labels: Labels,
    *,
    tolerance_mm: float | Mapping[str, float] = TOLERANCE_MM,
    failed: Sequence[Failure] = (),
) -> Scores:
    """The scores of ``cases`` with their summary; the same cases give the same value, byte for byte."""
    ordered = tuple(sorted(cases, key=lambda item: item.case))
    classes = tuple(_class_summary(index, item.name, ordered) for index, item in enumerate(labels.classes))
    means = [item.statistics["dice"].mean for item in classes]
    defined = [mean for mean in means if mean is not None]
    return Scores(
        labels_digest=labels.digest(),
        tolerance_mm={item.name: tolerance_of(tolerance_mm, item.name) for item in labels.classes},
        cases=ordered,
        classes=classes,
        overall=statistic([case.mean_dice for case in ordered]),
        mean_dice=sum(defined) / len(defined) if defined else None,
        failed=tuple(sorted(failed, key=lambda item: item.case)),
        bootstrap_seed=BOOTSTRAP_SEED,
        bootstrap_samples=BOOTSTRAP_SAMPLES,
    )


def statistic(numbers: Sequence[float | None]) -> Statistic:
    """Mean, median, sample standard deviation and bootstrap interval of the mean of the numbers that are defined."""
    values = np.array([number for number in numbers if number is not None], dtype=np.float64)
    if not values.size:
        return Statistic(n=0)
    low, high = bootstrap_interval(values) if values.size > 1 else (None, None)
    return Statistic(
        n=int(values.size),
        mean=float(values.mean()),
        median=float(np.median(values)),
        std=float(values.std(ddof=1)) if values.size > 1 else None,
        low=low,
        high=high,
    )


def bootstrap_interval(values: np.ndarray, seed: int = BOOTSTRAP_SEED) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean: cases are drawn with replacement, seeded."""
    generator = np.random.default_rng(seed)
    draws = generator.integers(0, values.size, size=(BOOTSTRAP_SAMPLES, values.size))
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(values[draws].mean(axis=1), [tail, 100 - tail])
    return float(low), float(high)


def _class_summary(index: int, name: str, cases: Sequence[CaseScore]) -> ClassSummary:
    rows = [case.classes[index] for case in cases]
    return ClassSummary(
        name=name,
        n_cases=len(rows),
        n_empty=sum(row.status == "absent" for row in rows),
        n_missed=sum(row.status == "missed" for row in rows),
        n_false_positive=sum(row.status == "false_positive" for row in rows),
        statistics={metric: statistic([getattr(row, metric) for row in rows]) for metric in METRICS},
    )
