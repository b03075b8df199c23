"""Scores of segmentations: per case and class, and summed up over cases."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from autofuse.dataset.types import LabelClass
from autofuse.evaluation.scoring import LesionRule
from autofuse.foundation.values import StoredValue, Value, is_empty

METRICS = ("dice", "nsd", "hd95_mm", "hd95_max_mm", "volume_difference_ml", "volume_difference_relative")
"""Numbers that are averaged over cases, by their names as fields of ``ClassScore``."""

LESION_METRICS = ("lesion_dice", "lesion_hd95_mm", "lesion_f1")
"""The same, where lesions are scored one by one."""

Status = Literal["scored", "missed", "false_positive", "absent"]


class Lesion(Value):
    """A true lesion with the predicted components that match it, or a predicted component that matches none.

    Attributes:
        kind: whether it was found, missed, or made up.
        counts: False for a true lesion that is too small for the rule; it is in no mean and in no count.
        centre: voxel (z, y, x) in the middle of its bounding box.
        volume_reference_ml, volume_prediction_ml: of the true lesion; of the components that match it.
        dice: of the two; hd95_mm: the larger directed 95th percentile, or the rule's distance.
    """

    kind: Literal["found", "missed", "false_positive"]
    counts: bool
    centre: tuple[int, int, int]
    volume_reference_ml: float
    volume_prediction_ml: float
    dice: float
    hd95_mm: float


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
        lesion_dice, lesion_hd95_mm: means over lesions and false positives; 1 and 0 where there are neither.
        lesion_tp, lesion_fn, lesion_fp: true lesions found and missed, predicted components that match none.
        lesion_f1: 2 tp / (2 tp + fp + fn) of these; None where there are none. All are None where not asked for.
        lesions: one by one.
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
    lesion_dice: float | None = None
    lesion_hd95_mm: float | None = None
    lesion_tp: int | None = None
    lesion_fn: int | None = None
    lesion_fp: int | None = None
    lesion_f1: float | None = None
    lesions: tuple[Lesion, ...] = ()
    note: str | None = None


class CaseScore(Value):
    """One case: a row per class or region, in the labels' order.

    Attributes:
        case: its id; the name of the mask where each modality has one.
        labelled_fraction: of the voxels; less than 1 for a sparse reference.
        diagonal_mm: of the image; no distance in it is longer.
        modality: whose mask it is, where each modality has its own; "" otherwise.
    """

    case: str
    labelled_fraction: float
    diagonal_mm: float
    classes: tuple[ClassScore, ...]
    modality: str = Field(default="", exclude_if=is_empty)

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


class Detection(Value):
    """Lesions of all cases together: true ones found and missed, predicted components that match none."""

    tp: int
    fn: int
    fp: int
    f1: float | None


class ClassSummary(Value):
    """One class or region over all cases, and how often it was absent, missed or falsely found."""

    name: str
    n_cases: int
    n_empty: int
    n_missed: int
    n_false_positive: int
    statistics: dict[str, Statistic]
    detection: Detection | None = None


class ModalitySummary(Value):
    """The masks of one modality, where each has its own: how many, and their Dice as ``Scores`` has it of all."""

    name: str
    masks: int
    overall: Statistic
    mean_dice: float | None


class Failure(Value):
    """A case that could not be scored, and why."""

    case: str
    problem: str


class Scores(StoredValue):
    """Scores of a folder of masks.

    Attributes:
        labels_digest: hash of the labels that the masks were read with.
        regions: what was scored instead of the labels' own classes; empty for those.
        tolerance_mm: of NSD, per class or region.
        lesions: the rule by which lesions were scored one by one, if they were.
        cases: by id; classes: summed up, in the labels' order.
        overall: mean over each case's classes, summed up over cases.
        mean_dice: mean over classes of the mean over cases (nnU-Net's "foreground mean"); None if nothing was scored.
        failed: cases without a score; they are in no mean.
        subjects: persons whom the cases come from; intervals are drawn over them.
        bootstrap_seed, bootstrap_samples: what the intervals were drawn with.
        modalities: where each modality has masks of its own, the same of each alone; () otherwise.
    """

    kind: ClassVar[str] = "scores"
    schema_number: ClassVar[int] = 2

    labels_digest: str
    regions: tuple[LabelClass, ...] = ()
    tolerance_mm: dict[str, float]
    lesions: LesionRule | None = None
    cases: tuple[CaseScore, ...]
    classes: tuple[ClassSummary, ...]
    overall: Statistic
    mean_dice: float | None
    failed: tuple[Failure, ...] = ()
    subjects: int
    bootstrap_seed: int
    bootstrap_samples: int = Field(ge=1)
    modalities: tuple[ModalitySummary, ...] = Field(default=(), exclude_if=is_empty)
