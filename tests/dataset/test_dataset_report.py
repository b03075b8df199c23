"""What a check says to a person and to a program."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from tiny_dataset import build, description, edited, image_of, label_of, write_json

from autofuse.dataset import CheckReport, check_dataset


def _text(report: CheckReport, tmp_path: Path) -> str:
    with (tmp_path / "terminal").open("w") as stream:
        console = Console(width=140, record=True, file=stream)
        console.print(report.to_rich())
    return console.export_text()


def test_facts_are_right(tmp_path: Path) -> None:
    folder = build(tmp_path / "Dataset001_Tiny", tests=("case_x",))
    facts = check_dataset(folder, workers=0).facts
    assert facts is not None
    assert (facts.cases, facts.test_cases, facts.labelled, facts.subjects) == (4, 1, 4, 4)
    assert [axis.median for axis in facts.shape] == [6, 12, 10]
    assert [axis.maximum for axis in facts.spacing_mm] == [2, 1, 1]
    organ, lesion = facts.labels
    assert (organ.name, organ.cases, lesion.cases) == ("organ", 4, 4)
    # 4 x 4 x 3 voxels and a speck; 3 x 3 x 6 voxels; of 2 mm³ each
    assert organ.volume_ml is not None and organ.volume_ml.median == pytest.approx(49 * 2 / 1000)
    assert lesion.volume_ml is not None and lesion.volume_ml.minimum == pytest.approx(54 * 2 / 1000)
    assert facts.folds == "4, holding out 1, 1, 1, 1 cases"


def test_regions_are_counted_as_regions(tmp_path: Path) -> None:
    folder = build(tmp_path / "Dataset001_Tiny")
    labels = {"background": 0, "whole": [1, 2], "core": 2}
    write_json(folder, description(labels=labels, regions_class_order=[1, 2]))
    facts = check_dataset(folder, workers=0).facts
    assert facts is not None
    whole, core = (label.volume_ml for label in facts.labels)
    assert whole is not None and core is not None
    assert whole.median == pytest.approx(103 * 2 / 1000) and core.median == pytest.approx(54 * 2 / 1000)


def test_person_reads_every_problem_with_its_remedy(tmp_path: Path) -> None:
    folder = build(tmp_path / "Dataset001_Tiny")
    edited(image_of(folder), lambda voxels: voxels * 0)
    label_of(folder, "case_c").write_bytes(b"x")
    report = check_dataset(folder, workers=0)
    text = _text(report, tmp_path)
    for word in (
        "FLAIR",
        "lesion",
        "case_b",
        "imagesTr/case_b_0001.nii.gz",
        "labelsTr/case_c.nii.gz",
        "cannot be used",
    ):
        assert word in text
    for problem in report.problems:
        assert problem.cause[:60] in text and problem.remedy[:40] in text
    assert text.index("error") < text.index("warning")


def test_many_equal_problems_are_told_together_but_all_are_named(tmp_path: Path) -> None:
    names = tuple(f"c{k}" for k in range(20))
    folder = build(tmp_path / "Dataset001_Tiny", cases=names)
    for name in names:
        label_of(folder, name).write_bytes(b"")
    text = _text(check_dataset(folder, workers=0), tmp_path)
    assert all(name in text for name in names)
    assert "20 times" in text


def test_program_reads_json(tmp_path: Path) -> None:
    folder = build(tmp_path / "Dataset001_Tiny")
    image_of(folder).unlink()
    report = check_dataset(folder, workers=0)
    content = json.loads(json.dumps(report.model_dump(mode="json")))
    assert CheckReport.model_validate_json(json.dumps(content)) == report
    assert content["problems"][0]["case"] == "case_b"
    report.save(tmp_path / "check.json")
    assert CheckReport.load(tmp_path / "check.json") == report


def test_workers_find_what_one_process_finds(tmp_path: Path) -> None:
    folder = build(tmp_path / "Dataset001_Tiny")
    edited(label_of(folder), lambda voxels: np.full_like(voxels, 7))
    image_of(folder, "case_d").write_bytes(b"\x1f\x8b")
    assert check_dataset(folder, workers=1) == check_dataset(folder, workers=0)
