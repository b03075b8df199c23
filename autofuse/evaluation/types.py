"""Scores of segmentations: per case and class, and summed up over cases."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from autofuse.foundation.values import StoredValue, Value

METRICS = ("dice", "nsd", "hd95_mm", "hd95_max_mm", "volume_difference_ml", "volume_difference_relative")
"""Numbers that are averaged over cases, by their names as fields of ``ClassScore``."""

Status = Literal["scored", "missed", "false_positive", "absent"]


class ClassScore(Value):
    """One class or region of one case. None (null in JSON) means that the number is not defined there.

    Attributes:
        status: "scored" (reference and prediction have the class), "missed" (only the reference has it),
            "false_positive" (only the prediction), "absent" (neither; nothing is scored).
        tp, fp, fn: labelled voxels.
        dice: 2 tp / (2 tp + fp + fn); None when absent.
        nsd: share of both surfaces that lies within the tolerance of the other; 0 when missed or false positive.
        hd95_mm: 95th percentile of the distances of both directions, pooled.
        hd95_max_mm: the larger of the two directed 95th percentiles.
        volume_difference_ml: predicted - reference; relative: the same / reference, None where that is empty.
        note: why a number is None that one would expect.
    """

    name: str
    status: Status
    tp: int
    fp: int
    fn: int
    dice: float | None
    nsd: float | None
    hd95_mm: float | None
    hd95_max_mm: float | None
    volume_reference_ml: float
    volume_prediction_ml: float
    volume_difference_ml: float | None
    volume_difference_relative: float | None
    note: str | None = None


class CaseScore(Value):
    """One case: a row per class or region, in the labels' order. ``labelled_fraction`` < 1: a sparse reference."""

    case: str
    labelled_fraction: float
    classes: tuple[ClassScore, ...]

    @property
    def mean_dice(self) -> float | None:
        """Mean over the classes that are not absent; None if all are."""
        defined = [item.dice for item in self.classes if item.dice is not None]
        return sum(defined) / len(defined) if defined else None


class Statistic(Value):
    """One number over the cases where it is defined; ``low`` and ``high`` bound the mean (95 %, bootstrap)."""

    n: int
    mean: float | None = None
    median: float | None = None
    std: float | None = None
    low: float | None = None
    high: float | None = None


class ClassSummary(Value):
    """One class or region over all cases, and how often it was absent, missed or falsely found."""

    name: str
    n_cases: int
    n_empty: int
    n_missed: int
    n_false_positive: int
    statistics: dict[str, Statistic]


class Failure(Value):
    """A case that could not be scored, and why."""

    case: str
    problem: str


class Scores(StoredValue):
    """Scores of a folder of masks.

    Attributes:
        labels_digest: hash of the labels that the masks were read with.
        tolerance_mm: of NSD, per class.
        cases: by id; classes: summed up, in the labels' order.
        overall: mean over each case's classes, summed up over cases.
        mean_dice: mean over classes of the mean over cases (nnU-Net's "foreground mean"); None if nothing was scored.
        failed: cases without a score; they are in no mean.
        bootstrap_seed, bootstrap_samples: what the intervals were drawn with.
    """

    kind: ClassVar[str] = "scores"

    labels_digest: str
    tolerance_mm: dict[str, float]
    cases: tuple[CaseScore, ...]
    classes: tuple[ClassSummary, ...]
    overall: Statistic
    mean_dice: float | None
    failed: tuple[Failure, ...] = ()
    bootstrap_seed: int
    bootstrap_samples: int = Field(ge=1)
