"""How the minutes of one command are divided."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest

from autofuse.dataset.types import LabelClass, Labels
from autofuse.plan.types import Budget, Configuration, NetworkPlan, NormalisationPlan, Plan, TrainerChoice
from autofuse.road import timetable
from autofuse.road.timetable import Clock, divide_time, prediction_s, rounded_minutes, settle_mirroring


def _configuration(seconds: float | None, **changes: object) -> Configuration:
    network = NetworkPlan(
        features=(8, 16), kernels=((3, 3, 3),) * 2, strides=((1, 1, 1), (2, 2, 2)), blocks=(2, 2), decoder_blocks=(2,)
    )
    fields: dict[str, object] = {
        "name": "3d",
        "dimensions": 3,
        "spacing_mm": (1.0, 1.0, 1.0),
        "median_shape": (64, 64, 32),
        "patch": (32, 32, 32),
        "batch": 2,
        "network": network,
        "memory_gib": 1.0,
        "seconds_per_step": seconds,
    }
    return Configuration(**(fields | changes))  # type: ignore[arg-type]


def _plan(configuration: Configuration, *others: Configuration) -> Plan:
    return Plan(
        planner="test",
        dataset="Data",
        fingerprint_digest="0" * 64,
        budget=Budget(memory_gib=0.5),
        modalities=("T1",),
        labels=Labels(classes=(LabelClass(name="a", raw_values=(1,)),)),
        transpose=(0, 1, 2),
        normalisation=(NormalisationPlan(scheme="zscore"),),
        configurations=(configuration, *others),
        configuration=configuration.name,
        trainer=TrainerChoice(name="supervised"),
        steps=100,
        decisions=(),
    )


def _clock(minutes: float, gone_s: float = 0.0) -> Clock:
    return Clock(minutes, time.monotonic() - gone_s)


def test_prediction_counts_tiles_and_flips() -> None:
    configuration = _configuration(0.6)
    plan = _plan(configuration)
    # 3 x 3 x 1 half-overlapping tiles, a third of half a step each; a case of 0.13 million voxels beside.
    overhead = timetable.CASE_OVERHEAD_S * (1 + 64 * 64 * 32 / 1e6)
    assert prediction_s(plan, configuration, 2, mirror=False) == pytest.approx(2 * (9 * 0.1 + overhead))
    assert prediction_s(plan, configuration, 2, mirror=True) == pytest.approx(2 * (9 * 8 * 0.1 + overhead))
    flat = _configuration(0.6, dimensions=2, patch=(64, 32))
    assert prediction_s(plan, flat, 1, mirror=True) == pytest.approx(64 * 1 * 4 * 0.1 + overhead)
    assert prediction_s(plan, _configuration(None), 1, mirror=True) is None


def test_what_is_over_and_what_prediction_needs_is_not_trained(tmp_path: Path) -> None:
    configuration = _configuration(0.6)
    table = divide_time(tmp_path, _plan(configuration), (configuration,), _clock(10, 120), folds=2, cases=4)
    assert table is not None
    assert table.mirror
    needed = prediction_s(_plan(configuration), configuration, 4, mirror=True)
    assert needed is not None
    expected = (480 - needed - timetable.CLOSING_S) / 2 / 60
    assert table.training_minutes["3d"] == pytest.approx(expected, abs=2 * timetable.ROUND_MINUTES)
    assert table.training_minutes["3d"] <= expected


def test_mirroring_is_given_up_where_it_would_eat_the_training(tmp_path: Path) -> None:
    configuration = _configuration(6.0)
    table = divide_time(tmp_path, _plan(configuration), (configuration,), _clock(10), folds=1, cases=10)
    assert table is not None
    assert not table.mirror
    assert table.reserve_s < 0.5 * 600


def test_a_time_that_is_over_still_trains_a_little(tmp_path: Path) -> None:
    configuration = _configuration(None)
    table = divide_time(tmp_path, _plan(configuration), (configuration,), _clock(10, 5000), folds=1, cases=1)
    assert table is not None
    assert table.training_minutes["3d"] == pytest.approx(2.0)


def test_the_division_is_made_once(tmp_path: Path) -> None:
    configuration = _configuration(0.6)
    plan = _plan(configuration)
    first = divide_time(tmp_path, plan, (configuration,), _clock(10), folds=1, cases=2)
    assert divide_time(tmp_path, plan, (configuration,), _clock(10, 300), folds=1, cases=2) == first
    assert divide_time(tmp_path, plan, (configuration,), _clock(11), folds=1, cases=2) != first
    assert divide_time(tmp_path, plan, (configuration,), Clock(None), folds=1, cases=2) is None


def test_mirroring_is_settled_by_what_training_measured(tmp_path: Path) -> None:
    configuration = _configuration(6.0)
    plan = _plan(configuration)
    table = divide_time(tmp_path, plan, (configuration,), _clock(10), folds=1, cases=10)
    assert table is not None
    assert not table.mirror
    assert settle_mirroring(tmp_path, table, plan, _clock(10, 300), cases=10, step_s=0.5)
    kept = divide_time(tmp_path, plan, (configuration,), _clock(10, 500), folds=1, cases=10)
    assert kept is not None
    assert kept.settled
    assert settle_mirroring(tmp_path, kept, plan, _clock(10, 599), cases=10, step_s=50.0)
    assert not settle_mirroring(tmp_path, table, plan, _clock(10, 300), cases=10, step_s=6.0)
    assert settle_mirroring(tmp_path, None, plan, Clock(None), cases=10, step_s=6.0)


def test_the_stages_of_a_cascade_share_the_time(tmp_path: Path) -> None:
    low, high = _configuration(0.1, name="low"), _configuration(0.6, name="high", previous="low")
    plan = _plan(high, low)
    table = divide_time(tmp_path, plan, (low, high), _clock(20), folds=1, cases=2, training_cases=5)
    assert table is not None
    # Before the second stage is trained, the first one predicts all training cases; later, whatever the second does.
    stages = [prediction_s(plan, low, 5 + 2, mirror=True), prediction_s(plan, high, 2, mirror=True)]
    assert table.reserve_s == pytest.approx(sum(part or math.nan for part in stages) + timetable.CLOSING_S, abs=0.1)
    assert table.configuration == "high"
    assert table.training_minutes["low"] == table.training_minutes["high"]
    assert sum(table.training_minutes.values()) * 60 + table.reserve_s <= 20 * 60


def test_minutes_are_round_and_never_none() -> None:
    assert rounded_minutes(125) == pytest.approx(2.05)
    assert rounded_minutes(0) == timetable.ROUND_MINUTES
    assert Clock(None).planned_minutes(1) is None
    assert Clock(None).left_s == math.inf
    planned = _clock(20, 60).planned_minutes(2)
    assert planned is not None
    assert 0 <= 19 * timetable.PLANNED_SHARE / 2 - planned <= 1.01 * timetable.ROUND_MINUTES


def test_fused_images_are_given_their_time(tmp_path: Path) -> None:
    configuration = _configuration(0.6)
    plan = _plan(configuration)
    tables = [
        divide_time(tmp_path / str(fused), plan, (configuration,), _clock(10.0), folds=1, cases=4, fused=fused)
        for fused in (0, 3)
    ]
    assert tables[0] is not None and tables[1] is not None
    images = prediction_s(plan, configuration, 3, mirror=False)
    assert images is not None and tables[1].reserve_s - tables[0].reserve_s == pytest.approx(images, abs=0.11)
