"""The configurations of a data set: full resolution in 3D and 2D, and a cascade where the patch sees too little."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np
from pydantic import JsonValue

from autofuse.plan.types import Axes, Configuration, Decision, Triple
from autofuse_planners.grid import Grid
from autofuse_planners.ladder import Choice, choose
from autofuse_planners.sizing import Scene, training_seconds, wanted_steps
from autofuse_planners.thresholds import Thresholds

FULL_3D, FULL_2D, LOW_3D, CASCADE_3D = "3d", "2d", "3d_low", "3d_cascade"


@dataclass(frozen=True)
class Configured:
    """All configurations, the default first, and why."""

    configurations: tuple[Configuration, ...]
    decisions: tuple[Decision, ...]


def choose_configurations(scene: Scene, grid: Grid, outputs_as_input: int, slices_only: bool) -> Configured:
    """Every way to see the data that makes sense. ``scene`` is the full-resolution 3D one; ``outputs_as_input`` is
    how many masks a cascade's second stage sees.

    Raises:
        ResourceError: if the memory dial is too low for any network.
    """
    flat_scene = replace(scene, dimensions=2)
    flat = _configuration(FULL_2D, flat_scene, grid.anisotropic_axis, choice := choose(flat_scene))
    flat_decisions = _size_decisions(FULL_2D, flat_scene, choice)
    if slices_only:
        only = Decision(
            what="configuration",
            chosen=FULL_2D,
            rule="every case is a single slice",
            evidence={"median_shape": list(grid.median_shape)},
        )
        return Configured((flat,), (only, *flat_decisions))
    choice = choose(scene)
    full = _configuration(FULL_3D, scene, grid.anisotropic_axis, choice)
    decisions = [*_size_decisions(FULL_3D, scene, choice), *flat_decisions]
    cascade, cascade_decisions = _cascade(scene, grid, full, outputs_as_input)
    default = _default(grid, scene.rules)
    ordered = sorted((full, flat, *cascade), key=lambda item: item.name != default.chosen)
    return Configured(tuple(ordered), (default, *decisions, *cascade_decisions))


def _configuration(
    name: str, scene: Scene, anisotropic_axis: int | None, choice: Choice, previous: str | None = None
) -> Configuration:
    taken = choice.taken
    return Configuration(
        name=name,
        dimensions=3 if scene.dimensions == 3 else 2,
        spacing_mm=scene.spacing_mm,
        median_shape=scene.median_shape,
        patch=taken.rung.pyramid.patch,
        batch=taken.rung.batch,
        network=taken.network,
        anisotropic_axis=anisotropic_axis,
        previous=previous,
        memory_gib=_significant(taken.memory_gib),
        seconds_per_step=None if taken.step_s is None else _significant(taken.step_s),
    )


def _default(grid: Grid, rules: Thresholds) -> Decision:
    """Coarse stacks of few slices are seen slice by slice; everything else in 3D."""
    stack = grid.coarse and grid.median_shape[0] < rules.few_slices
    return Decision(
        what="configuration",
        chosen=FULL_2D if stack else FULL_3D,
        rule=(
            f"2D if slices are over {rules.anisotropy:g} x thicker than voxels are wide and a case has fewer than "
            f"{rules.few_slices}; else 3D at full resolution"
        ),
        evidence={"spacing_mm": list(grid.spacing_mm), "slices": grid.median_shape[0]},
        alternatives=(f"{FULL_3D if stack else FULL_2D}: planned too, train it with --configuration",),
    )


def _size_decisions(name: str, scene: Scene, choice: Choice) -> tuple[Decision, ...]:
    """Patch, network and batch of one configuration, and the numbers that they follow from."""
    taken, rules, budget = choice.taken, scene.rules, scene.budget
    seen = scene.share_seen(taken.rung.pyramid.patch)
    evidence: dict[str, JsonValue] = {
        "median_shape": list(scene.median),
        "share_of_median_case_seen": round(seen, 4),
        "stages": len(taken.network.features),
        "features": list(taken.network.features),
        "memory_gib": _significant(taken.memory_gib),
        "memory_dial_gib": budget.memory_gib,
        "given_up": list(choice.given_up),
    }
    seconds = training_seconds(budget, rules)
    if seconds is None:
        rule = "the largest patch that fits the memory dial at the smallest batch; then the largest batch"
    else:
        rule = (
            f"the first size that fits the memory dial and lets {wanted_steps(budget, rules)} steps fit into "
            f"{seconds:.0f} s of training. What gives way, in order: width to {rules.good_width} channels, "
            + _order_of_the_rest(scene)
        )
        evidence |= {"minutes": budget.minutes, "training_s": round(seconds, 1)}
        if taken.step_s is not None:
            evidence |= {"step_s": _significant(taken.step_s), "steps_that_fit": int(seconds / taken.step_s)}
        if not choice.in_time:
            rule += ". Nothing let as many steps fit, so the smallest was taken"
    if seen < rules.low_share:
        rule += f". Note: the patch sees less than {rules.low_share:.0%} of the median case"
    return (
        Decision(
            what=f"patch, network and batch of {name}",
            chosen=taken.describe(),
            rule=rule,
            evidence=evidence,
            alternatives=choice.passed_over,
        ),
    )


def _order_of_the_rest(scene: Scene) -> str:
    """What gives way after the width, in words; the rungs of ``ladder``."""
    rules = scene.rules
    if scene.keeps_slices:
        return (
            f"steps to {rules.few_steps_share:.0%}, the rest of the width; slices stay whole, since labels are sparse"
        )
    return f"patch, steps to {rules.few_steps_share:.0%}, patch again, the rest of the width"


def _cascade(
    scene: Scene, grid: Grid, full: Configuration, outputs_as_input: int
) -> tuple[tuple[Configuration, ...], tuple[Decision, ...]]:
    """A low resolution of which the patch sees enough, and full resolution with its masks as input (rule 7)."""
    rules = scene.rules
    share = scene.share_seen(full.patch)
    evidence: dict[str, JsonValue] = {"share_of_median_case_seen": round(share, 4)}
    if share >= rules.low_share:
        rule = f"a patch that sees {rules.low_share:.0%} of the median case needs no low-resolution stage"
        return (), (Decision(what="cascade", chosen="none", rule=rule, evidence=evidence),)
    if scene.own_masks:
        rule = "a second stage takes one mask of a case as its input, and here each modality has its own"
        return (), (Decision(what="cascade", chosen="none", rule=rule, evidence=evidence),)
    low_scene, choice = _low_resolution(scene)
    gain = prod(grid.median_shape) / prod(low_scene.median_shape)
    evidence |= {"low_spacing_mm": list(low_scene.spacing_mm), "median_case_smaller_by": round(gain, 3)}
    if gain < rules.low_gain:
        rule = f"a low resolution whose median case is not {rules.low_gain:g} x smaller gains too little"
        return (), (Decision(what="cascade", chosen="none", rule=rule, evidence=evidence),)
    ratio = low_scene.spacing_mm[0] / min(low_scene.spacing_mm)
    axis = grid.anisotropic_axis if ratio > rules.anisotropy else None
    low = _configuration(LOW_3D, low_scene, axis, choice)
    second_scene = replace(scene, prior=outputs_as_input)
    second_choice = choose(second_scene)
    second = _configuration(CASCADE_3D, second_scene, grid.anisotropic_axis, second_choice, previous=LOW_3D)
    decision = Decision(
        what="cascade",
        chosen=f"{LOW_3D}, then {CASCADE_3D} with its masks as input",
        rule=f"the patch sees less than {rules.low_share:.0%} of the median case: spacing grows until it does not",
        evidence=evidence,
        alternatives=(f"{FULL_3D} alone: remains the default, since a cascade trains twice",),
    )
    sizes = (*_size_decisions(LOW_3D, low_scene, choice), *_size_decisions(CASCADE_3D, second_scene, second_choice))
    return (low, second), (decision, *sizes)


def _low_resolution(scene: Scene) -> tuple[Scene, Choice]:
    """The scene whose spacing has grown, the finer axes first, until its patch sees enough of the median case."""
    rules = scene.rules
    spacing = np.array(scene.spacing_mm)
    extent = np.array(scene.median_shape) * spacing
    while True:
        fine = spacing.max() / spacing > rules.same_spacing
        spacing = np.where(fine, spacing * rules.low_growth, spacing) if fine.any() else spacing * rules.low_growth
        low = replace(scene, spacing_mm=_triple(spacing), median_shape=_shape(extent / spacing))
        choice = choose(low)
        if low.share_seen(choice.taken.rung.pyramid.patch) >= rules.low_share:
            return low, choice


def _triple(values: np.ndarray) -> Triple:
    first, second, third = (float(f"{float(value):.7g}") for value in values)
    return first, second, third


def _shape(values: np.ndarray) -> Axes:
    first, second, third = (max(1, round(float(value))) for value in values)
    return first, second, third


def _significant(value: float) -> float:
    return float(f"{value:.4g}")
