"""Scores of one case from two maps of class indices: voxels counted in one pass, surfaces class by class.

Definitions and the rule for empty references: documentation/reference/metrics.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from autofuse.dataset.label_codes import region_membership
from autofuse.dataset.types import Labels
from autofuse.evaluation.boxes import Box, union, widened
from autofuse.evaluation.lesions import Grid, detection_f1, lesion_dice, lesion_hd95_mm, score_lesions
from autofuse.evaluation.scoring import LesionRule, Scoring
from autofuse.evaluation.surface import surface_distances
from autofuse.evaluation.types import CaseScore, ClassScore, Lesion, Status
from autofuse.foundation.errors import DataError
from autofuse.inference.overlap import IndexMap, counts, dice, joint_histogram

SPARSE_NOTE = "the reference is sparse: surfaces are not known"
ONE_SIDED_NOTE = "only one of the two has this class: there is no distance"

_KINDS = ("found", "missed", "false_positive")


def score_case(
    case: str,
    reference: IndexMap,
    prediction: IndexMap,
    labels: Labels,
    spacing_mm: Sequence[float],
    *,
    scoring: Scoring | None = None,
    surfaces: bool = True,
) -> CaseScore:
    """Scores of every class or region of one case.

    Args:
        reference, prediction: (z, y, x) class indices; ``IGNORE`` in the reference is excluded from everything.
        spacing_mm: per array axis.
        scoring: regions instead of the labels' classes, tolerances of NSD, lesions; None for the defaults.
        surfaces: False leaves NSD and HD95 out (they cost the most).

    Raises:
        DataError: if the shapes differ.
    """
    if reference.shape != prediction.shape:
        raise DataError(
            "Prediction and reference have different shapes.",
            case=case,
            found=f"prediction {prediction.shape}",
            expected=f"reference {reference.shape}",
        )
    rules = scoring or Scoring()
    members = region_membership(labels, rules.regions)
    _require_indices(case, prediction, members.shape[1])
    joint, labelled = joint_histogram(reference, prediction, members.shape[1])
    sparse = labelled < reference.size
    maps = None if sparse else _Maps(reference, prediction, members.shape[1], spacing_mm)
    rows = []
    for member, item in zip(members, rules.classes(labels), strict=True):
        row = _counted(item.name, joint, member, float(np.prod(spacing_mm)))
        if maps is None:
            row = row if row.status == "absent" else row.model_copy(update={"note": SPARSE_NOTE})
        else:
            if surfaces and row.status != "absent":
                row = _with_surfaces(row, maps, member, rules.tolerance_of(item.name))
            if rules.lesions is not None:
                row = _with_lesions(row, maps, member, rules.lesions)
        rows.append(row)
    return CaseScore(
        case=case,
        labelled_fraction=labelled / max(reference.size, 1),
        diagonal_mm=diagonal_mm(reference.shape, spacing_mm),
        classes=tuple(rows),
    )


def diagonal_mm(shape: Sequence[int], spacing_mm: Sequence[float]) -> float:
    """Length of the image's diagonal, from edge to edge."""
    return float(np.linalg.norm(np.multiply(shape, spacing_mm)))


def _require_indices(case: str, prediction: IndexMap, indices: int) -> None:
    lowest, highest = (int(prediction.min()), int(prediction.max())) if prediction.size else (0, 0)
    if lowest < 0 or highest >= indices:
        raise DataError(
            "The prediction holds a class index that the labels do not have.",
            case=case,
            found=f"indices {lowest} to {highest}",
            expected=f"0 to {indices - 1}",
        )


def _counted(name: str, joint: NDArray[np.int64], member: NDArray[np.bool_], voxel_mm3: float) -> ClassScore:
    tp, fp, fn = counts(joint, member)
    truth, guess = tp + fn, tp + fp
    status: Status = "scored" if truth and guess else "missed" if truth else "false_positive" if guess else "absent"
    one_sided = status in ("missed", "false_positive")
    return ClassScore(
        name=name,
        status=status,
        tp=tp,
        fp=fp,
        fn=fn,
        dice=dice(tp, fp, fn),
        nsd=None,
        hd95_mm=None,
        hd95_max_mm=None,
        volume_reference_ml=truth * voxel_mm3 / 1000,
        volume_prediction_ml=guess * voxel_mm3 / 1000,
        volume_difference_ml=None if status == "absent" else (guess - truth) * voxel_mm3 / 1000,
        volume_difference_relative=(guess - truth) / truth if truth else None,
        note=ONE_SIDED_NOTE if one_sided else None,
    )


class _Maps:
    """Two dense index maps of one grid, and where their classes are."""

    def __init__(self, reference: IndexMap, prediction: IndexMap, indices: int, spacing_mm: Sequence[float]) -> None:
        self.reference, self.prediction, self.spacing_mm = reference, prediction, spacing_mm
        self.flat_axes = [axis for axis, size in enumerate(reference.shape) if size == 1]
        self._indices = indices

    @cached_property
    def _boxes(self) -> list[list[Box | None]]:
        """Per map, the bounding box of every class index (position 0, background, has none)."""
        from scipy.ndimage import find_objects

        return [
            [None, *find_objects(found, max_label=self._indices - 1)] for found in (self.reference, self.prediction)
        ]

    def box(self, member: NDArray[np.bool_]) -> Box:
        """Bounding box of the class in both maps; at least one has it."""
        return union([found[index] for found in self._boxes for index in np.flatnonzero(member)])


def _with_surfaces(row: ClassScore, maps: _Maps, member: NDArray[np.bool_], tolerance_mm: float) -> ClassScore:
    if row.status != "scored":
        return row.model_copy(update={"nsd": 0.0})
    box = maps.box(member)
    distances = surface_distances(
        member[maps.reference[box]], member[maps.prediction[box]], maps.spacing_mm, flat_axes=maps.flat_axes
    )
    return row.model_copy(
        update={
            "nsd": distances.within(tolerance_mm),
            "hd95_mm": distances.pooled_percentile(),
            "hd95_max_mm": distances.larger_percentile(),
        }
    )


def _with_lesions(row: ClassScore, maps: _Maps, member: NDArray[np.bool_], rule: LesionRule) -> ClassScore:
    found: tuple[Lesion, ...] = ()
    if row.status != "absent":
        shape = maps.reference.shape
        box = widened(maps.box(member), rule.dilation, shape)
        distance = rule.distance_mm or diagonal_mm(shape, maps.spacing_mm)
        grid = Grid(maps.spacing_mm, [part.start for part in box], maps.flat_axes, distance)
        found = score_lesions(member[maps.reference[box]], member[maps.prediction[box]], rule, grid)
    counts = {kind: sum(item.kind == kind and item.counts for item in found) for kind in _KINDS}
    tp, fn, fp = (counts[kind] for kind in _KINDS)
    return row.model_copy(
        update={
            "lesion_dice": lesion_dice(found),
            "lesion_hd95_mm": lesion_hd95_mm(found),
            "lesion_tp": tp,
            "lesion_fn": fn,
            "lesion_fp": fp,
            "lesion_f1": detection_f1(tp, fp, fn),
            "lesions": found,
        }
    )
