"""Teachers on the road: trained on the fold's own cases, their masks to be looked at, everything found again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_road import MEMORY_GIB, draw

from autofuse import road
from autofuse.foundation.errors import DataError
from autofuse.images import read_label_image
from autofuse.preprocessing.store import Store
from autofuse.road.places import workspace_of
from autofuse.road.runs import TrainedFold, choose_run, find_runs, read_fold
from autofuse.road.teaching import TEACHERS_RUNS

SETTINGS: dict[str, Any] = {"members": 2, "rounds": 2, "confidence": 0.3, "least_dice": 0.0}


def train(raw: Path, workspace: Path, fold: int = 0, **settings: Any) -> TrainedFold:
    chosen = SETTINGS | settings
    return road.train(raw, workspace=workspace, fold=fold, trainer="self_training", settings=chosen, steps=4, workers=0)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("few"), cases=8, unlabelled=3)


@pytest.fixture(scope="module")
def trained(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainedFold]:
    workspace = tmp_path_factory.mktemp("ws")
    road.plan(raw, workspace=workspace, memory_gib=MEMORY_GIB, device="cpu", workers=0)
    with pytest.MonkeyPatch.context() as patch:  # so few steps find next to nothing
        patch.setattr("autofuse.road.teaching._School._lost_classes", lambda school, key: [])
        return workspace, train(raw, workspace)


def teachers_of(raw: Path, workspace: Path) -> list[TrainedFold]:
    place = workspace_of(raw, workspace)
    return [read_fold(path.parent) for path in sorted(place.runs.glob(f"{TEACHERS_RUNS}/*/fold_0/run.json"))]


@pytest.mark.slow
def test_two_rounds_of_two_teachers_and_then_the_student(raw: Path, trained: tuple[Path, TrainedFold]) -> None:
    workspace, student = trained
    teachers = teachers_of(raw, workspace)
    assert sorted(item.plan.trainer for item in teachers) == ["self_training"] * 2 + ["supervised"] * 2
    assert len({item.plan.seed for item in teachers}) == 4
    first = {item.plan.taught_by for item in teachers if item.plan.trainer == "supervised"}
    second = {item.plan.taught_by for item in teachers if item.plan.trainer == "self_training"}
    assert first == {None}
    assert len(second) == 1
    assert student.plan.taught_by not in (None, *second)
    held_out = set(student.plan.held_out)
    for item in teachers:
        assert set(item.plan.labelled) == set(student.plan.labelled)
        assert not held_out & set(item.plan.labelled)


@pytest.mark.slow
def test_teachers_masks_are_there_to_be_looked_at(raw: Path, trained: tuple[Path, TrainedFold]) -> None:
    workspace, student = trained
    place = workspace_of(raw, workspace)
    (folder,) = place.runs.glob(f"{TEACHERS_RUNS}/*/fold_0/{student.plan.taught_by}")
    masks = sorted(folder.glob("*.nii.gz"))
    assert len(masks) == len(student.plan.unlabelled) == 3
    assert not list(folder.parent.glob("*-predicted"))
    plan = road.plan(raw, workspace=workspace, device="cpu", workers=0)
    store = Store(place.prepared(student.plan.configuration, plan.preparation_digest(plan.configurations[0])))
    for path in masks:
        mask = read_label_image(path).voxels
        case = store.open(path.name.removesuffix(".nii.gz"))
        assert set(np.unique(mask)) <= {0, 1, 2, 3, 4}  # 4: not sure
        expected = np.where(mask == 4, -1, mask.astype(int))
        kept = case.read_prior(str(student.plan.taught_by))
        assert np.array_equal(kept, case.placement.forward(expected))
    assert store.damaged(student.plan.unlabelled) == {}


@pytest.mark.slow
def test_prediction_takes_the_student_and_nothing_is_made_twice(raw: Path, trained: tuple[Path, TrainedFold]) -> None:
    workspace, student = trained
    place = workspace_of(raw, workspace)
    assert list(find_runs(place)) == [student.run]
    assert [item.run for item in choose_run(place)] == [student.run]
    before = {path: path.stat().st_mtime_ns for path in place.runs.rglob("*.safetensors")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("autofuse.road.teaching._School._lost_classes", lambda school, key: [])
        assert train(raw, workspace).run == student.run
    assert {path: path.stat().st_mtime_ns for path in place.runs.rglob("*.safetensors")} == before


@pytest.mark.slow
def test_teachers_that_are_not_believed_label_nothing(
    raw: Path, trained: tuple[Path, TrainedFold], capsys: pytest.CaptureFixture[str]
) -> None:
    workspace, _ = trained
    student = train(raw, workspace, least_dice=1.0)
    assert "they are not believed" in capsys.readouterr().err
    place = workspace_of(raw, workspace)
    plan = road.plan(raw, workspace=workspace, device="cpu", workers=0)
    store = Store(place.prepared(student.plan.configuration, plan.preparation_digest(plan.configurations[0])))
    for case in student.plan.unlabelled:
        assert set(np.unique(store.open(case).read_prior(str(student.plan.taught_by)))) == {-1}


def test_a_class_that_teachers_find_nowhere_is_a_reason_for_doubt(
    raw: Path, trained: tuple[Path, TrainedFold], capsys: pytest.CaptureFixture[str]
) -> None:
    workspace, _ = trained
    student = train(raw, workspace, confidence=1.0, rounds=1)
    told = capsys.readouterr().err
    assert "label 1, label 2, label 3 in none of 3 cases: they are not believed" in " ".join(told.split())
    assert student.finished is not None


@pytest.mark.slow
def test_folds_are_one_run_whatever_their_teachers_say(raw: Path, tmp_path: Path) -> None:
    road.plan(raw, workspace=tmp_path, memory_gib=MEMORY_GIB, device="cpu", workers=0)
    first, second = (train(raw, tmp_path, fold=fold, members=1, rounds=1) for fold in (0, 1))
    assert first.run == second.run
    assert first.plan.taught_by != second.plan.taught_by
    assert [item.fold for item in choose_run(workspace_of(raw, tmp_path))] == [0, 1]


def test_without_unlabelled_cases_there_is_nothing_to_teach(tmp_path: Path) -> None:
    raw = draw(tmp_path, cases=5)
    with pytest.raises(DataError, match="no unlabelled case"):
        train(raw, tmp_path / "ws", rounds=1, members=1)
