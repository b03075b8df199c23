"""A whole data set: resumed after a kill, redone only where stale or damaged, refused before the disk is full."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from prepared_cases import tiny_plan

from autofuse.dataset.opening import open_dataset
from autofuse.dataset.types import Dataset
from autofuse.foundation.errors import DataError, ResourceError
from autofuse.foundation.locks import lock
from autofuse.foundation.workspace import Workspace
from autofuse.phantom import PhantomOptions, write_phantom
from autofuse.plan.types import Plan
from autofuse.preprocessing import all_cases
from autofuse.preprocessing.all_cases import prepare_dataset
from autofuse.preprocessing.store import Store

CASES = 6


@pytest.fixture(scope="module")
def raw_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw") / "Dataset900_Phantom"
    return write_phantom(folder, PhantomOptions(cases=CASES, test_cases=1, shape=(36, 36, 36)))


@pytest.fixture
def dataset(raw_folder: Path, tmp_path: Path) -> Dataset:
    import shutil

    copy = tmp_path / raw_folder.name
    shutil.copytree(raw_folder, copy)
    return open_dataset(copy)


def _plan(dataset: Dataset) -> Plan:
    return tiny_plan(schemes=("zscore",) * len(dataset.modalities)).model_copy(update={"labels": dataset.labels})


def _prepared(dataset: Dataset, workspace: Path) -> Store:
    plan = _plan(dataset)
    return prepare_dataset(dataset, plan, plan.configurations[0], Workspace(workspace, "phantom"), workers=0)


def _times(store: Store) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in store.folder.glob("*/images.b2nd")}


def test_training_cases_only_and_nothing_twice(dataset: Dataset, tmp_path: Path) -> None:
    store = _prepared(dataset, tmp_path / "work")
    assert store.case_ids == tuple(sorted(case.id for case in dataset.cases))
    before = _times(store)
    assert _times(_prepared(dataset, tmp_path / "work")) == before


def test_stale_and_damaged_cases_are_redone_and_no_other(dataset: Dataset, tmp_path: Path) -> None:
    store = _prepared(dataset, tmp_path / "work")
    before = _times(store)
    damaged, stale, *others = store.case_ids
    path = store.case_folder(damaged) / "label.b2nd"
    content = bytearray(path.read_bytes())
    content[-1] ^= 255
    path.write_bytes(content)
    source = dataset.case(stale).images[0]
    assert source is not None
    os.utime(dataset.path(source.path), ns=(1, 1))
    again = _prepared(dataset, tmp_path / "work")
    after = _times(again)
    assert {name for name in before if before[name] != after[name]} == {damaged, stale}
    assert again.damaged(again.case_ids) == {}
    assert others


_RUN = """
import sys
sys.path[:0] = [sys.argv[1]]
from test_all_cases import _prepared
from autofuse.dataset.opening import open_dataset
from pathlib import Path
_prepared(open_dataset(sys.argv[2]), Path(sys.argv[3]))
"""


def test_killed_and_started_again(dataset: Dataset, tmp_path: Path) -> None:
    work = tmp_path / "work"
    command = [sys.executable, "-c", _RUN, str(Path(__file__).parent), dataset.root, str(work)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(work.rglob("case.json")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    plan = _plan(dataset)
    folder = Workspace(work, "phantom").prepared("fine", plan.preparation_digest(plan.configurations[0]))
    # The kill may have struck while a finished case still had its temporary name.
    whole = {path.parent.name for path in folder.glob("*/case.json") if not path.parent.name.startswith(".tmp-")}
    finished = {name: when for name, when in _times(Store(folder)).items() if name in whole}
    store = _prepared(dataset, work)
    assert len(store.case_ids) == CASES
    after = _times(store)
    assert finished.items() <= after.items()
    assert not list(folder.glob(".tmp-*"))
    undisturbed = _prepared(dataset, tmp_path / "other")
    for name in store.case_ids:
        for file in ("images.b2nd", "label.b2nd", "foreground.npy"):
            mine, theirs = store.case_folder(name) / file, undisturbed.case_folder(name) / file
            assert mine.read_bytes() == theirs.read_bytes()


def test_bad_cases_are_all_named_and_the_others_kept(dataset: Dataset, tmp_path: Path) -> None:
    bad = sorted(case.id for case in dataset.cases)[1:3]
    for name in bad:
        source = dataset.case(name).images[0]
        assert source is not None
        path = dataset.path(source.path)
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError) as caught:
        _prepared(dataset, tmp_path / "work")
    assert all(name in str(caught.value.case) for name in bad)
    plan = _plan(dataset)
    folder = Workspace(tmp_path / "work", "phantom").prepared("fine", plan.preparation_digest(plan.configurations[0]))
    assert len(Store(folder).case_ids) == CASES - 2


def test_a_small_disk_is_refused_with_numbers_before_work(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(all_cases, "free_disk_gib", lambda folder: 1e-6)
    with pytest.raises(ResourceError) as caught:
        _prepared(dataset, tmp_path / "work")
    assert "GiB" in str(caught.value.found)
    assert "GiB" in str(caught.value.expected)
    assert not list((tmp_path / "work").rglob("case.json"))


def test_two_runs_do_not_mix(dataset: Dataset, tmp_path: Path) -> None:
    plan = _plan(dataset)
    folder = Workspace(tmp_path / "work", "phantom").prepared("fine", plan.preparation_digest(plan.configurations[0]))
    with lock(folder), pytest.raises(ResourceError, match="Another process"):
        _prepared(dataset, tmp_path / "work")


def test_worker_processes_give_the_same_bytes(dataset: Dataset, tmp_path: Path) -> None:
    plan = _plan(dataset)
    here = _prepared(dataset, tmp_path / "here")
    there = prepare_dataset(dataset, plan, plan.configurations[0], Workspace(tmp_path / "there", "p"), workers=2)
    for name in here.case_ids:
        assert here.open(name).record.files == there.open(name).record.files
        assert np.array_equal(here.open(name).read()[0], there.open(name).read()[0])
