"""Run plans, their names, settings from the command line."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from tiny_training import Tiny, tiny_run, tiny_task

from autofuse.foundation.errors import DataError, UsageError
from autofuse.training.run import (
    RunPlan,
    make_trainer,
    parse_settings,
    plan_run,
    run_name,
    trainer_fields,
    validation_interval,
)
from autofuse.training.streams import half_of, stream_cases
from autofuse.training.trainer import Stream


def test_settings_are_read_as_json_or_text() -> None:
    assert parse_settings(["a=0.3", "b=true", "c=joint", "d=[1, 2]", "e= two words "]) == {
        "a": 0.3,
        "b": True,
        "c": "joint",
        "d": [1, 2],
        "e": "two words",
    }
    for wrong in (["a"], ["=1"], ["a b=1"], ["a=1", "a=2"]):
        with pytest.raises(UsageError):
            parse_settings(wrong)


def test_make_trainer_checks_fields_and_types() -> None:
    assert make_trainer("tiny", {"width": 8, "learning_rate": 1}) == Tiny(width=8, learning_rate=1.0)
    for field, value in (("widht", 8), ("width", 8.5), ("width", "8"), ("poison", 3), ("learning_rate", True)):
        with pytest.raises(UsageError) as caught:
            make_trainer("tiny", {field: value})
        assert "width: int = 4" in str(caught.value)
    for field, value in (("weight_decay", -1), ("gradient_clip", 0), ("foreground", 1.5)):
        with pytest.raises(UsageError, match="does not take this value") as caught:
            make_trainer("tiny", {field: value})
        assert "weight_decay: float (>= 0) = 3e-05" in str(caught.value)
    with pytest.raises(UsageError):
        make_trainer("nobody registered this")


def test_fields_survive_the_journey_through_json() -> None:
    trainer = Tiny(width=6, learning_rate=0.1)
    assert make_trainer("tiny", trainer_fields(trainer)) == trainer


def test_run_plan_is_stored_and_named_by_what_differs(tmp_path) -> None:
    task = tiny_task()
    run = tiny_run(task, Tiny())
    run.save(tmp_path / "run.json")
    assert RunPlan.load(tmp_path / "run.json") == run
    name = run_name(run)
    assert name.startswith("3d-tiny-") and len(name) == len("3d-tiny-") + 8
    assert run_name(tiny_run(task, Tiny(), fold=3, threads=2)) == name
    others = [tiny_run(task, Tiny(width=5)), tiny_run(task, Tiny(), steps=41), tiny_run(task, Tiny(), seed=8)]
    assert len({name, *map(run_name, others)}) == 4


def test_length_is_steps_or_minutes() -> None:
    task = tiny_task(steps=40)
    assert plan_run(task, "tiny", Tiny(), fold=0, labelled=["a"]).steps == 40
    assert plan_run(task, "tiny", Tiny(), fold=0, labelled=["a"], minutes=2).minutes == 2.0
    for wrong in ({"steps": 3, "minutes": 2.0}, {"steps": 0}, {"minutes": 0.0}):
        with pytest.raises(UsageError):
            plan_run(task, "tiny", Tiny(), fold=0, labelled=["a"], **wrong)
    run = tiny_run(task, Tiny())
    with pytest.raises(ValidationError):
        RunPlan.model_validate(run.model_dump() | {"minutes": 1.0})


def test_epochs_are_many_and_not_too_long() -> None:
    assert plan_run(tiny_task(), "tiny", Tiny(), fold=0, labelled=["a"], steps=1000).steps_per_epoch == 50
    assert plan_run(tiny_task(), "tiny", Tiny(), fold=0, labelled=["a"], steps=30000).steps_per_epoch == 250
    assert plan_run(tiny_task(), "tiny", Tiny(), fold=0, labelled=["a"], steps=100).steps_per_epoch == 10
    assert plan_run(tiny_task(), "tiny", Tiny(), fold=0, labelled=["a"], steps=3).steps_per_epoch == 3


def test_validation_takes_about_a_tenth_of_the_work() -> None:
    assert validation_interval(0, 500) == 1
    assert validation_interval(150, 500) == 1
    # 1500 forward passes cost as much as 500 samples of training: once in ten epochs of 500.
    assert validation_interval(1500, 500) == 10


def test_streams_take_their_cases_and_halves_never_separate_subjects() -> None:
    labelled = tuple(f"p{subject}_{scan}" for subject in range(5) for scan in range(2))
    subjects = {case: case.split("_")[0] for case in labelled}
    run = tiny_run(tiny_task(), Tiny(), labelled=labelled, unlabelled=("u1", "u2"), subjects=subjects)
    upper, lower = half_of(labelled, "upper", run), half_of(labelled, "lower", run)
    assert sorted(upper + lower) == sorted(labelled)
    assert not {subjects[case] for case in upper} & {subjects[case] for case in lower}
    assert abs(len(upper) - len(lower)) == 2
    assert stream_cases(Stream(cases="unlabelled"), run) == ("u1", "u2")
    assert stream_cases(Stream(cases="any"), run) == (*labelled, "u1", "u2")
    with pytest.raises(DataError, match="unlabelled"):
        stream_cases(Stream(cases="unlabelled"), tiny_run(tiny_task(), Tiny()))
