"""The whole road on a tiny phantom: what it leaves, what it does not do twice, what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_road import MEMORY_GIB, STEPS, Travelled, draw, tree_hash

from autofuse import road
from autofuse.evaluation.types import Scores
from autofuse.foundation.errors import DataError, ModelError, UsageError
from autofuse.images import read_image, read_label_image, write_image
from autofuse.plan.types import Plan
from autofuse.road.results import REPORT_FILE, RunReport
from autofuse.road.runs import FINISHED_FILE, PLAN_FILE, RUN_FILE, choose_run, find_runs, read_plan


@pytest.fixture
def copied(travelled: Travelled, tmp_path: Path) -> Travelled:
    """The same, in a folder that a test may change."""
    raw = tmp_path / travelled.raw.name
    shutil.copytree(travelled.raw, raw, copy_function=shutil.copy2)
    shutil.copytree(travelled.workspace.root, tmp_path / "ws", copy_function=shutil.copy2)
    place = type(travelled.workspace)(tmp_path / "ws", raw.name)
    return Travelled(raw, place, travelled.report, travelled.tree_before)


def test_the_raw_data_are_as_before(travelled: Travelled) -> None:
    assert tree_hash(travelled.raw) == travelled.tree_before


def test_everything_is_where_the_report_says(travelled: Travelled) -> None:
    folder, report = travelled.workspace.folder, travelled.report
    assert RunReport.load(folder / REPORT_FILE) == report
    (fold,) = report.folds
    assert fold.steps == STEPS
    assert (folder / fold.folder / "last.safetensors").is_file()
    splits = json.loads(travelled.workspace.splits.read_text())["value"]
    held_out = splits["folds"][0][1]
    assert fold.held_out_cases == len(held_out) > 0
    assert {path.name for path in (folder / fold.folder / "held_out").glob("*.nii.gz")} == {
        f"{case}.nii.gz" for case in held_out
    }
    assert report.predictions is not None
    assert report.predicted_cases == 2
    assert report.held_out_scores is not None
    scores = Scores.load(folder / report.held_out_scores / "scores.json")
    assert [case.case for case in scores.cases] == sorted(held_out)
    assert scores.mean_dice == report.held_out_dice
    assert report.test_dice is not None
    assert report.pictures
    assert all((folder / picture).stat().st_size > 1000 for picture in report.pictures)


def test_masks_lie_on_the_images_grid(travelled: Travelled) -> None:
    assert travelled.report.predictions is not None
    for mask in sorted((travelled.workspace.folder / travelled.report.predictions).glob("*.nii.gz")):
        image = read_image(travelled.raw / "imagesTs" / mask.name.replace(".nii.gz", "_0000.nii.gz"))
        found = read_label_image(mask)
        assert found.geometry.same_grid(image.geometry, 1e-4)
        assert set(np.unique(found.voxels)) <= {0, 1, 2, 3}


def test_a_finished_road_is_not_travelled_again(travelled: Travelled) -> None:
    made = {
        path: path.stat().st_mtime_ns
        for path in travelled.workspace.folder.rglob("*")
        if path.suffix in {".safetensors", ".b2nd", ".gz"} or path.name in {"plan.json", "budget.json", "splits.json"}
    }
    again = road.run(
        travelled.raw,
        workspace=travelled.workspace.root,
        steps=STEPS,
        memory_gib=MEMORY_GIB,
        device="cpu",
        workers=0,
    )
    assert again.model_copy(update={"minutes": travelled.report.minutes}) == travelled.report
    assert {path: path.stat().st_mtime_ns for path in made} == made


def test_a_changed_image_makes_everything_after_it_anew(copied: Travelled, capfd: pytest.CaptureFixture[str]) -> None:
    path = next((copied.raw / "imagesTr").glob("*_0000.nii.gz"))
    image = read_image(path)
    voxels = np.array(image.voxels, dtype=np.float32)
    write_image(path, voxels * 2 + 1, image.geometry)
    before = Plan.load(copied.workspace.plan)
    after = road.plan(copied.raw, workspace=copied.workspace.root, workers=0)
    assert after.fingerprint_digest != before.fingerprint_digest
    assert "measured anew" in capfd.readouterr().err
    assert after.budget == before.budget


def test_a_damaged_value_is_named_and_made_anew(copied: Travelled, capfd: pytest.CaptureFixture[str]) -> None:
    before = Plan.load(copied.workspace.plan)
    text = copied.workspace.plan.read_text()
    copied.workspace.plan.write_text(text.replace('"steps"', '"stps"', 1))
    assert road.plan(copied.raw, workspace=copied.workspace.root, workers=0) == before
    assert "plan.json cannot be used" in capfd.readouterr().err


def test_other_dials_make_another_plan_and_the_same_ones_do_not(copied: Travelled) -> None:
    before = Plan.load(copied.workspace.plan)
    assert road.plan(copied.raw, workspace=copied.workspace.root, memory_gib=MEMORY_GIB, workers=0) == before
    other = road.plan(copied.raw, workspace=copied.workspace.root, memory_gib=2.0, workers=0)
    assert other.budget.memory_gib == 2.0
    assert road.plan(copied.raw, workspace=copied.workspace.root, workers=0) == other


def test_runs_are_told_apart_and_found_again(copied: Travelled) -> None:
    variant = road.train(
        copied.raw,
        workspace=copied.workspace.root,
        steps=1,
        settings={"learning_rate": 0.02},
        workers=0,
    )
    assert variant.run != copied.report.run
    assert variant.plan.fields["learning_rate"] == 0.02
    assert list(find_runs(copied.workspace)) == [copied.report.run, variant.run]
    assert choose_run(copied.workspace)[0].run == variant.run
    (first,) = choose_run(copied.workspace, copied.report.run, [0])
    assert read_plan(first) == Plan.load(copied.workspace.plan)
    assert (first.folder / RUN_FILE).exists()
    assert (first.folder / PLAN_FILE).exists()
    assert (first.folder / FINISHED_FILE).exists()
    with pytest.raises(ModelError, match="Not every fold"):
        choose_run(copied.workspace, copied.report.run, [0, 1])
    with pytest.raises(ModelError, match="no finished run called"):
        choose_run(copied.workspace, "other")


def test_two_folds_are_averaged_and_scored_together(copied: Travelled) -> None:
    report = road.run(copied.raw, workspace=copied.workspace.root, steps=STEPS, folds=(0, 1), workers=0)
    assert [fold.fold for fold in report.folds] == [0, 1]
    assert report.run == copied.report.run
    assert report.held_out_scores is not None
    scores = Scores.load(copied.workspace.folder / report.held_out_scores / "scores.json")
    assert len(scores.cases) == sum(fold.held_out_cases for fold in report.folds)
    joined, folder = road.evaluate(copied.raw, workspace=copied.workspace.root, workers=0)
    assert joined == scores
    assert folder == copied.workspace.folder / report.held_out_scores


def test_a_folder_of_images_is_predicted_and_one_bad_case_stops_no_other(copied: Travelled, tmp_path: Path) -> None:
    images = tmp_path / "new scans"
    shutil.copytree(copied.raw / "imagesTs", images)
    bad = sorted(images.glob("*_0000.nii.gz"))[0]
    bad.write_bytes(bad.read_bytes()[:-20])
    predicted = road.predict(
        copied.raw, workspace=copied.workspace.root, images=images, out=tmp_path / "masks", mirror=False, workers=0
    )
    assert len(predicted.cases) == 1
    assert [item.case for item in predicted.failed] == [bad.name.removesuffix("_0000.nii.gz")]
    assert (tmp_path / "masks" / f"{predicted.cases[0]}.nii.gz").is_file()
    scores, _ = road.evaluate(
        copied.raw, workspace=copied.workspace.root, predictions=tmp_path / "masks", out=tmp_path / "scores", workers=0
    )
    assert [case.case for case in scores.cases] == list(predicted.cases)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"fold": 9}, "no such fold"),
        ({"configuration": "4d"}, "no configuration '4d'"),
        ({"trainer": "wizard"}, "wizard"),
        ({"settings": {"learning_rat": 1}}, "no field 'learning_rat'"),
        ({"steps": 3, "minutes": 1.0}, "steps and one in minutes"),
    ],
    ids=str,
)
def test_what_does_not_exist_is_a_usage_error(travelled: Travelled, arguments: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        road.train(travelled.raw, workspace=travelled.workspace.root, workers=0, **arguments)  # type: ignore[arg-type]


def test_a_planner_that_does_not_exist_becomes_no_dial(copied: Travelled) -> None:
    before = (copied.workspace.folder / "dials.json").read_bytes()
    with pytest.raises(UsageError, match="No planner is called 'wizard'"):
        road.plan(copied.raw, workspace=copied.workspace.root, planner="wizard", workers=0)
    assert (copied.workspace.folder / "dials.json").read_bytes() == before
    kept = road.plan(copied.raw, workspace=copied.workspace.root, planner="default", workers=0)
    assert kept == Plan.load(copied.workspace.plan)


@pytest.mark.parametrize(("name", "told"), [(RUN_FILE, "member of the ensemble"), (PLAN_FILE, "plan")])
def test_a_damaged_run_is_refused(copied: Travelled, name: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = copied.workspace.folder / copied.report.folds[0].folder / name
    damaged.write_text(damaged.read_text().replace("3d", "4d", 1))
    with pytest.raises(ModelError, match=told):
        road.predict(copied.raw, workspace=copied.workspace.root, workers=0)
    if name == RUN_FILE:
        assert "is left out" in capsys.readouterr().err


def test_a_folder_of_images_that_is_not_there_is_named(travelled: Travelled, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere cannot be listed"):
        road.predict(travelled.raw, workspace=travelled.workspace.root, images=tmp_path / "nowhere", workers=0)


def test_pictures_get_masks_of_their_own_format(tmp_path: Path) -> None:
    raw = draw(tmp_path, dimensions=2, test_cases=1)
    for path in sorted(raw.rglob("*.nii.gz")):
        image = read_image(path)
        low, high = image.voxels.min(), image.voxels.max()
        grey = image.voxels if path.parent.name.startswith("labels") else 255 * (image.voxels - low) / (high - low)
        write_image(path.with_name(path.name.replace(".nii.gz", ".png")), grey.astype(np.uint8), image.geometry)
        path.unlink()
    description = json.loads((raw / "dataset.json").read_text()) | {"file_ending": ".png"}
    (raw / "dataset.json").write_text(json.dumps(description))
    report = road.run(raw, workspace=tmp_path / "ws", steps=STEPS, memory_gib=MEMORY_GIB, device="cpu", workers=0)
    assert report.configuration == "2d"
    assert report.predictions is not None
    (mask,) = sorted((tmp_path / "ws" / raw.name / report.predictions).glob("*.png"))
    (test,) = sorted((raw / "imagesTs").glob("*_0000.png"))
    assert read_label_image(mask).voxels.shape == read_image(test).voxels.shape


def test_a_bad_data_set_is_refused_with_all_its_problems(tmp_path: Path) -> None:
    raw = draw(tmp_path)
    for path in sorted((raw / "imagesTr").glob("*_0001.nii.gz"))[:2]:
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError) as caught:
        road.run(raw, workspace=tmp_path / "ws", steps=1, workers=0)
    told = str(caught.value)
    assert "2 problems" in told
    assert "phantom_001" in told
    assert "phantom_002" in told
    assert not (tmp_path / "ws").exists()


def test_nothing_trained_is_said_with_a_remedy(tmp_path: Path) -> None:
    raw = draw(tmp_path)
    with pytest.raises(ModelError, match="No run of this data set is finished") as caught:
        road.predict(raw, workspace=tmp_path / "ws", workers=0)
    assert caught.value.remedy is not None
    assert "autofuse train" in caught.value.remedy


def test_inventory_counts_what_is_there(travelled: Travelled) -> None:
    state = road.info(travelled.raw, workspace=travelled.workspace.root).workspace
    assert state is not None
    assert state.fingerprint
    assert state.plan
    assert state.measured_cases == 5
    assert set(state.prepared_cases.values()) == {5}
    assert [(run.run, run.fold, run.steps) for run in state.runs] == [(travelled.report.run, 0, STEPS)]
    assert state.predictions == {travelled.report.run: 2}
    assert state.scores == (f"{travelled.report.run}/held_out", f"{travelled.report.run}/test")
