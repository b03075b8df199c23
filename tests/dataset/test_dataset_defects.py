"""Every kind of defect is named with its place and a remedy; what is fine passes."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
from defects import DEFECTS, Defect
from tiny_dataset import build, image_of, label_of

from autofuse.dataset import check_dataset, load_case, open_dataset
from autofuse.dataset.problems import Problem
from autofuse.foundation.errors import DataError

LIMIT_S = 10.0
"""Far below the promised 60 s, far above what a busy machine needs."""


def _names(problem: Problem, defect: Defect) -> bool:
    place = f"{problem.case or ''} {problem.file or ''} {problem.found or ''}"
    return defect.culprit in place and defect.says in f"{problem.cause} {problem.found}"


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_defect_is_named(defect: Defect, tmp_path: Path) -> None:
    folder = build(tmp_path / "Dataset001_Tiny")
    defect.spoil(folder)
    start = time.monotonic()
    report = check_dataset(folder, workers=0)
    assert time.monotonic() - start < LIMIT_S
    told = [problem for problem in report.problems if problem.severity == defect.severity]
    assert any(_names(problem, defect) for problem in told), report.problems
    assert all(problem.remedy for problem in report.problems)
    assert report.ok == (defect.severity == "warning"), report.errors


@pytest.mark.parametrize("defect", [d for d in DEFECTS if d.severity == "error" and d.culprit], ids=lambda d: d.name)
def test_errors_point_at_nothing_but_the_culprit(defect: Defect, tmp_path: Path) -> None:
    folder = build(tmp_path / "Dataset001_Tiny")
    defect.spoil(folder)
    for problem in check_dataset(folder, workers=0).errors:
        told = " ".join(str(value) for value in problem.model_dump().values())
        whole_set = problem.case is None and problem.rule in ("no labels", "no cases", "splits")
        assert defect.culprit in told or "case_b" in told or whole_set, problem


UNREADABLE = [
    defect
    for defect in DEFECTS
    # A single voxel can be read; that it is useless only the check says.
    if defect.severity == "error" and "case_b" in defect.culprit and defect.name != "one voxel"
]


@pytest.mark.parametrize("defect", UNREADABLE, ids=lambda d: d.name)
def test_reading_refuses_what_the_check_refuses(defect: Defect, tmp_path: Path) -> None:
    folder = build(tmp_path / "Dataset001_Tiny")
    defect.spoil(folder)
    with pytest.raises(DataError) as caught:
        dataset = open_dataset(folder)
        load_case(dataset, dataset.case("case_b"))
    assert "case_b" in str(caught.value)
    assert caught.value.remedy


def test_all_defects_are_reported_in_one_run(tmp_path: Path) -> None:
    folder = build(tmp_path / "Dataset001_Tiny")
    image_of(folder, "case_a").write_bytes(b"")
    label_of(folder, "case_b").write_bytes(b"garbage")
    image_of(folder, "case_c").unlink()
    (folder / "imagesTr" / "odd.nii.gz").write_bytes(b"")
    report = check_dataset(folder, workers=0)
    told = {(problem.case, problem.file) for problem in report.problems}
    assert ("case_a", "imagesTr/case_a_0001.nii.gz") in told
    assert ("case_b", "labelsTr/case_b.nii.gz") in told
    assert (None, "imagesTr/odd.nii.gz") in told
    assert any(case == "case_c" for case, _ in told)
    with pytest.raises(DataError, match="autofuse check"):
        (folder / "imagesTr" / "odd2.nii.gz").write_bytes(b"")
        open_dataset(folder)


def test_missing_folder_is_a_result_and_not_an_exception(tmp_path: Path) -> None:
    report = check_dataset(tmp_path / "nowhere")
    assert not report.ok and report.facts is None
    build(tmp_path / "above" / "Dataset001_Tiny")
    assert "Dataset001_Tiny" in str(check_dataset(tmp_path / "above").problems[0].found)


def test_test_cases_are_compared_with_training_cases(tmp_path: Path) -> None:
    names = ("p1_visit1", "p1_visit2", "p2_visit1")
    folder = build(tmp_path / "Dataset001_Tiny", cases=names, tests=("p2_visit2", "p3_visit1"))
    shutil.copy(image_of(folder, "p1_visit2", 0), folder / "imagesTs" / "p3_visit1_0000.nii.gz")
    shutil.copy(image_of(folder, "p1_visit1", 0), folder / "imagesTs")
    told = [(problem.rule, problem.case) for problem in check_dataset(folder, workers=0).warnings]
    assert ("subject in test", "p2_visit2") in told
    assert ("identical cases", "p3_visit1") in told
    assert ("similar ids", "p1_visit1") in told


def test_a_folder_that_may_not_be_entered_is_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = build(tmp_path / "Dataset001_Tiny")

    def refuse(path: Path, *_: object, **__: object) -> object:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", refuse)
    report = check_dataset(folder, workers=0)
    monkeypatch.undo()
    assert not report.ok and report.problems[0].found == "Permission denied"
