"""Scribbled copies on disk: what they hold, when they are made again, and what is refused."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from scribbled_sets import SHAPE, SPACING_MM, build, content, described, image, label, scribbled, voxels

from autofuse.dataset.check import check_dataset
from autofuse.dataset.opening import open_dataset
from autofuse.dataset.types import Labels
from autofuse.foundation.errors import DataError, ResourceError, UsageError
from autofuse.images import Geometry, read_image, read_label_image, write_image, write_labels
from autofuse.scribbles import one_case
from autofuse.scribbles.write import AT_WORK, RECORD, with_ignore

GRID = Geometry(SHAPE, SPACING_MM)
IGNORED = 5


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Three dense cases and a test case."""
    return build(tmp_path / "Dataset007_Dense", tests=1)


def test_a_copy_is_a_data_set_with_strokes_of_the_right_class(source: Path, tmp_path: Path) -> None:
    before = content(source)
    made = scribbled(source, tmp_path / "out")
    copy = open_dataset(tmp_path / "out")
    assert check_dataset(tmp_path / "out", workers=0).problems == check_dataset(source, workers=0).problems
    assert (copy.labels.ignore, copy.layout, len(copy.test_cases)) == (IGNORED, "nnunet", 1)
    for case in copy.cases:
        strokes, dense = voxels(copy.path(case.label or "")), voxels(copy.path(case.evaluation_label or ""))
        shown = strokes != IGNORED
        np.testing.assert_array_equal(strokes[shown], dense[shown])
        assert set(np.unique(strokes)) == {0, 1, 2, 4, IGNORED}
        assert 0.001 < shown.mean() < 0.2
    assert copy.test_cases[0].evaluation_label == "labelsTs/test_0.nii.gz"
    for name in ("imagesTr/case_0_0001.nii.gz", "imagesTs/test_0_0000.nii.gz"):
        assert (tmp_path / "out" / name).samefile(source / name)
    assert not (tmp_path / "out/labelsTr_dense/case_0.nii.gz").samefile(source / "labelsTr/case_0.nii.gz")
    assert content(source) == before
    assert not (tmp_path / "out" / AT_WORK).exists()
    assert made.unlabelled == ()


def test_the_record_counts_what_the_files_hold(source: Path, tmp_path: Path) -> None:
    made = scribbled(source, tmp_path / "out", every=2)
    assert json.loads((tmp_path / "out" / RECORD).read_text())["value"]["options"]["every"] == 2
    for case in made.cases:
        strokes = voxels(tmp_path / f"out/labelsTr/{case.id}.nii.gz")
        dense = voxels(source / f"labelsTr/{case.id}.nii.gz")
        assert (case.axis, case.slices) == (0, 6)
        assert case.slices_drawn == (strokes != IGNORED).any(axis=(1, 2)).sum() <= 4
        assert case.share == pytest.approx((strokes != IGNORED).mean(), abs=1e-6)
        for item, value in zip(case.classes, (0, 1, 2, 4), strict=True):
            assert (item.scribbled_voxels, item.dense_voxels) == ((strokes == value).sum(), (dense == value).sum())
            assert item.slices == (strokes == value).any(axis=(1, 2)).sum()
    assert [item.name for item in made.totals] == ["background", "ring", "disc", "block"]
    ring = made.totals[1]
    assert ring.scribbled_voxels == sum(case.classes[1].scribbled_voxels for case in made.cases)
    assert ring.median_share == sorted(case.classes[1].share or 0 for case in made.cases)[1]


def test_equal_options_give_equal_files_and_more_cases_change_nothing(tmp_path: Path) -> None:
    few, more = build(tmp_path / "few" / "Set", cases=2), build(tmp_path / "more" / "Set", cases=4)
    for source, out in ((few, "a"), (few, "b"), (more, "c")):
        scribbled(source, tmp_path / out, seed=3)
    assert content(tmp_path / "a") == content(tmp_path / "b")
    for name in ("labelsTr/case_0.nii.gz", "labelsTr/case_1.nii.gz"):
        assert content(tmp_path / "a")[name] == content(tmp_path / "c")[name]
    scribbled(few, tmp_path / "d", seed=4)
    assert content(tmp_path / "a")["labelsTr/case_0.nii.gz"] != content(tmp_path / "d")["labelsTr/case_0.nii.gz"]


