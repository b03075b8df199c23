"""What is scored, and by which rules: regions, the tolerance of NSD per class, lesions."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field, NonNegativeFloat

from autofuse.dataset.types import LabelClass, Labels
from autofuse.foundation.errors import UsageError
from autofuse.foundation.values import Value

TOLERANCE_MM = 1.0
"""Default tolerance of NSD."""

BRATS_DISTANCE_MM = 374.0
"""What BraTS 2023 counts for a lesion that is missed or made up: the diagonal of its 240 x 240 x 155 mm volumes."""


class LesionRule(Value):
    """How lesions are told apart and counted.

    Attributes:
        name: which published rule it is, or what it was derived from.
        dilation: steps, in voxels with 18 neighbours, by which true lesions are dilated before those that touch count
            as one, and before a predicted component is asked whether it touches them.
        volume_mm3: true lesions up to this volume count for nothing.
        distance_mm: HD95 of a lesion that is missed or made up; None takes the diagonal of the image.
    """

    name: str = "plain"
    dilation: int = Field(default=0, ge=0, le=50)
    volume_mm3: float = Field(default=0.0, ge=0)
    distance_mm: float | None = Field(default=None, gt=0)


def _brats(name: str, dilation: int, volume_mm3: float) -> LesionRule:
    return LesionRule(name=name, dilation=dilation, volume_mm3=volume_mm3, distance_mm=BRATS_DISTANCE_MM)


LESION_RULES: dict[str, LesionRule] = {
    rule.name: rule
    for rule in (
        LesionRule(),
        _brats("brats-gli", 3, 50.0),
        _brats("brats-ssa", 3, 50.0),
        _brats("brats-ped", 3, 50.0),
        _brats("brats-men", 1, 50.0),
        _brats("brats-met", 1, 2.0),
    )
}
"""Published rules by name: BraTS 2023 per task, as its organisers announced them (synapse.org, syn51156910, discussion
10357); "plain" takes connected components as they are."""


class Scoring(Value):
    """What is scored, and how.

    Attributes:
        regions: unions of label values that are scored instead of the labels' own classes; empty for those.
        tolerance_mm: of NSD; tolerances_mm: of single classes or regions, by name.
        lesions: also score lesion by lesion; None for whole structures only.
    """

    regions: tuple[LabelClass, ...] = ()
    tolerance_mm: float = Field(default=TOLERANCE_MM, ge=0)
    tolerances_mm: dict[str, NonNegativeFloat] = Field(default_factory=dict)
    lesions: LesionRule | None = None

    def classes(self, labels: Labels) -> tuple[LabelClass, ...]:
        """What is scored in masks with these labels, in order."""
        return self.regions or labels.classes

    def tolerance_of(self, name: str) -> float:
        """The NSD tolerance of the class or region called ``name``, in mm."""
        return self.tolerances_mm.get(name, self.tolerance_mm)


def require_scorable(scoring: Scoring, labels: Labels) -> None:
    """Nothing, if every region and every tolerance has something to refer to.

    Raises:
        UsageError: naming what does not exist or stands there twice.
    """
    names = [item.name for item in scoring.classes(labels)]
    known = set(labels.raw_values)
    for region in scoring.regions:
        unknown = sorted(set(region.raw_values) - known)
        if unknown:
            raise UsageError(
                f"Region {region.name} has values that the data set does not declare as labels.",
                found=_listed(unknown),
                expected=f"some of {_listed(labels.raw_values)}",
                remedy=f"Declared are: {'; '.join(_described(item) for item in labels.classes)}.",
            )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError("Two regions have the same name.", found=", ".join(twice))
    strangers = sorted(set(scoring.tolerances_mm) - set(names))
    if strangers:
        raise UsageError(
            "A tolerance is given for something that is not scored.",
            found=", ".join(strangers),
            expected=f"some of {', '.join(names)}",
        )


def _described(item: LabelClass) -> str:
    return f"{item.name} = {_listed(item.raw_values)}"


def _listed(values: Iterable[int]) -> str:
    return ", ".join(map(str, values))
