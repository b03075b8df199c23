"""How the minutes of one command are divided: what is over, what prediction will need, and the rest for training."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from autofuse.foundation.console import say
from autofuse.foundation.errors import ModelError
from autofuse.foundation.values import StoredValue
from autofuse.plan.types import Configuration, Plan

TIMETABLE_FILE = "timetable.json"
PLANNED_SHARE = 0.9
"""Of the time that is left when the plan is made, for training: preparing and predicting come later."""
LEAST_SHARE = 0.2
"""Of the whole time, for training, whatever the rest takes."""
MOST_FOR_MIRRORING = 0.2
"""Of the time that is left, for prediction with mirroring; where it would take more, there is none."""
FORWARD_SHARE = 1 / 3
"""A forward pass costs about a third of a training step of the same sample (backward: twice the forward)."""
TILE_STEP = 0.5
CASE_OVERHEAD_S = 1.5
"""Reading, preparing, resampling back, writing and scoring one case of a million voxels; grows with its volume."""
CLOSING_S = 8.0
"""Tables, pictures and the report at the end."""
CHOOSING_S = 0.5
"""Gathering one held-out case of a million voxels, and choosing by it; grows with its volume."""
ROUND_MINUTES = 0.05


@dataclass(frozen=True)
class Clock:
    """The time that one command has, from now on; ``minutes`` None for as long as it takes."""

    minutes: float | None
    started: float = field(default_factory=time.monotonic)

    @property
    def left_s(self) -> float:
        """Seconds that are left; below zero when it is over."""
        return math.inf if self.minutes is None else self.minutes * 60 - (time.monotonic() - self.started)

    def planned_minutes(self, folds: int, kept_s: float = 0.0) -> float | None:
        """What the plan may reckon with for training one fold, where ``kept_s`` seconds are kept for a pilot."""
        if self.minutes is None:
            return None
        left = max(self.left_s - kept_s, LEAST_SHARE * self.minutes * 60)
        return rounded_minutes(left * PLANNED_SHARE / folds)


class Timetable(StoredValue):
    """How a command divided its time; written once, so that the same command, resumed, trains as long as it would have.

    Attributes:
        plan_digest, configuration, minutes, folds: what it was made for.
        training_minutes: of one fold, by configuration; a cascade's stages have their own.
        reserve_s: kept for prediction.
        mirror: whether prediction mirrors; settled: whether that was decided after training, by measured speed.
    """

    kind: ClassVar[str] = "timetable"

    plan_digest: str
    configuration: str
    minutes: float
    folds: int
    training_minutes: dict[str, float]
    reserve_s: float
    mirror: bool
    settled: bool = False


def rounded_minutes(seconds: float) -> float:
    """``seconds`` in minutes, rounded down to three seconds, at least three."""
    return round(max(1, math.floor(seconds / 60 / ROUND_MINUTES)) * ROUND_MINUTES, 4)


def prediction_s(
    plan: Plan, configuration: Configuration, cases: int, *, mirror: bool, step_s: float | None = None
) -> float | None:
    """Seconds that predicting ``cases`` cases of the median size should take; None where speed was not measured.

    Args:
        step_s: measured time of a training step, if it is known by now; else the planned one counts.
    """
    step_s = step_s or configuration.seconds_per_step
    if step_s is None:
        return None
    shape = configuration.median_shape
    axes = shape if configuration.dimensions == 3 else shape[1:]
    tiles = math.prod(_tiles(size, patch) for size, patch in zip(axes, configuration.patch, strict=True))
    slices = shape[0] if configuration.dimensions == 2 else 1
    flips = 2 ** len([axis for axis in plan.mirror_axes if configuration.dimensions == 3 or axis > 0]) if mirror else 1
    tile_s = step_s / configuration.batch * FORWARD_SHARE
    return cases * (tiles * slices * flips * tile_s + case_overhead_s(configuration))


def case_overhead_s(configuration: Configuration) -> float:
    """Seconds of what is done to a case of the median size around the network."""
    return CASE_OVERHEAD_S * (1 + math.prod(configuration.median_shape) / 1e6)


def choosing_s(configuration: Configuration, cases: int) -> float:
    """Seconds of choosing post-processing and members by ``cases`` held-out cases of the median size."""
    return cases * CHOOSING_S * (1 + math.prod(configuration.median_shape) / 1e6)


def _all_predictions_s(
    plan: Plan,
    last: Configuration,
    cases: int,
    *,
    mirror: bool,
    fused: int = 0,
    for_next_stage: int = 0,
    step_s: float | None = None,
) -> float | None:
    """Seconds of everything that is predicted: ``fused`` images are made without mirroring; a cascade's earlier stage
    sees the same cases before, and ``for_next_stage`` training cases, always mirrored."""
    parts = [
        prediction_s(plan, last, cases, mirror=mirror, step_s=step_s),
        prediction_s(plan, last, fused, mirror=False, step_s=step_s),
    ]
    if last.previous is not None:
        first = plan.named(last.previous)
        parts.append(prediction_s(plan, first, cases, mirror=mirror, step_s=step_s))
        parts.append(prediction_s(plan, first, for_next_stage, mirror=True, step_s=step_s))
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


def _tiles(size: int, patch: int) -> int:
    return 1 if size <= patch else math.ceil((size - patch) / (patch * TILE_STEP)) + 1


def divide_time(
    folder: Path,
    plan: Plan,
    configurations: Sequence[Configuration],
    clock: Clock,
    *,
    folds: int,
    cases: int,
    training_cases: int = 0,
    judging: int = 0,
    fused: int = 0,
) -> Timetable | None:
    """The division of the clock's time, found in ``folder`` or made and kept there; None without a time.

    Args:
        configurations: to be trained one after another (a cascade's stages); the last one predicts.
        cases: to be predicted: held out over all folds, and test cases once a fold.
        judging: held-out cases that members and post-processing are chosen by.
        fused: images that are made for people to look at, once a fold.
        training_cases: of the data set; a cascade's earlier stage predicts them once a fold.
    """
    if clock.minutes is None:
        return None
    kept = _kept(folder, plan, configurations[-1], clock.minutes, folds)
    if kept is not None:
        return kept
    left, total = clock.left_s, clock.minutes * 60
    earlier = folds * training_cases
    wanted = [
        _all_predictions_s(plan, configurations[-1], cases, mirror=mirror, fused=fused, for_next_stage=earlier)
        for mirror in (True, False)
    ]
    mirror = wanted[0] is not None and wanted[0] <= MOST_FOR_MIRRORING * left
    reserve = wanted[0] if mirror else wanted[1]
    reserve = reserve if reserve is not None else MOST_FOR_MIRRORING * max(left, 0)
    reserve += CLOSING_S + choosing_s(configurations[-1], judging)
    training = max(left - reserve, LEAST_SHARE * total)
    if left - reserve < LEAST_SHARE * total:
        say(f"{clock.minutes:g} minutes are short for this data set: the command will take longer than that.")
    each = rounded_minutes(training / folds / len(configurations))
    table = Timetable(
        plan_digest=plan.digest(),
        configuration=configurations[-1].name,
        minutes=clock.minutes,
        folds=folds,
        training_minutes={item.name: each for item in configurations},
        reserve_s=round(reserve, 1),
        mirror=mirror,
    )
    table.save(folder / TIMETABLE_FILE)
    return table


def settle_mirroring(
    folder: Path,
    table: Timetable | None,
    plan: Plan,
    clock: Clock,
    *,
    cases: int,
    step_s: float,
    judging: int = 0,
    fused: int = 0,
) -> bool:
    """Whether prediction mirrors, decided once training has shown how fast this machine is, and kept in ``folder``."""
    if table is None or table.settled:
        return table is None or table.mirror
    last = plan.named(table.configuration)
    needed = _all_predictions_s(plan, last, cases, mirror=True, fused=fused, step_s=step_s)
    mirror = needed is not None and needed + choosing_s(last, judging) + CLOSING_S <= clock.left_s
    table.model_copy(update={"mirror": mirror, "settled": True}).save(folder / TIMETABLE_FILE)
    return mirror


def _kept(folder: Path, plan: Plan, configuration: Configuration, minutes: float, folds: int) -> Timetable | None:
    path = folder / TIMETABLE_FILE
    try:
        table = Timetable.load(path) if path.exists() else None
    except ModelError:
        return None
    wanted = (plan.digest(), configuration.name, minutes, folds)
    if table is None or (table.plan_digest, table.configuration, table.minutes, table.folds) != wanted:
        return None
    return table
