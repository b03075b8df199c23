"""Scores of one case from two maps of class indices: voxels counted in one pass, surfaces class by class.

Definitions and the rule for empty references: documentation/reference/metrics.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from autofuse.dataset.label_codes import region_membership
from autofuse.dataset.types import Labels
from autofuse.evaluation.surface import surface_distances
from autofuse.evaluation.types import CaseScore, ClassScore, Status
from autofuse.foundation.errors import DataError
from autofuse.inference.overlap import IndexMap, counts, dice, joint_histogram

TOLERANCE_MM = 1.0
"""Default tolerance of NSD."""

SPARSE_NOTE = "the reference is sparse: surfaces are not known"
ONE_SIDED_NOTE = "only one of the two has this class: there is no distance"

Box = tuple[slice, ...]


def score_case(
    case: str,
    reference: IndexMap,
    prediction: IndexMap,
    labels: Labels,
    spacing_mm: Sequence[float],
    *,
    tolerance_mm: float | Mapping[str, float] = TOLERANCE_MM,
    surfaces: bool = True,
) -> CaseScore:
    """Scores of every class or region of one case.

    Args:
        reference, prediction: (z, y, x) class indices; ``IGNORE`` in the reference is excluded from everything.
        spacing_mm: per array axis.
        tolerance_mm: of NSD; one number, or one per class name.
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
    members = region_membership(labels)
    _require_indices(case, prediction, members.shape[1])
    joint, labelled = joint_histogram(reference, prediction, members.shape[1])
    sparse = labelled < reference.size
    boxes = _boxes(reference, prediction, members.shape[1]) if surfaces and not sparse else None
    rows = []
    for member, item in zip(members, labels.classes, strict=True):
        row = _counted(item.name, joint, member, float(np.prod(spacing_mm)))
        if sparse and row.status != "absent":
            row = row.model_copy(update={"note": SPARSE_NOTE})
        elif boxes is not None and row.status != "absent":
            tolerance = tolerance_of(tolerance_mm, item.name)
            row = _with_surfaces(row, reference, prediction, member, boxes, spacing_mm, tolerance)
        rows.append(row)
    return CaseScore(case=case, labelled_fraction=labelled / max(reference.size, 1), classes=tuple(rows))


def tolerance_of(tolerance_mm: float | Mapping[str, float], name: str) -> float:
    """The NSD tolerance of the class called ``name``."""
    return float(tolerance_mm.get(name, TOLERANCE_MM)) if isinstance(tolerance_mm, Mapping) else float(tolerance_mm)


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


def _with_surfaces(
    row: ClassScore,
    reference: IndexMap,
    prediction: IndexMap,
    member: NDArray[np.bool_],
    boxes: tuple[list[Box | None], list[Box | None]],
    spacing_mm: Sequence[float],
    tolerance_mm: float,
) -> ClassScore:
    if row.status != "scored":
        return row.model_copy(update={"nsd": 0.0})
    box = _union([found[index] for found in boxes for index in np.flatnonzero(member)])
    flat = [axis for axis, size in enumerate(reference.shape) if size == 1]
    distances = surface_distances(member[reference[box]], member[prediction[box]], spacing_mm, flat_axes=flat)
    return row.model_copy(
        update={
            "nsd": distances.within(tolerance_mm),
            "hd95_mm": distances.pooled_percentile(),
            "hd95_max_mm": distances.larger_percentile(),
        }
    )


def _boxes(reference: IndexMap, prediction: IndexMap, indices: int) -> tuple[list[Box | None], list[Box | None]]:
    """Per map, the bounding box of every class index (position 0, background, has none)."""
    from scipy.ndimage import find_objects

    first, second = ([None, *find_objects(map_, max_label=indices - 1)] for map_ in (reference, prediction))
    return first, second


def _union(boxes: Sequence[Box | None]) -> Box:
    found = [box for box in boxes if box is not None]
    return tuple(slice(min(s.start for s in axis), max(s.stop for s in axis)) for axis in zip(*found, strict=True))