def test_what_the_source_says_is_kept(tmp_path: Path) -> None:
    extensions = {
        "optional_modalities": ["FLAIR"],
        "subject_pattern": r"(?P<subject>case_\d)",
        "splits": [{"train": ["case_0", "case_1"], "val": ["case_2"]}],
        "evaluation_labels": "truth",
    }
    regions = {"background": 0, "whole": [1, 2, 4], "core": [2, 4], "block": [4]}
    source = build(
        tmp_path / "Set",
        autofuse=extensions,
        labels=regions,
        regions_class_order=[1, 2, 4],
        licence="CC0",
        reference="nobody",
    )
    (source / "imagesTr/case_1_0001.nii.gz").unlink()
    (source / "labelsTr/case_2.nii.gz").rename(source / "dense_2.nii.gz")
    shutil.copytree(source / "labelsTr", source / "truth")
    (source / "dense_2.nii.gz").rename(source / "truth/case_2.nii.gz")
    made = scribbled(source, tmp_path / "out")
    told, there, copy = described(tmp_path / "out"), open_dataset(source), open_dataset(tmp_path / "out")
    del extensions["evaluation_labels"]
    assert told["autofuse"] == extensions
    assert (told["licence"], told["reference"]) == ("CC0", "nobody")
    assert copy.labels == there.labels.model_copy(update={"ignore": IGNORED})
    assert (copy.modalities, copy.fixed_splits, copy.subject_rule) == (
        there.modalities,
        there.fixed_splits,
        there.subject_rule,
    )
    assert [[item is None for item in case.images] for case in copy.cases] == [[False] * 2, [False, True], [False] * 2]
    assert [case.label is None for case in copy.cases] == [False, False, True]
    assert all(case.evaluation_label is not None for case in copy.cases)
    assert made.unlabelled == ("case_2",)
    assert [item.name for item in made.totals] == ["background", "1 (whole)", "2 (whole, core)", "block"]


def test_subject_table_and_nnunet_splits_come_along(tmp_path: Path) -> None:
    source = build(tmp_path / "Set", autofuse={"subject_table": "who.csv", "reference_modality": "FLAIR"})
    (source / "who.csv").write_text("subject;case\nanna;case_0\nanna;case_1\nbert;case_2\n")
    (source / "splits_final.json").write_text(json.dumps([{"train": ["case_0", "case_1"], "val": ["case_2"]}]))
    scribbled(source, tmp_path / "out")
    copy = open_dataset(tmp_path / "out")
    assert [case.subject for case in copy.cases] == ["anna", "anna", "bert"]
    assert copy.fixed_splits == open_dataset(source).fixed_splits
    assert copy.reference == 1


def test_ignored_voxels_stay_ignored(tmp_path: Path) -> None:
    labels = {"background": 0, "ring": 1, "disc": 2, "block": 4, "ignore": 9}
    source = build(tmp_path / "Set", labels=labels)
    dense = label(0)
    dense[:, :, ::2] = 9
    write_labels(source / "labelsTr/case_0.nii.gz", dense, GRID)
    scribbled(source, tmp_path / "out")
    strokes = voxels(tmp_path / "out/labelsTr/case_0.nii.gz")
    assert described(tmp_path / "out")["labels"]["ignore"] == 9
    assert (strokes[dense == 9] == 9).all()
    assert set(np.unique(strokes)) == set(np.unique(dense))
    np.testing.assert_array_equal(voxels(tmp_path / "out/labelsTr_dense/case_0.nii.gz"), dense)


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_single_slices_in_picture_formats(ending: str, tmp_path: Path) -> None:
    source = build(tmp_path / "Set", ending=ending)
    made = scribbled(source, tmp_path / "out", every=4, axis=2)
    assert check_dataset(tmp_path / "out", workers=0).ok
    for case in made.cases:
        strokes = voxels(tmp_path / f"out/labelsTr/{case.id}{ending}")
        assert strokes.shape == (1, *SHAPE[1:])
        assert set(np.unique(strokes)) == {0, 1, 2, 4, IGNORED}
        assert (case.slices, case.slices_drawn) == (1, 1)


