"""Scores of fused images: per case and row (the fused image, each trivial fusion), and over cases."""

from __future__ import annotations

from typing import ClassVar

from autofuse.evaluation.paired import PairedInterval
from autofuse.evaluation.types import Failure, Statistic
from autofuse.foundation.values import StoredValue, Value

METRICS = (
    "entropy",
    "standard_deviation",
    "spatial_frequency",
    "mutual_information",
    "scd",
    "vif",
    "qabf",
    "ssim",
)
"""Fields of ``FusionScore`` that are averaged over cases. Of all of them, larger is taken for better."""
DICE = "dice"
FUSED = "fused"
"""Name of the row of the images that are judged; all other rows are trivial fusions."""


class SourceScore(Value):
    """The fused image with one source; None where a score is not defined."""

    source: str
    mutual_information: float
    vif: float | None
    ssim: float | None


class FusionScore(Value):
    """One image of one case; None where a score is not defined. Units and sources: documentation/reference/metrics.md.

    Attributes:
        mutual_information, vif: summed over the sources; ssim: their mean.
        background_share: of the voxels that have the most frequent grey level.
        sources: one by one.
        doubt: why the entropy cannot be right or shows more than the sources do; None where nothing is wrong.
    """

    entropy: float
    standard_deviation: float
    spatial_frequency: float
    mutual_information: float
    scd: float
    vif: float | None
    qabf: float | None
    ssim: float | None
    background_share: float
    sources: tuple[SourceScore, ...]
    doubt: str | None = None


class CaseFusion(StoredValue):
    """Scores of one case.

    Attributes:
        made_from: hash of what decides them: the images, the fused file, the windows, the way of computing.
        background_share: of the voxels that are background in every source.
        entropy_ceiling: the most bits that an image has which is constant there.
        rows: by name, the fused image first.
        warnings: what was odd but could be used.
    """

    kind: ClassVar[str] = "fusion_case"

    case: str
    subject: str
    made_from: str
    background_share: float
    entropy_ceiling: float
    rows: dict[str, FusionScore]
    warnings: tuple[str, ...] = ()


class CaseDice(StoredValue):
    """What the segmenter makes of every row of one case.

    Attributes:
        folds: the segmenter's folders that saw nothing of this subject; their mean was used.
        dice: by row, the mean over the classes; None where the truth is empty and so is the mask.
    """

    kind: ClassVar[str] = "fusion_dice"

    case: str
    made_from: str
    folds: tuple[str, ...]
    dice: dict[str, float | None]


class Flag(Value):
    """An entropy that cannot be right, or shows more than the sources do."""

    case: str
    row: str
    reason: str


class Lead(Value):
    """The fused images against the trivial fusion that is best in one metric.

    Attributes:
        rival: the best of the trivial fusions by its mean over the cases.
        gain: fused - rival over the cases where both are defined, drawn by subjects.
    """

    metric: str
    rival: str
    gain: PairedInterval


class Segmented(Value):
    """The segmenter's part.

    Attributes:
        segmenter: folder of the run, absolute; modality: the one that it was trained on.
        counted: case -> the folds that were used on it.
        left_out: case -> why it has no Dice.
    """

    segmenter: str
    modality: str
    counted: dict[str, tuple[str, ...]]
    left_out: dict[str, str]


class FusionScores(StoredValue):
    """Scores of a folder of fused images beside the trivial fusions.

    Attributes:
        dataset: whose sources they are; fused: the folder of fused images, None where only trivial fusions are scored.
        stretch: how rows are brought to [0, 1]: "own" (each by its own percentiles) or "declared" (a window was given).
        cases: by id; rows: per row and metric, summed up over cases.
        leads: per metric, against the best trivial fusion; empty without fused images.
        flags: entropies that cannot be right.
        failed: cases without a score; they are in no mean.
    """

    kind: ClassVar[str] = "fusion_scores"

    dataset: str
    fused: str | None
    stretch: str
    cases: tuple[CaseFusion, ...]
    dice: tuple[CaseDice, ...] = ()
    rows: dict[str, dict[str, Statistic]]
    leads: tuple[Lead, ...] = ()
    flags: tuple[Flag, ...] = ()
    segmented: Segmented | None = None
    failed: tuple[Failure, ...] = ()
