"""The road where modalities carry masks of their own: from the folder to scores that name the modality."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from tiny_planner import register_all
from tiny_road import MEMORY_GIB, draw

from autofuse import road
from autofuse.foundation.errors import DataError, ModelError
from autofuse.foundation.workspace import Workspace
from autofuse.images import read_header, read_label_image
from autofuse.preprocessing.store import Store

APART = {"shift_mm": 3.0, "narrow": 0.8, "turned": True, "labels_per_modality": True}


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Workspace, road.RunReport]:
    """A data set, its workspace, and one fold of the whole road."""
    folder = tmp_path_factory.mktemp("own")
    raw = draw(folder, cases=4, test_cases=1, unlabelled=1, **APART)
    with pytest.MonkeyPatch.context() as patch:
        register_all(patch)
        report = road.run(
            raw,
            workspace=folder / "ws",
            planner="OwnMasks",
            folds=[0],
            memory_gib=MEMORY_GIB,
            device="cpu",
            workers=0,
        )
    return raw, Workspace(folder / "ws", raw.name), report


@pytest.fixture(autouse=True)
def planners(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny planner is there for whoever plans again."""
    register_all(monkeypatch)


def test_each_modality_has_a_mask_on_its_own_grid(ended: tuple[Path, Workspace, road.RunReport]) -> None:
    raw, workspace, report = ended
    assert report.trainer == "collaboration" and report.predictions is not None and not report.failed
    masks = workspace.folder / report.predictions
    names = ["test_001_0000.nii.gz", "test_001_0001.nii.gz"]
    assert sorted(path.name for path in masks.glob("*.nii.gz")) == names
    grids = []
    for name in names:
        grids.append(read_header(raw / "imagesTs" / name).geometry)
        assert read_label_image(masks / name).geometry == grids[-1]
    assert grids[0].shape != grids[1].shape


def test_scores_name_the_modality(ended: tuple[Path, Workspace, road.RunReport]) -> None:
    raw, workspace, report = ended
    scores, folder = road.evaluate(raw, workspace=workspace.root)
    held_out = {case.case[:-5] for case in scores.cases}
    assert len(scores.cases) == 2 * len(held_out) and scores.subjects == len(held_out)
    assert {case.modality for case in scores.cases} == {"T1", "FLAIR"}
    assert [(item.name, item.masks) for item in scores.modalities] == [("T1", len(held_out)), ("FLAIR", len(held_out))]
    rows = list(csv.DictReader((folder / "scores.csv").open()))
    assert {row["modality"] for row in rows} == {"T1", "FLAIR"} and len(rows) == 3 * len(scores.cases)
    assert report.held_out_dice == scores.mean_dice and report.test_dice is not None


def test_the_store_holds_a_map_for_each_and_training_saw_them(ended: tuple[Path, Workspace, road.RunReport]) -> None:
    _, workspace, _ = ended
    (folder,) = {path.parent.parent for path in workspace.folder.rglob("case.json")}
    store = Store(folder)
    kinds = [store.open(case).record.annotations for case in store.case_ids]
    assert kinds.count(("dense", "dense")) == 3 and kinds.count(()) == 1
    label = store.open(store.case_ids[0]).read()[1]
    assert label is not None and label.shape[0] == 2


def test_what_takes_one_mask_says_so(ended: tuple[Path, Workspace, road.RunReport]) -> None:
    raw, workspace, _ = ended
    with pytest.raises(DataError, match="'supervised' teaches one mask a case") as caught:
        road.train(raw, workspace=workspace.root, fold=0, trainer="supervised", steps=1, workers=0)
    assert "-t collaboration" in str(caught.value)
    with pytest.raises(DataError, match="An ensemble takes one mask a case"):
        road.select(raw, workspace=workspace.root, workers=0)
    with pytest.raises(DataError, match="A submission takes one mask a case"):
        road.submit(raw, "folder", workspace=workspace.root)
    with pytest.raises((ModelError, DataError), match="one mask"):
        road.export_onnx(raw, workspace=workspace.root)


def test_the_page_is_made(ended: tuple[Path, Workspace, road.RunReport]) -> None:
    raw, workspace, _ = ended
    road.explain(raw, workspace=workspace.root)
    made = road.report(raw, workspace=workspace.root)
    assert Path(made.path).is_file()
