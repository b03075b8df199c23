"""What may be told of a data set: a fingerprint without its cases, scores without theirs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from autofuse.evaluation.types import Scores
from autofuse.fingerprint.types import Fingerprint
from autofuse.sharing.types import DataSummary, HeldOutScores, Range


def summarise_data(fingerprint: Fingerprint) -> DataSummary:
    """Counts, ranges and medians over all cases."""
    cases, names = fingerprint.cases, fingerprint.modalities
    patterns = tuple(
        (tuple(name for name, here in zip(names, present, strict=True) if here), count)
        for present, count in fingerprint.patterns
    )
    return DataSummary(
        cases=len(cases),
        subjects=len({case.subject for case in cases}),
        annotation=dict(sorted(Counter(case.annotation for case in cases).items())),
        modalities=names,
        missing_rates=fingerprint.missing_rates,
        patterns=patterns,
        spacing_mm=_per_axis([case.spacing_mm for case in cases]),
        shape=_per_axis([case.shape for case in cases]),
        intensities=fingerprint.intensities,
        classes=fingerprint.classes,
    )


def summarise_scores(scores: Scores) -> HeldOutScores | None:
    """What ``scores`` say over all cases, without the cases; None where none was scored."""
    if not scores.cases:
        return None
    return HeldOutScores(
        cases=len(scores.cases),
        subjects=scores.subjects,
        overall=scores.overall,
        mean_dice=scores.mean_dice,
        classes=scores.classes,
        tolerance_mm=scores.tolerance_mm,
    )


def _per_axis(rows: Sequence[tuple[float, ...]]) -> tuple[Range, Range, Range]:
    table = np.array(rows, dtype=np.float64)
    low, middle, high = table.min(axis=0), np.median(table, axis=0), table.max(axis=0)
    z, y, x = ((float(low[axis]), float(middle[axis]), float(high[axis])) for axis in range(3))
    return z, y, x
