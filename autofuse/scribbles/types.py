"""What was drawn: per case and class, and over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import ClassVar

from autofuse.foundation.values import StoredValue, Value
from autofuse.scribbles.options import ScribbleOptions


class ClassStrokes(Value):
    """One class of one case, background included.

    Attributes:
        name: of the class; with regions, of the raw value.
        dense_voxels: that the dense label has; scribbled_voxels: those of them that were drawn.
        share: scribbled over dense; None where the case has none.
        slices: so many slices show a stroke of it.
    """

    name: str
    dense_voxels: int
    scribbled_voxels: int
    share: float | None
    slices: int


class CaseScribbles(StoredValue):
    """The scribbles of one case.

    Attributes:
        source: hash of the files that they were made from; crc32: of the file that was written.
        axis: array axis across which slices are cut; slices: how many there are; slices_drawn: on how many is a stroke.
        share: of the labelled voxels that are drawn.
    """

    kind: ClassVar[str] = "case scribbles"

    id: str
    source: str
    crc32: int
    axis: int
    slices: int
    slices_drawn: int
    share: float
    classes: tuple[ClassStrokes, ...]


class ClassTotal(Value):
    """One class over all cases.

    Attributes:
        cases: that have it; dense_voxels, scribbled_voxels, slices: in all of them together.
        share: scribbled over dense of all; median_share: median of the cases' shares. None where no case has it.
    """

    name: str
    cases: int
    dense_voxels: int
    scribbled_voxels: int
    share: float | None
    median_share: float | None
    slices: int


class Scribbles(StoredValue):
    """What `autofuse scribble` made: scribbles.json in the folder of the copy.

    Attributes:
        dataset: name of the data set that was scribbled; source: hash of its description and its cases.
        unlabelled: ids of the training cases that have no label, there as here.
        totals: per class, background first.
    """

    kind: ClassVar[str] = "scribbles"

    dataset: str
    source: str
    options: ScribbleOptions
    cases: tuple[CaseScribbles, ...]
    unlabelled: tuple[str, ...]
    totals: tuple[ClassTotal, ...]


def share_of(part: int, whole: int) -> float | None:
    """Part over whole to six digits, None of nothing."""
    return round(part / whole, 6) if whole else None


def totals(cases: Sequence[CaseScribbles]) -> tuple[ClassTotal, ...]:
    """Every class over all cases."""
    return tuple(_total(parts) for parts in zip(*(case.classes for case in cases), strict=True))


def _total(parts: Sequence[ClassStrokes]) -> ClassTotal:
    shares = [part.share for part in parts if part.share is not None]
    dense, scribbled = (
        sum(values) for values in zip(*((p.dense_voxels, p.scribbled_voxels) for p in parts), strict=True)
    )
    return ClassTotal(
        name=parts[0].name,
        cases=len(shares),
        dense_voxels=dense,
        scribbled_voxels=scribbled,
        share=share_of(scribbled, dense),
        median_share=median(shares) if shares else None,
        slices=sum(part.slices for part in parts),
    )
