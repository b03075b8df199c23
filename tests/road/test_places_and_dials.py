"""Which folder is meant, and which dials are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from autofuse.foundation.errors import DataError
from autofuse.road.dials import DIALS_FILE, Asked, Dials, load_dials
from autofuse.road.places import dataset_folder, demo_workspace, workspace_of


def test_a_path_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Dataset007_A b").mkdir()
    monkeypatch.chdir(tmp_path)
    assert dataset_folder("Dataset007_A b") == tmp_path / "Dataset007_A b"
    place = workspace_of("Dataset007_A b/", "ws")
    assert place.folder == tmp_path / "ws" / "Dataset007_A b"
    monkeypatch.chdir(tmp_path / "Dataset007_A b")
    assert workspace_of(".", tmp_path).dataset == "Dataset007_A b"


def test_a_link_keeps_its_name(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "Dataset001_Link").symlink_to(tmp_path / "real")
    assert dataset_folder(tmp_path / "Dataset001_Link").name == "Dataset001_Link"


def test_number_and_name_are_found_where_nnunet_keeps_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = tmp_path / "raw"
    (raw / "Dataset104_Hippocampus").mkdir(parents=True)
    monkeypatch.setenv("nnUNet_raw", str(raw))
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "results"))
    for name in ("104", "Dataset104_Hippocampus"):
        assert dataset_folder(name) == raw / "Dataset104_Hippocampus"
        assert workspace_of(name).folder == tmp_path / "results" / "autofuse" / "Dataset104_Hippocampus"
    with pytest.raises(DataError):
        dataset_folder("105")


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="not a file"):
        dataset_folder(tmp_path / "file")
    with pytest.raises(DataError, match="does not exist"):
        dataset_folder(tmp_path / "nothing")


def test_demo_keeps_everything_in_its_folder(tmp_path: Path) -> None:
    assert tmp_path / "demo" in demo_workspace(tmp_path / "demo").folder.parents


def test_dials_stay_until_they_are_turned(tmp_path: Path) -> None:
    first = Asked(memory_gib=4.0, minutes=20.0, shared_by=2).turned(None, "cpu")
    assert first == Dials(device="cpu", memory_gib=4.0, minutes=20.0, shared_by=2)
    assert Asked().turned(first, "cuda") == first
    assert Asked(memory_gib=8.0).turned(first, "cpu").minutes == 20.0
    one_fold = Asked(minutes=30.0).turned(first, "cpu")
    assert (one_fold.minutes, one_fold.shared_by) == (30.0, None)
    wishing = Asked(expect_missing=True).turned(first, "cpu")
    assert wishing == first.model_copy(update={"expect_missing": True})
    assert Asked(minutes=20.0, shared_by=2).turned(wishing, "cpu") == wishing
    assert Asked(expect_missing=False).turned(wishing, "cpu") == first
    first.save(tmp_path / DIALS_FILE)
    assert load_dials(tmp_path) == first
    (tmp_path / DIALS_FILE).write_text("{")
    assert load_dials(tmp_path) is None
