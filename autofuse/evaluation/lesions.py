"""Lesions told apart, matched and scored one by one, as the BraTS challenges do it since 2023.

1. True components (26 neighbours) whose dilations touch are one lesion; its voxels stay those of the truth.
2. A lesion is matched with every predicted component that touches its dilation. Dice and HD95 are those of the lesion
   against the union of these components; a component may match several lesions.
3. A lesion without a match is missed (Dice 0), a predicted component without one is a false positive (Dice 0); HD95
   of both is a fixed distance. True lesions up to a volume are left out, and so are components that match only those.
4. A case's score is the mean over its lesions and its false positives: 1, and 0 mm, where there are neither.

Source: Saluja et al., "BraTS 2023 lesion-wise performance metrics" (github.com/rachitsaluja/BraTS-2023-Metrics), and
the organisers' announcement (synapse.org, syn51156910, discussion 10357).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autofuse.evaluation.boxes import Box, union, widened
from autofuse.evaluation.scoring import LesionRule
from autofuse.evaluation.surface import Mask, surface_distances
from autofuse.evaluation.types import Lesion

Pieces = NDArray[Any]
"""(z, y, x) number of the lesion or component that a voxel belongs to, 0 for none."""

_MM3_PER_ML = 1000.0


@dataclass(frozen=True)
class Grid:
    """Where a crop lies: what is needed of the whole image.

    Attributes:
        spacing_mm: per array axis.
        offset: index of the crop's first voxel in the whole image.
        flat_axes: axes along which the whole image has one voxel.
        distance_mm: HD95 of a lesion that is missed or made up.
    """

    spacing_mm: Sequence[float]
    offset: Sequence[int]
    flat_axes: Sequence[int]
    distance_mm: float

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel."""
        return float(np.prod(self.spacing_mm))


def score_lesions(reference: Mask, prediction: Mask, rule: LesionRule, grid: Grid) -> tuple[Lesion, ...]:
    """Every true lesion in order of its number, then every false positive.

    Args:
        reference, prediction: (z, y, x); may be cropped to a box that holds both and ``rule.dilation`` voxels around
            them, as far as the image reaches.
    """
    from scipy.ndimage import find_objects

    lesions, found = merged_lesions(reference, rule.dilation), components(prediction)
    lesion_boxes, found_boxes = find_objects(lesions), find_objects(found)
    rows, matched = [], set[int]()
    for number, box in enumerate(lesion_boxes, start=1):
        touching = _touching(lesions, number, box, found, rule.dilation)
        matched |= set(touching)
        around = union([box, *(found_boxes[piece - 1] for piece in touching)])
        own, theirs = lesions[around] == number, np.isin(found[around], touching)
        rows.append(_scored(own, theirs, box, rule, grid) if touching else _missed(own, box, rule, grid))
    for piece, box in enumerate(found_boxes, start=1):
        if piece not in matched:
            rows.append(_false_positive(int(np.count_nonzero(found[box] == piece)), box, grid))
    return tuple(rows)


def merged_lesions(reference: Mask, dilation: int) -> Pieces:
    """Numbered lesions: the components of ``reference``, those as one whose dilations touch each other."""
    reach = components(_dilated(reference, dilation))
    reach[~reference] = 0
    return reach


def components(mask: Mask) -> Pieces:
    """Numbered connected components of ``mask`` by 26 neighbours."""
    import cc3d

    return np.asarray(cc3d.connected_components(np.ascontiguousarray(mask), connectivity=26, out_dtype=np.uint32))


def lesion_dice(lesions: Sequence[Lesion]) -> float:
    """Mean Dice over lesions that count and false positives; 1 without any."""
    counted = [item.dice for item in lesions if item.counts]
    return float(np.mean(counted)) if counted else 1.0


def lesion_hd95_mm(lesions: Sequence[Lesion]) -> float:
    """Mean HD95 over lesions that count and false positives; 0 without any."""
    counted = [item.hd95_mm for item in lesions if item.counts]
    return float(np.mean(counted)) if counted else 0.0


def detection_f1(tp: int, fp: int, fn: int) -> float | None:
    """2 tp / (2 tp + fp + fn) over lesions; None where there was nothing to find and nothing was found."""
    return 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else None


def _touching(lesions: Pieces, number: int, box: Box, found: Pieces, dilation: int) -> list[int]:
    """Numbers of the predicted components that touch the dilated lesion."""
    around = widened(box, dilation, lesions.shape)
    reached = found[around][_dilated(lesions[around] == number, dilation)]
    return [int(piece) for piece in np.unique(reached) if piece]


def _dilated(mask: Mask, steps: int) -> Mask:
    from scipy.ndimage import binary_dilation, generate_binary_structure

    if steps == 0:
        return mask
    grown: Mask = binary_dilation(mask, structure=generate_binary_structure(mask.ndim, 2), iterations=steps)
    return grown


def _scored(own: Mask, theirs: Mask, box: Box, rule: LesionRule, grid: Grid) -> Lesion:
    truth, guess = int(np.count_nonzero(own)), int(np.count_nonzero(theirs))
    distances = surface_distances(own, theirs, grid.spacing_mm, flat_axes=grid.flat_axes)
    return Lesion(
        kind="found",
        counts=truth * grid.voxel_mm3 > rule.volume_mm3,
        centre=_centre(box, grid),
        volume_reference_ml=truth * grid.voxel_mm3 / _MM3_PER_ML,
        volume_prediction_ml=guess * grid.voxel_mm3 / _MM3_PER_ML,
        dice=2 * int(np.count_nonzero(own & theirs)) / (truth + guess),
        hd95_mm=distances.larger_percentile(),
    )


def _missed(own: Mask, box: Box, rule: LesionRule, grid: Grid) -> Lesion:
    volume_mm3 = int(np.count_nonzero(own)) * grid.voxel_mm3
    return Lesion(
        kind="missed",
        counts=volume_mm3 > rule.volume_mm3,
        centre=_centre(box, grid),
        volume_reference_ml=volume_mm3 / _MM3_PER_ML,
        volume_prediction_ml=0.0,
        dice=0.0,
        hd95_mm=grid.distance_mm,
    )


def _false_positive(voxels: int, box: Box, grid: Grid) -> Lesion:
    return Lesion(
        kind="false_positive",
        counts=True,
        centre=_centre(box, grid),
        volume_reference_ml=0.0,
        volume_prediction_ml=voxels * grid.voxel_mm3 / _MM3_PER_ML,
        dice=0.0,
        hd95_mm=grid.distance_mm,
    )


def _centre(box: Box, grid: Grid) -> tuple[int, int, int]:
    z, y, x = (start + (part.start + part.stop - 1) // 2 for start, part in zip(grid.offset, box, strict=True))
    return int(z), int(y), int(x)
