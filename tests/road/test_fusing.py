"""`autofuse fuse`, `predict --save-fused`, `fuse-dataset`: fused images for people, and as a modality more."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_road import MEMORY_GIB, draw, tree_hash

from autofuse import road
from autofuse.cli import main as command
from autofuse.foundation.errors import DataError, ModelError, UsageError
from autofuse.images import read_image, read_label_image, write_image
from autofuse.road.fusing import FusedDataset
from autofuse.road.runs import read_fold

STEPS = 8


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """A data set, its workspace, and the run that fuses it: two of five folds."""
    folder = tmp_path_factory.mktemp("fused")
    raw = draw(folder)
    road.plan(raw, workspace=folder / "ws", want_fused=True, memory_gib=MEMORY_GIB, device="cpu", workers=0)
    for fold in (0, 1):
        done = road.train(raw, workspace=folder / "ws", fold=fold, steps=STEPS, device="cpu", workers=0)
    assert done.plan.trainer == "fuse4seg"
    return raw, folder / "ws", done.run


def test_fused_images_lie_on_the_cases_grid_and_are_black_outside(
    trained: tuple[Path, Path, str], tmp_path: Path
) -> None:
    raw, workspace, run = trained
    made = road.fuse(raw, workspace=workspace, out=tmp_path / "fused", device="cpu")
    assert made.run == run and made.folds == (0, 1) and not made.failed and len(made.cases) == 2
    for case in made.cases:
        fused = read_image(tmp_path / "fused" / f"{case}.nii.gz")
        sources = [read_image(path) for path in sorted((raw / "imagesTs").glob(f"{case}_*"))]
        assert fused.geometry == sources[0].geometry
        assert fused.voxels.min() == 0 and 0.2 < fused.voxels.max() <= 1
        outside = ~np.any([image.voxels != 0 for image in sources], axis=0)
        border = outside.copy()
        border[1:-1, 1:-1, 1:-1] = False
        assert border.any() and (fused.voxels[border] == 0).all()


def test_the_same_command_again_writes_nothing(trained: tuple[Path, Path, str], tmp_path: Path) -> None:
    raw, workspace, _ = trained
    road.fuse(raw, workspace=workspace, out=tmp_path, device="cpu")
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.nii.gz")}
    road.fuse(raw, workspace=workspace, out=tmp_path, device="cpu")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.nii.gz")} == stamps
    damaged = next(iter(stamps))
    damaged.write_bytes(damaged.read_bytes()[:50])
    road.fuse(raw, workspace=workspace, out=tmp_path, device="cpu")
    assert read_image(damaged).voxels.max() > 0.2


def test_masks_and_fused_images_are_made_together(trained: tuple[Path, Path, str], tmp_path: Path) -> None:
    raw, workspace, _ = trained
    predicted = road.predict(raw, workspace=workspace, out=tmp_path, save_fused=True, device="cpu", workers=0)
    assert predicted.fused == str(tmp_path / "fused")
    assert {path.name for path in (tmp_path / "fused").glob("*.nii.gz")} == {f"{c}.nii.gz" for c in predicted.cases}


def test_an_imported_model_fuses_as_where_it_was_trained(trained: tuple[Path, Path, str], tmp_path: Path) -> None:
    raw, workspace, run = trained
    road.export_model(raw, workspace=workspace, out=tmp_path / "brains.zip", run=run)
    road.import_model(tmp_path / "brains.zip", workspace=tmp_path / "elsewhere", name="brains")
    shutil.copytree(raw / "imagesTs", tmp_path / "new")
    asked = {"images": tmp_path / "new", "device": "cpu"}
    there = road.fuse(raw, workspace=workspace, out=tmp_path / "there", **asked)
    here = road.fuse("brains", workspace=tmp_path / "elsewhere", out=tmp_path / "here", **asked)
    assert here.cases == there.cases and not here.failed and len(here.cases) == 2
    for case in here.cases:
        first, second = (read_image(tmp_path / where / f"{case}.nii.gz") for where in ("there", "here"))
        assert (first.voxels == second.voxels).all() and first.geometry == second.geometry
    with pytest.raises(UsageError, match="no images of its own"):
        road.fuse("brains", workspace=tmp_path / "elsewhere", device="cpu")


def test_a_bad_image_fails_alone(trained: tuple[Path, Path, str], tmp_path: Path) -> None:
    raw, workspace, _ = trained
    shutil.copytree(raw / "imagesTs", tmp_path / "new")
    bad = tmp_path / "new" / "test_001_0000.nii.gz"
    bad.write_bytes(bad.read_bytes()[:100])
    made = road.fuse(raw, workspace=workspace, images=tmp_path / "new", out=tmp_path / "out", device="cpu")
    assert made.cases == ("test_002",) and [item.case for item in made.failed] == ["test_001"]
    arguments = ["fuse", str(raw), "--workspace", str(workspace), "-i", str(tmp_path / "new"), "--quiet"]
    assert command.main([*arguments, "-o", str(tmp_path / "out"), "--device", "cpu"]) == 6


def test_a_run_that_fuses_nothing_is_refused(trained: tuple[Path, Path, str], tmp_path: Path) -> None:
    raw, _, _ = trained
    road.train(raw, workspace=tmp_path, steps=2, device="cpu", workers=0)
    with pytest.raises(ModelError, match="makes no fused image") as caught:
        road.fuse(raw, workspace=tmp_path, device="cpu")
    assert "--want-fused" in str(caught.value.remedy)


@pytest.fixture(scope="module")
def copy(trained: tuple[Path, Path, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[FusedDataset, Path]:
    """The fused data set, and where it is."""
    raw, workspace, _ = trained
    out = tmp_path_factory.mktemp("copy") / "Dataset002_Fused"
    return road.fuse_dataset(raw, out, workspace=workspace, device="cpu", workers=0), out


def test_a_fused_data_set_plugs_in(
    trained: tuple[Path, Path, str], copy: tuple[FusedDataset, Path], tmp_path: Path
) -> None:
    (raw, _, _), (made, out) = trained, copy
    report = road.check(out, workers=0)
    assert report.ok and report.facts is not None
    description = json.loads((out / "dataset.json").read_text())
    assert description["channel_names"] == {"0": "T1", "1": "FLAIR", "2": "fused"}
    for case in made.training:
        label = read_label_image(out / "labelsTr" / f"{case.case}.nii.gz").voxels
        assert np.array_equal(label, read_label_image(raw / "labelsTr" / f"{case.case}.nii.gz").voxels)
        assert (out / "imagesTr" / f"{case.case}_0001.nii.gz").samefile(raw / "imagesTr" / f"{case.case}_0001.nii.gz")
        assert read_image(out / "imagesTr" / f"{case.case}_0002.nii.gz").voxels.max() <= 1
    assert len(road.fingerprint(out, workspace=tmp_path, workers=0).modalities) == 3


def test_training_cases_are_fused_by_models_that_have_not_seen_them(
    trained: tuple[Path, Path, str], copy: tuple[FusedDataset, Path]
) -> None:
    (raw, workspace, run), (made, _) = trained, copy
    runs = workspace / raw.name / "runs" / run
    held_out = {fold: read_fold(runs / f"fold_{fold}").plan.held_out for fold in (0, 1)}
    for case in made.training:
        holding = tuple(fold for fold, cases in held_out.items() if case.case in cases)
        assert case.folds == (holding or (0, 1)) and case.unseen == bool(holding)
    assert sum(case.unseen for case in made.training) == 2
    assert all(case.unseen and case.folds == (0, 1) for case in made.test)


def test_a_finished_copy_is_kept_and_another_one_refused(
    trained: tuple[Path, Path, str], copy: tuple[FusedDataset, Path], tmp_path: Path
) -> None:
    (raw, workspace, _), (made, out) = trained, copy
    before = tree_hash(raw)
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.name != ".lock"}
    assert road.fuse_dataset(raw, out, workspace=workspace, device="cpu", workers=0) == made
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.name != ".lock"} == stamps
    with pytest.raises(UsageError, match="something else"):
        road.fuse_dataset(raw, out, workspace=workspace, only_fused=True, device="cpu", workers=0)
    with pytest.raises(UsageError, match="would lie in the data set"):
        road.fuse_dataset(raw, raw / "fused", workspace=workspace, device="cpu", workers=0)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="something else"):
        road.fuse_dataset(raw, tmp_path, workspace=workspace, device="cpu", workers=0)
    assert tree_hash(raw) == before


def test_what_was_lost_of_a_finished_copy_is_made_anew(
    trained: tuple[Path, Path, str], copy: tuple[FusedDataset, Path]
) -> None:
    (raw, workspace, _), (made, out) = trained, copy
    fused = out / "imagesTr" / f"{made.training[0].case}_0002.nii.gz"
    label = out / "labelsTr" / f"{made.training[1].case}.nii.gz"
    before = fused.read_bytes()
    fused.write_bytes(before[:50])
    label.unlink()
    assert road.fuse_dataset(raw, out, workspace=workspace, device="cpu", workers=0) == made
    assert fused.read_bytes() == before
    assert label.read_bytes() == (raw / "labelsTr" / label.name).read_bytes()


def test_a_background_that_is_not_zero_is_black_too(trained: tuple[Path, Path, str], tmp_path: Path) -> None:
    raw, workspace, _ = trained
    (tmp_path / "new").mkdir()
    sources = sorted((raw / "imagesTs").glob("test_001_*"))
    for channel, path in enumerate(sources):
        image = read_image(path)
        write_image(tmp_path / "new" / path.name, image.voxels.astype(np.float32) - 7 * (channel + 1), image.geometry)
    road.fuse(raw, workspace=workspace, images=tmp_path / "new", out=tmp_path / "out", device="cpu")
    outside = np.all([read_image(path).voxels == 0 for path in sources], axis=0)
    outside[1:-1, 1:-1, 1:-1] = False
    assert outside.any() and (read_image(tmp_path / "out" / "test_001.nii.gz").voxels[outside] == 0).all()


def test_the_fused_image_alone_is_a_data_set_too(trained: tuple[Path, Path, str], tmp_path: Path) -> None:
    raw, workspace, _ = trained
    out = tmp_path / "Dataset003_Only"
    road.fuse_dataset(raw, out, workspace=workspace, only_fused=True, device="cpu", workers=0)
    assert json.loads((out / "dataset.json").read_text())["channel_names"] == {"0": "fused"}
    assert road.check(out, workers=0).ok
    assert len(list((out / "imagesTr").iterdir())) == 5
    with pytest.raises(UsageError, match="fused modality already"):
        road.plan(out, workspace=tmp_path / "ws", want_fused=True, memory_gib=MEMORY_GIB, device="cpu", workers=0)
        road.train(out, workspace=tmp_path / "ws", steps=2, device="cpu", workers=0)
        road.fuse_dataset(out, tmp_path / "again", workspace=tmp_path / "ws", device="cpu", workers=0)


def test_a_case_that_cannot_be_fused_stops_the_copy_and_mending_goes_on(
    trained: tuple[Path, Path, str], tmp_path: Path
) -> None:
    raw, workspace, _ = trained
    spoiled = tmp_path / raw.name
    shutil.copytree(raw, spoiled)
    path = spoiled / "imagesTr" / "phantom_003_0001.nii.gz"
    image = read_image(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match="could not be fused") as caught:
        road.fuse_dataset(spoiled, tmp_path / "out", workspace=workspace, device="cpu", workers=0)
    assert caught.value.case == "phantom_003" and not (tmp_path / "out" / "dataset.json").exists()
    write_image(path, image.voxels, image.geometry)
    assert road.fuse_dataset(spoiled, tmp_path / "out", workspace=workspace, device="cpu", workers=0).training
    assert road.check(tmp_path / "out", workers=0).ok


def test_a_run_that_is_asked_for_a_fused_image_makes_it_and_the_report_shows_it(tmp_path: Path) -> None:
    raw = draw(tmp_path)
    report = road.run(
        raw, workspace=tmp_path / "ws", want_fused=True, steps=2, memory_gib=MEMORY_GIB, device="cpu", workers=0
    )
    place = tmp_path / "ws" / raw.name
    assert report.trainer == "fuse4seg" and report.predictions is not None
    assert len(list((place / report.predictions / "fused").glob("*.nii.gz"))) == 2
    held_out = place / report.folds[0].folder / "held_out" / "fused"
    assert len(list(held_out.glob("*.nii.gz"))) == report.folds[0].held_out_cases
    page = (place / "report" / "report.html").read_text()
    assert "Fused images" in page and f"were fused by {report.run}" in page
