"""What is given up first when a budget is short: rungs in order of preference; the first that fits is taken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from autofuse_planners.pyramid import Pyramid
from autofuse_planners.sizing import (
    Candidate,
    Rung,
    Scene,
    candidate,
    fits_memory,
    fits_time,
    most_batch,
    refuse,
    shrinking,
    wanted_steps,
)

_KEPT_ALTERNATIVES = 4


@dataclass(frozen=True)
class Choice:
    """The candidate taken, what was given up for it, what was passed over before it and why.

    Attributes:
        given_up: "patch", "width", "steps", "batch": whatever is less than on the first rung.
        in_time: whether the steps that are wanted fit the time.
    """

    taken: Candidate
    given_up: tuple[str, ...]
    passed_over: tuple[str, ...]
    in_time: bool


def choose(scene: Scene) -> Choice:
    """The first rung that fits memory and time, its batch grown into what is left.

    Where none fits the time, the last one that fits the memory: fewer steps than wanted are better than none.

    Raises:
        ResourceError: if none fits the memory.
    """
    rungs = list(_by_memory(scene) if scene.budget.minutes is None else _by_time(scene))
    passed: list[str] = []
    fallback: tuple[Candidate, Rung] | None = None
    for rung in rungs:
        item = candidate(scene, rung)
        if not fits_memory(scene, item):
            passed.append(f"{item.describe()}; over the memory dial of {scene.budget.memory_gib:g} GiB")
        elif not fits_time(scene, item):
            passed.append(f"{item.describe()}; {rung.steps} steps do not fit the time")
            fallback = item, rung
        else:
            lost = _given_up(rungs[0], rung)
            return Choice(_grow_batch(scene, item, lost), lost, _few(passed), True)
    if fallback is None:
        raise refuse(scene, candidate(scene, rungs[-1]))
    return Choice(fallback[0], _given_up(rungs[0], fallback[1]), _few(passed[:-1]), False)


def _by_memory(scene: Scene) -> Iterator[Rung]:
    """The patch shrinks first, as in nnU-Net; only very little memory narrows the network."""
    rules = scene.rules
    pyramids = list(shrinking(scene))
    kept = _at_least(pyramids, rules.small_patch_3d if scene.dimensions == 3 else rules.small_patch_2d)
    yield from (Rung(pyramid, rules.widths[0], rules.min_batch, None) for pyramid in kept)
    yield from (Rung(kept[-1], width, rules.min_batch, None) for width in rules.widths[1:])
    yield from (Rung(pyramid, rules.widths[-1], rules.min_batch, None) for pyramid in pyramids[len(kept) :])


def _by_time(scene: Scene) -> Iterator[Rung]:
    """First the width gives way, down to a good one; then the patch, down to a good one; then steps; then the patch
    again, down to a fair one; then the rest of the width; then the rest of the patch; then the batch."""
    rules = scene.rules
    if scene.dimensions == 3:
        good, fair, small = rules.good_patch_3d, rules.fair_patch_3d, rules.small_patch_3d
    else:
        good, fair, small = rules.good_patch_2d, rules.fair_patch_2d, rules.small_patch_2d
        if scene.keeps_slices:
            good = fair = rules.sparse_patch_2d
    batch = rules.min_batch if scene.dimensions == 3 else rules.time_batch_2d
    steps = wanted_steps(scene.budget, rules)
    few = max(1, round(steps * rules.few_steps_share))
    wide = [width for width in rules.widths if width >= rules.good_width] or [rules.widths[0]]
    narrow = [width for width in rules.widths if width < wide[-1]]
    pyramids = list(shrinking(scene))
    good_ones, fair_ones, small_ones = (_at_least(pyramids, voxels) for voxels in (good, fair, small))

    def rung(pyramid: Pyramid, width: int, steps: int, samples: int = batch) -> Rung:
        return Rung(pyramid, width, min(samples, most_batch(scene, pyramid)), steps)

    yield from (rung(pyramid, width, steps) for pyramid in good_ones for width in wide)
    yield from (rung(pyramid, wide[-1], few) for pyramid in fair_ones[len(good_ones) - 1 :])
    yield from (rung(fair_ones[-1], width, few) for width in narrow)
    yield from (rung(pyramid, rules.widths[-1], few) for pyramid in small_ones[len(fair_ones) :])
    while batch > rules.min_batch:
        batch = max(rules.min_batch, batch // 2)
        yield rung(small_ones[-1], rules.widths[-1], few, batch)


def _at_least(pyramids: list[Pyramid], voxels: int) -> list[Pyramid]:
    """Those with at least ``voxels`` voxels, and in any case the first."""
    return [pyramid for index, pyramid in enumerate(pyramids) if index == 0 or pyramid.voxels >= voxels]


def _given_up(first: Rung, taken: Rung) -> tuple[str, ...]:
    lost = {
        "patch": taken.pyramid.voxels < first.pyramid.voxels,
        "width": taken.width < first.width,
        "steps": (taken.steps or 0) < (first.steps or 0),
        "batch": taken.batch < first.batch and taken.pyramid.voxels <= first.pyramid.voxels,
    }
    return tuple(name for name, was in lost.items() if was)


def _grow_batch(scene: Scene, item: Candidate, given_up: tuple[str, ...]) -> Candidate:
    """The candidate with the largest batch that memory, time and the data set's size allow.

    With a time dial only where nothing was given up: otherwise more steps are worth more than larger batches.
    """
    if scene.budget.minutes is not None and given_up:
        return item
    low, high = item.rung.batch, most_batch(scene, item.rung.pyramid)
    while low < high:
        middle = (low + high + 1) // 2
        grown = candidate(scene, replace(item.rung, batch=middle))
        if fits_memory(scene, grown) and fits_time(scene, grown):
            low, item = middle, grown
        else:
            high = middle - 1
    return item


def _few(passed: list[str]) -> tuple[str, ...]:
    """The first and the last few of what was passed over."""
    if len(passed) <= _KEPT_ALTERNATIVES:
        return tuple(passed)
    left_out = len(passed) - _KEPT_ALTERNATIVES
    return (passed[0], f"({left_out} between)", *passed[-_KEPT_ALTERNATIVES + 1 :])
