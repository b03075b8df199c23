"""Partial supervision: the supervised method for labels that cover some voxels only, such as scribbles.

ScribbleBench (arXiv 2403.12834 v2) found this plain loss ahead of specialised scribble methods on most data sets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from autofuse.training.trainer import Share, Weight
from autofuse_trainers.supervised import Supervised


@dataclass(frozen=True)
class Partial(Supervised):
    """Supervised training on the labelled voxels alone; what differs are the defaults of three fields.

    Attributes:
        foreground: two patches of three are centred on a labelled voxel of a class, the rest anywhere labelled.
        batch_dice: one Dice over the batch, since a patch with a stroke or two lacks most classes.
        case_weighting: a case with a hundred times the labels counts ten times as much: neither does the most
            thoroughly drawn case drown the others, nor does a single stroke count as much as a whole organ.
    """

    name: ClassVar[str] = "partial"

    foreground: Share = 2 / 3
    batch_dice: bool | None = True
    case_weighting: Weight = 0.5
