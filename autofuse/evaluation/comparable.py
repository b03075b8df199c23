"""Scores of several folders side by side: one number for each case and folder, the worst where a mask is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autofuse.evaluation.types import CaseScore, ClassScore, Scores
from autofuse.foundation.errors import UsageError


@dataclass(frozen=True)
class Metric:
    """A number that says which of two masks is better.

    Attributes:
        name: field of ``ClassScore``.
        title: for people.
        best, worst: the ends of its range; worst None is the longest distance there is.
    """

    name: str
    title: str
    best: float
    worst: float | None

    @property
    def higher_is_better(self) -> bool:
        """Whether more of it is better."""
        return self.worst is not None and self.best > self.worst


COMPARABLE: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("dice", "Dice", 1.0, 0.0),
        Metric("nsd", "NSD", 1.0, 0.0),
        Metric("hd95_mm", "HD95 mm", 0.0, None),
        Metric("hd95_max_mm", "HD95 (max) mm", 0.0, None),
        Metric("lesion_dice", "lesion-wise Dice", 1.0, 0.0),
        Metric("lesion_hd95_mm", "lesion-wise HD95 mm", 0.0, None),
        Metric("lesion_f1", "lesion F1", 1.0, 0.0),
    )
}
"""Metrics that folders can be compared by, by name."""

_USUAL = ("dice", "nsd", "hd95_mm")
_USUAL_LESIONS = ("lesion_dice", "lesion_hd95_mm", "lesion_f1")


@dataclass(frozen=True)
class Values:
    """One class or region and one metric: by case id a number for each folder, in their order."""

    class_name: str
    metric: Metric
    by_case: Mapping[str, tuple[float, ...]]


def chosen_metrics(names: Sequence[str] | None, *, lesions: bool) -> tuple[Metric, ...]:
    """The metrics called so, each once; the usual ones for None.

    Raises:
        UsageError: if one does not exist, or needs lesions that are not scored.
    """
    wanted = tuple(dict.fromkeys(names or (*_USUAL, *(_USUAL_LESIONS if lesions else ()))))
    unknown = [name for name in wanted if name not in COMPARABLE]
    if unknown:
        raise UsageError(
            "There is no such metric to compare by.", found=", ".join(unknown), expected=", ".join(COMPARABLE)
        )
    by_lesion = [name for name in wanted if name.startswith("lesion_")]
    if by_lesion and not lesions:
        raise UsageError("Lesions are not scored.", found=", ".join(by_lesion), remedy="Add --lesions plain.")
    return tuple(COMPARABLE[name] for name in wanted)


def comparable_values(scores: Sequence[Scores], metrics: Sequence[Metric]) -> list[Values]:
    """For every class and metric the cases that can be compared, scored alike in all folders.

    A case that a folder has no score of counts there as worst. Where the truth has the class and the mask has not, or
    the other way round, a distance counts as worst too: the diagonal of the image, or, of lesions, the rule's distance
    if that is longer. A class that neither the truth nor any mask has says nothing and is left out, and so is a
    distance to a sparse truth.

    Args:
        scores: one a folder, of the same classes.
    """
    folders = [{case.case: case for case in item.cases} for item in scores]
    cases = sorted({name for folder in folders for name in folder})
    rule, found = scores[0].lesions, []
    fixed_mm = 0.0 if rule is None or rule.distance_mm is None else rule.distance_mm
    for index, item in enumerate(scores[0].classes):
        for metric in metrics:
            rows = {case: _row([folder.get(case) for folder in folders], index, metric, fixed_mm) for case in cases}
            found.append(Values(item.name, metric, {case: row for case, row in rows.items() if row is not None}))
    return found


def _row(scores: Sequence[CaseScore | None], index: int, metric: Metric, fixed_mm: float) -> tuple[float, ...] | None:
    """A number for each folder; None where there is nothing to compare."""
    there = [score for score in scores if score is not None]
    if all(score.classes[index].status == "absent" for score in there) and len(there) == len(scores):
        return None
    longest = max(there[0].diagonal_mm, fixed_mm if metric.name == "lesion_hd95_mm" else 0.0)
    worst = longest if metric.worst is None else metric.worst
    numbers = []
    for score in scores:
        number = worst if score is None else _number(score.classes[index], score.labelled_fraction, metric, worst)
        if number is None:
            return None
        numbers.append(number)
    return tuple(numbers)


def _number(row: ClassScore, labelled_fraction: float, metric: Metric, worst: float) -> float | None:
    value: float | None = getattr(row, metric.name)
    if value is not None:
        return value
    if row.status == "absent":
        return metric.best
    if labelled_fraction < 1:
        return None
    # Without lesions to find or made up, F1 is not defined, and nothing was done wrong.
    return metric.best if metric.name == "lesion_f1" else worst
