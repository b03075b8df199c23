"""What a comparison of folders found."""

from __future__ import annotations

from typing import ClassVar

from autofuse.dataset.types import LabelClass
from autofuse.evaluation.scoring import LesionRule
from autofuse.evaluation.types import Failure
from autofuse.foundation.values import StoredValue, Value

ALPHA = 0.05
"""Corrected p-values below this are called significant."""


class ComparedFolder(Value):
    """One folder of masks.

    Attributes:
        folder: absolute.
        scored: cases with a score.
        missing: cases that count as worst, since another folder has a score of them and this one has none.
    """

    name: str
    folder: str
    scored: int
    missing: tuple[Failure, ...] = ()


class ComparedMean(Value):
    """The mean of one folder over the cases that are compared, with its interval over subjects."""

    name: str
    class_name: str
    metric: str
    cases: int
    mean: float
    low: float | None
    high: float | None


class PairedDifference(Value):
    """Two folders on one class or region and one metric, case by case.

    Attributes:
        difference: mean over cases of (second - first), in the metric's own unit.
        lower, upper: its bootstrap interval over subjects; None with a single subject.
        better, worse, equal: cases in which the second is that, compared with the first.
        p: of Wilcoxon's signed-rank test over subjects; p_holm: corrected for all tests of the comparison.
        note: why there is no p.
    """

    first: str
    second: str
    class_name: str
    metric: str
    cases: int
    subjects: int
    first_mean: float
    second_mean: float
    difference: float
    lower: float | None
    upper: float | None
    better: int
    worse: int
    equal: int
    p: float | None
    p_holm: float | None = None
    note: str | None = None

    @property
    def significant(self) -> bool:
        """Whether the corrected p-value is below 0.05."""
        return self.p_holm is not None and self.p_holm < ALPHA


class Ranked(Value):
    """One folder's rank.

    Attributes:
        place: 1 + number of folders with a better mean rank.
        mean_rank: over cases of the mean rank over classes and metrics; 1 is best.
        lower, upper: its bootstrap interval over subjects; None with a single subject.
        places: share of the resamples in which it takes the first, the second ... place; empty with a single subject.
    """

    name: str
    place: int
    mean_rank: float
    lower: float | None
    upper: float | None
    places: tuple[float, ...]


class Comparison(StoredValue):
    """Two or more folders of masks compared on the same cases.

    Attributes:
        folders: in the order in which they were given.
        classes, metrics: names of what was compared.
        regions, tolerance_mm, lesions: how it was scored, as in ``Scores``.
        cases, subjects: that were compared.
        left_out: cases without a score in any folder.
        means: by folder, class and metric; pairs: every two folders; ranks: best first.
        tests: how many p-values Holm's correction counts.
        confidence, resamples, seed: of the intervals.
    """

    kind: ClassVar[str] = "comparison"

    dataset: str
    folders: tuple[ComparedFolder, ...]
    classes: tuple[str, ...]
    metrics: tuple[str, ...]
    regions: tuple[LabelClass, ...]
    tolerance_mm: dict[str, float]
    lesions: LesionRule | None
    cases: int
    subjects: int
    left_out: tuple[Failure, ...]
    means: tuple[ComparedMean, ...]
    pairs: tuple[PairedDifference, ...]
    ranks: tuple[Ranked, ...]
    tests: int
    confidence: float
    resamples: int
    seed: int