def test_pictures_that_hold_all_channels_stay_whole(tmp_path: Path) -> None:
    grid = Geometry((1, 20, 24))
    for number in range(2):
        colours = image(number, (3, 1, 20, 24)).astype(np.uint8)
        write_image(tmp_path / f"Set/imagesTr/p{number}_0000.png", colours, grid)
        write_labels(tmp_path / f"Set/labelsTr/p{number}.png", label(number, (1, 20, 24)), grid)
    said = {"channel_names": {"0": "R", "1": "G", "2": "B"}, "labels": {"background": 0, "a": 1, "b": 2, "c": 4}}
    (tmp_path / "Set/dataset.json").write_text(json.dumps({**said, "file_ending": ".png"}))
    scribbled(tmp_path / "Set", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out/imagesTr").iterdir()) == ["p0_0000.png", "p1_0000.png"]
    assert check_dataset(tmp_path / "out", workers=0).ok


def test_decathlon_images_are_split_by_channel(tmp_path: Path) -> None:
    volumes = np.stack([image(1), image(2)])
    write_image(tmp_path / "Task01/imagesTr/a.nii.gz", volumes, GRID)
    write_labels(tmp_path / "Task01/labelsTr/a.nii.gz", label(0), GRID)
    write_image(tmp_path / "Task01/imagesTs/b.nii.gz", volumes, GRID)
    said = {
        "name": "Task",
        "tensorImageSize": "4D",
        "modality": {"0": "T1", "1": "T2"},
        "labels": {"0": "background", "1": "ring", "2": "disc", "4": "block"},
        "training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}],
        "test": ["./imagesTs/b.nii.gz"],
    }
    (tmp_path / "Task01/dataset.json").write_text(json.dumps(said))
    scribbled(tmp_path / "Task01", tmp_path / "out")
    copy = open_dataset(tmp_path / "out")
    assert (copy.layout, [item.name for item in copy.modalities]) == ("nnunet", ["T1", "T2"])
    for path in ("imagesTr/a_000", "imagesTs/b_000"):
        for channel in (0, 1):
            read = read_image(tmp_path / "out" / f"{path}{channel}.nii.gz")
            np.testing.assert_array_equal(read.voxels, volumes[channel])
            assert read.geometry.same_grid(GRID)
    assert described(tmp_path / "out")["name"] == "Task"
    assert not {"tensorImageSize", "training", "test", "modality"} & set(described(tmp_path / "out"))


def test_a_table_of_mixed_formats_becomes_one_layout(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_image(tmp_path / f"Set/{name}.mha", image(ord(name)), GRID)
        write_labels(tmp_path / f"Set/{name}_seg.nii.gz", label(0), GRID)
    rows = [("case", "subject", "label", "split", "FLAIR"), ("x y", "s1", "a_seg.nii.gz", "", "a.mha")]
    rows += [('n"1', "s1", "b_seg.nii.gz", "train", "b.mha"), ("late", "s2", "c_seg.nii.gz", "test", "c.mha")]
    with (tmp_path / "Set/cases.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    scribbled(tmp_path / "Set", tmp_path / "out")
    copy, source = open_dataset(tmp_path / "out"), open_dataset(tmp_path / "Set")
    assert [(case.id, case.subject) for case in copy.cases] == [(case.id, case.subject) for case in source.cases]
    assert [case.subject for case in copy.test_cases] == ["s2"]
    np.testing.assert_array_equal(read_image(tmp_path / "out/imagesTr/x y_0000.nii.gz").voxels, image(ord("a")))
    assert described(tmp_path / "out")["labels"] == {
        "background": 0,
        "label 1": 1,
        "label 2": 2,
        "label 4": 4,
        "ignore": 5,
    }
    assert (tmp_path / "out/labelsTs/late.nii.gz").is_file()


def test_the_ignore_value_is_the_next_free_one() -> None:
    def labels(*values: int, ignore: int | None = None) -> Labels:
        items = [{"name": f"c{value}", "raw_values": (value,)} for value in values]
        return Labels.model_validate({"classes": tuple(items), "ignore": ignore})

    assert with_ignore(labels(1, 7)).ignore == 8
    assert with_ignore(labels(1, 7, ignore=3)).ignore == 3
    assert with_ignore(labels(1, 65535)).ignore == 65534


def test_a_stopped_run_goes_on(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = scribbled(source, tmp_path / "whole")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    done: list[str] = []
    real = one_case._scribble

    def draw(copied: one_case.CopiedCase, *more: object) -> object:
        done.append(copied.case.id)
        return stop() if len(done) == 2 else real(copied, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(one_case, "_scribble", draw)
    with pytest.raises(KeyboardInterrupt):
        scribbled(source, tmp_path / "out")
    assert not (tmp_path / "out/dataset.json").exists()
    stamp = (tmp_path / "out/labelsTr/case_0.nii.gz").stat().st_mtime_ns
    (tmp_path / "out/labelsTr/.tmp-4999999-00-x.nii.gz").write_bytes(b"left by a killed writer")
    monkeypatch.setattr(one_case, "_scribble", real)
    assert scribbled(source, tmp_path / "out") == whole
    assert (tmp_path / "out/labelsTr/case_0.nii.gz").stat().st_mtime_ns == stamp
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_a_finished_copy_is_left_as_it_is(source: Path, tmp_path: Path) -> None:
    made = scribbled(source, tmp_path / "out")
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    assert scribbled(source, tmp_path / "out") == made
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == stamps
    moved = source.rename(tmp_path / "elsewhere")
    assert scribbled(moved, tmp_path / "out") == made


@pytest.mark.parametrize(
    "lost", ["dataset.json", "imagesTs/test_0_0000.nii.gz", "labelsTr/case_1.nii.gz", "labelsTr_dense/case_1.nii.gz"]
)
def test_a_file_that_is_gone_is_made_again(lost: str, source: Path, tmp_path: Path) -> None:
    made = scribbled(source, tmp_path / "out")
    before = content(tmp_path / "out")
    (tmp_path / "out" / lost).unlink()
    assert scribbled(source, tmp_path / "out") == made
    assert content(tmp_path / "out") == before


def test_without_hard_links_images_are_copied(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    scribbled(source, tmp_path / "out")
    name = "imagesTr/case_0_0000.nii.gz"
    assert (tmp_path / "out" / name).read_bytes() == (source / name).read_bytes()
    assert not (tmp_path / "out" / name).samefile(source / name)


def test_other_options_another_source_and_changed_strokes_are_refused(source: Path, tmp_path: Path) -> None:
    scribbled(source, tmp_path / "out")
    before = content(tmp_path / "out")
    with pytest.raises(UsageError, match="other options") as caught:
        scribbled(source, tmp_path / "out", every=2)
    assert (caught.value.found, caught.value.expected) == ("every 1", "every 2")
    assert caught.value.file == str(tmp_path / "out")
    write_image(tmp_path / "out/imagesTr/case_9_0000.nii.gz", image(0), GRID)
    with pytest.raises(UsageError, match="does not have") as caught:
        scribbled(source, tmp_path / "out")
    assert caught.value.found == "imagesTr/case_9_0000.nii.gz"
    (tmp_path / "out/imagesTr/case_9_0000.nii.gz").unlink()
    drawn = read_label_image(tmp_path / "out/labelsTr/case_1.nii.gz")
    write_labels(tmp_path / "out/labelsTr/case_1.nii.gz", np.maximum(drawn.voxels, 1), drawn.geometry)
    with pytest.raises(UsageError, match="changed after it was drawn"):
        scribbled(source, tmp_path / "out")
    (tmp_path / "out/labelsTr/case_1.nii.gz").write_bytes(before["labelsTr/case_1.nii.gz"])
    write_labels(source / "labelsTr/case_1.nii.gz", label(7), GRID)
    with pytest.raises(UsageError, match="before it changed"):
        scribbled(source, tmp_path / "out")
    assert content(tmp_path / "out") == before


def test_folders_that_are_something_else_are_refused(source: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.tex").write_text("years of work")
    (tmp_path / "file").write_text("no folder")
    for out in (tmp_path / "full", tmp_path / "file"):
        with pytest.raises(UsageError, match="something else"):
            scribbled(source, out)
    for out in (source, source / "inside", source.parent):
        with pytest.raises(UsageError, match="in the data set"):
            scribbled(source, out)
    assert not (source / "inside").exists()
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.tex"]


def test_bad_cases_are_named_and_the_others_kept(source: Path, tmp_path: Path) -> None:
    good = (source / "labelsTr/case_1.nii.gz").read_bytes()
    (source / "labelsTr/case_1.nii.gz").write_bytes(good[:-20])
    with pytest.raises(DataError) as caught:
        scribbled(source, tmp_path / "out")
    assert caught.value.case == "case_1"
    undeclared = label(2)
    undeclared[0, 0, 0] = 77
    write_labels(source / "labelsTr/case_2.nii.gz", undeclared, GRID)
    with pytest.raises(DataError, match="2 cases could not") as caught:
        scribbled(source, tmp_path / "out")
    assert caught.value.case == "case_1, case_2"
    assert not (tmp_path / "out/dataset.json").exists()
    stamp = (tmp_path / "out/labelsTr/case_0.nii.gz").stat().st_mtime_ns
    (source / "labelsTr/case_1.nii.gz").write_bytes(good)
    write_labels(source / "labelsTr/case_2.nii.gz", label(2), GRID)
    assert len(scribbled(source, tmp_path / "out").cases) == 3
    assert (tmp_path / "out/labelsTr/case_0.nii.gz").stat().st_mtime_ns == stamp


def test_a_full_disk_leaves_a_copy_that_goes_on(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = one_case.write_labels

    def full(*_: object) -> None:
        raise ResourceError("A file could not be written.", remedy="Free some space.")

    monkeypatch.setattr(one_case, "write_labels", full)
    with pytest.raises(ResourceError, match="3 cases could not"):
        scribbled(source, tmp_path / "out")
    monkeypatch.setattr(one_case, "write_labels", real)
    assert len(scribbled(source, tmp_path / "out").cases) == 3
