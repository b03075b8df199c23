"""The fingerprint of a whole data set: resumed, independent of workers, and refused with every culprit named."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from measured_set import one_case, save, write_set
from rich.console import Console

from autofuse.dataset.opening import open_dataset
from autofuse.dataset.types import Dataset
from autofuse.fingerprint import measure as module
from autofuse.fingerprint.measure import measure
from autofuse.fingerprint.show import to_rich
from autofuse.fingerprint.types import Fingerprint
from autofuse.foundation.errors import DataError
from autofuse.foundation.workspace import Workspace
from autofuse.phantom.options import PhantomOptions
from autofuse.phantom.write import write_phantom


@pytest.fixture
def tiny(tmp_path: Path) -> Dataset:
    """Five cases."""
    folder = write_set(tmp_path / "Dataset001_Tiny", {f"case{index}": one_case(index) for index in range(5)})
    return open_dataset(folder)


def count_measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the cases that are measured from now on."""
    seen: list[str] = []
    original = module.examine

    def counted(dataset, case):
        seen.append(case.id)
        return original(dataset, case)

    monkeypatch.setattr(module, "examine", counted)
    return seen


def test_finished_cases_are_not_measured_again(tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace(tmp_path / "work", tiny.name)
    seen = count_measured(monkeypatch)
    first = measure(tiny, workspace, workers=0)
    assert seen == [case.id for case in tiny.cases]
    assert measure(tiny, workspace, workers=0) == first == Fingerprint.load(workspace.fingerprint)
    assert len(seen) == 5


def test_changed_damaged_and_lost_records_are_made_anew(
    tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(tmp_path / "work", tiny.name)
    first = measure(tiny, workspace, workers=0)
    seen = count_measured(monkeypatch)
    os.utime(tiny.path("imagesTr/case1_0000.nii.gz"), (1, 1))
    (workspace.fingerprint_cases / "case2.json").unlink()
    record = workspace.fingerprint_cases / "case3.json"
    record.write_text(record.read_text().replace("0", "1", 1))
    assert measure(tiny, workspace, workers=0) == first
    assert seen == ["case1", "case2", "case3"]


def test_a_changed_image_changes_the_fingerprint(tiny: Dataset, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "work", tiny.name)
    first = measure(tiny, workspace, workers=0)
    save(tiny.path("imagesTr/case1_0000.nii.gz"), one_case(99)[0][0].astype(np.float32))
    again = measure(tiny, workspace, workers=0)
    assert again.digest() != first.digest()
    assert again.cases[0] == first.cases[0]


def test_workers_and_the_place_of_the_data_do_not_matter(tiny: Dataset, tmp_path: Path) -> None:
    here = measure(tiny, Workspace(tmp_path / "one", tiny.name), workers=0)
    pooled = measure(tiny, Workspace(tmp_path / "two", tiny.name), workers=2)
    moved = tmp_path / "elsewhere" / Path(tiny.root).name
    shutil.copytree(tiny.root, moved)
    copied = measure(open_dataset(moved), Workspace(tmp_path / "three", tiny.name), workers=0)
    assert here.to_json() == pooled.to_json() == copied.to_json()


def test_all_bad_cases_are_named_in_one_error_and_the_good_ones_are_kept(tiny: Dataset, tmp_path: Path) -> None:
    image = np.full((6, 8, 10), np.nan, np.float32)
    save(tiny.path("imagesTr/case1_0000.nii.gz"), image)
    truncated = tiny.path("labelsTr/case3.nii.gz")
    truncated.write_bytes(truncated.read_bytes()[:-20])
    workspace = Workspace(tmp_path / "work", tiny.name)
    with pytest.raises(DataError, match="2 of 5 cases") as caught:
        measure(tiny, workspace, workers=0)
    text = str(caught.value)
    assert "case1" in text and "case3" in text and "autofuse check" in text
    assert "case1_0000.nii.gz" in text and "labelsTr/case3.nii.gz" in text
    assert sorted(path.stem for path in workspace.fingerprint_cases.iterdir()) == ["case0", "case2", "case4"]
    assert not workspace.fingerprint.exists()


def test_a_data_set_without_cases_is_refused(tiny: Dataset, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no training case"):
        measure(tiny.model_copy(update={"cases": ()}), Workspace(tmp_path / "work", tiny.name))


def test_where_there_is_no_foreground_non_zero_voxels_stand_in(tmp_path: Path) -> None:
    (image,), label = one_case()
    cases = {"a": ([image], np.zeros_like(label)), "b": ([image], None)}
    dataset = open_dataset(write_set(tmp_path / "Dataset001_Tiny", cases))
    facts = measure(dataset, Workspace(tmp_path / "work", dataset.name), workers=0).intensities[0]
    inside = image[image != 0]
    assert facts.voxels == 2 * inside.size
    assert facts.mean == pytest.approx(inside.mean())
    assert facts.minimum >= 1


def test_phantom_with_everything_odd_is_measured_as_it_was_made(tmp_path: Path) -> None:
    options = PhantomOptions(cases=6, test_cases=0, shape=(24, 24, 24), scribbles=0.05, unlabelled=2, missing=0.4)
    dataset = open_dataset(write_phantom(tmp_path / "Dataset900_Phantom", options))
    found = measure(dataset, Workspace(tmp_path / "work", dataset.name), workers=0)
    kinds = [case.annotation for case in found.cases]
    assert (kinds.count("none"), kinds.count("sparse")) == (2, 4)
    assert max(found.missing_rates) > 0
    assert all(0 < case.labelled_fraction < 1 for case in found.cases if case.annotation == "sparse")
    stream = io.StringIO()
    Console(file=stream, width=120).print(to_rich(found))
    text = stream.getvalue()
    assert "4 sparsely labelled, 2 unlabelled" in text
    assert all(name in text for name in (*found.modalities, *found.class_names))


def test_scribbled_hearts_count_only_what_was_scribbled(shared_data: Path, tmp_path: Path) -> None:
    """nnU-Net counts ignored voxels as foreground in such a set, and finds a mean of less than half of the truth."""
    dataset = open_dataset(shared_data / "Dataset103_ACDCScribble")
    found = measure(dataset, Workspace(tmp_path, dataset.name), workers=0)
    assert {case.annotation for case in found.cases} == {"sparse"}
    fractions = [case.labelled_fraction for case in found.cases]
    assert np.mean(fractions) == pytest.approx(0.0107, abs=0.002)
    assert found.intensities[0].mean == pytest.approx(480, abs=10)
    assert len({case.subject for case in found.cases}) == 15
