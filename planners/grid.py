"""Which grid the data are brought to: target spacing, axis order, the median case on that grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import JsonValue

from autofuse.fingerprint.types import Fingerprint
from autofuse.plan.types import Axes, Decision, Triple
from autofuse_planners.thresholds import Thresholds

_DIGITS = 7


@dataclass(frozen=True)
class Grid:
    """A target grid, everything in transposed axis order.

    Attributes:
        transpose: which raw axis comes first, second, third.
        spacing_mm, median_shape: of the median case after resampling.
        anisotropic_axis: the axis resampled apart from the others, or None.
        coarse: whether the first axis is coarser than the others by the anisotropy threshold.
        cases: number of cases, for shares of the data set's volume.
    """

    transpose: Axes
    spacing_mm: Triple
    median_shape: Axes
    anisotropic_axis: int | None
    coarse: bool
    cases: int


def choose_grid(fingerprint: Fingerprint, rules: Thresholds) -> tuple[Grid, tuple[Decision, ...]]:
    """The full-resolution grid of a data set, and the decisions that led to it."""
    spacings = np.array([case.spacing_mm for case in fingerprint.cases])
    shapes = np.array([case.cropped_shape for case in fingerprint.cases], dtype=float)
    target, spacing_decision = _target_spacing(spacings, shapes, rules)
    order, order_decision = _axis_order(target, shapes, rules)
    target, spacings, shapes = target[list(order)], spacings[:, list(order)], shapes[:, list(order)]
    axis, axis_decision = _anisotropic_axis(target, spacings, rules)
    grid = Grid(
        transpose=order,
        spacing_mm=_triple(target),
        median_shape=median_shape(spacings, shapes, target),
        anisotropic_axis=axis,
        coarse=bool(target[0] > rules.anisotropy * target[1:].max()),
        cases=len(fingerprint.cases),
    )
    return grid, (spacing_decision, order_decision, axis_decision)


def median_shape(spacings: np.ndarray, shapes: np.ndarray, target: np.ndarray) -> Axes:
    """Median over cases of round(spacing / target · shape); (N, 3), (N, 3), (3,) -> at least one voxel an axis."""
    resampled = np.rint(spacings / target * shapes)
    first, second, third = (max(1, round(float(size))) for size in np.median(resampled, axis=0))
    return first, second, third


def _target_spacing(spacings: np.ndarray, shapes: np.ndarray, rules: Thresholds) -> tuple[np.ndarray, Decision]:
    """Median spacing; a coarse axis of few voxels takes a low percentile, never below the others (nnU-Net's rule 1)."""
    target = np.median(spacings, axis=0)
    size = np.median(shapes, axis=0)
    worst = int(np.argmax(target))
    others = [axis for axis in range(3) if axis != worst]
    coarse = target[worst] > rules.anisotropy * target[others].max()
    few = size[worst] * rules.anisotropy < size[others].min()
    evidence: dict[str, JsonValue] = {"median_spacing_mm": _numbers(target), "median_shape": _numbers(size)}
    evidence["coarsest_axis"] = worst
    rule = "the median spacing of every axis"
    alternatives: tuple[str, ...] = ()
    if coarse and few:
        finer = float(np.percentile(spacings[:, worst], rules.coarse_percentile))
        if finer < target[worst]:
            alternatives = (f"the coarse axis' median too: {target[worst]:g} mm; finer cases would lose slices",)
        target[worst] = max(finer, float(target[others].max()))
        evidence["coarse_axis_percentile_mm"] = round(finer, _DIGITS)
        rule = (
            f"the median, but the {rules.coarse_percentile:g}th percentile of the coarsest axis: its spacing is over "
            f"{rules.anisotropy:g} x the others' and its size x {rules.anisotropy:g} below theirs"
        )
    target = np.array(_triple(target))
    chosen = " x ".join(f"{value:g}" for value in target) + " mm (raw axis order)"
    return target, Decision(
        what="target spacing", chosen=chosen, rule=rule, evidence=evidence, alternatives=alternatives
    )


def _axis_order(target: np.ndarray, shapes: np.ndarray, rules: Thresholds) -> tuple[Axes, Decision]:
    """The axis with the largest spacing first, the others in their order; single slices: the axis of one voxel."""
    flat = [axis for axis in range(3) if (shapes[:, axis] == 1).all()]
    if flat:
        first, rule = flat[0], "every case is one slice: the axis of one voxel comes first"
    else:
        coarsest = int(np.argmax(target))
        margin = target[coarsest] > target[0] * (1 + rules.transpose_margin)
        first = coarsest if margin else 0
        rule = "the axis with the largest spacing comes first"
    order = (first, *(axis for axis in range(3) if axis != first))
    evidence: dict[str, JsonValue] = {"target_spacing_mm": _numbers(target)}
    chosen = ", ".join("zyx"[axis] for axis in order)
    return (order[0], order[1], order[2]), Decision(what="axis order", chosen=chosen, rule=rule, evidence=evidence)


def _anisotropic_axis(target: np.ndarray, spacings: np.ndarray, rules: Thresholds) -> tuple[int | None, Decision]:
    """The first axis, if it is so coarse, in the target or in the typical case, that it is resampled apart (rule 9)."""
    unique = target[0] > target[1:].max() * (1 + rules.transpose_margin)
    ratio = float(target[0] / target[1:].min())
    typical = float(np.median(spacings[:, 0] / spacings[:, 1:].min(axis=1)))
    axis = 0 if unique and max(ratio, typical) > rules.anisotropy else None
    chosen = "all axes together, order-3 splines" if axis is None else "first axis apart (nearest), the others order 3"
    return axis, Decision(
        what="resampling",
        chosen=chosen,
        rule=f"an axis over {rules.anisotropy:g} x coarser than the finest is resampled apart",
        evidence={"target_ratio": round(ratio, 3), "typical_case_ratio": round(typical, 3)},
    )


def _triple(values: np.ndarray) -> Triple:
    first, second, third = (float(f"{float(value):.{_DIGITS}g}") for value in values)
    return first, second, third


def _numbers(values: np.ndarray) -> list[JsonValue]:
    return [round(float(value), _DIGITS) for value in values]
