"""Who is who, and folds that never separate the cases of one subject."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_dataset import build, description, label_of, write_json

from autofuse.dataset import Case, Dataset, ImageFile, LabelClass, Labels, Modality, make_splits, open_dataset
from autofuse.dataset.subjects import guess_subjects
from autofuse.foundation.errors import DataError


def _sizes(ids: list[str]) -> list[int]:
    subjects = guess_subjects(ids)
    assert sorted(subjects.of) == sorted(ids)
    names = list(subjects.of.values())
    return sorted({name: names.count(name) for name in names}.values())


@pytest.mark.parametrize(
    ("ids", "sizes"),
    [
        ([f"patient{p:03d}_frame{f:02d}" for p in range(3) for f in (1, 13)], [2, 2, 2]),
        ([f"patient{p:03d}_slice{s:03d}" for p in range(4) for s in range(40)], [40] * 4),
        ([f"sub-{p:02d}_ses-{s}_run-1" for p in range(3) for s in (1, 2)], [2, 2, 2]),
        ([f"p{p}_left" for p in range(3)] + ["p1_right"], [1, 1, 2]),
        ([f"BraTS-GLI-{p:05d}-{t:03d}" for p in range(6) for t in (0, 1)], [2] * 6),
        ([f"patient{p:03d}_{s}" for p in range(6) for s in (1, 2)], [2] * 6),
        ([f"hippocampus_{p:03d}" for p in range(30)], [1] * 30),
        ([f"BraTS2021_{p:05d}" for p in range(30)], [1] * 30),
        ([f"pat{p:04d}" for p in range(9)], [1] * 9),
        ([f"case_{p}" for p in range(9)], [1] * 9),
        ([f"siteA_{p}" for p in range(9)] + [f"siteB_{p}" for p in range(9)], [1] * 18),
        ([f"center{c}_{p:03d}" for c in range(6) for p in range(20)], [1] * 120),
        ([f"p{p}_{s}" for p in range(4) for s in (1, 2)], [1] * 8),
    ],
    ids=lambda value: value[0] if isinstance(value[0], str) else "",
)
def test_guess(ids: list[str], sizes: list[int]) -> None:
    assert _sizes(ids) == sizes


def _dataset(cases: list[tuple[str, str, bool]], **fields: object) -> Dataset:
    made = tuple(
        Case(id=name, subject=subject, images=(ImageFile(path="x"),), label="y" if labelled else None)
        for name, subject, labelled in cases
    )
    labels = Labels(classes=(LabelClass(name="a", raw_values=(1,)),))
    return Dataset(
        name="d", root="/", layout="nnunet", modalities=(Modality(name="T1"),), labels=labels, cases=made, **fields
    )


def test_folds_hold_every_labelled_case_out_once_and_never_part_a_subject() -> None:
    cases = [(f"c{k:02d}", f"s{k // 3}", k % 4 != 3) for k in range(30)]
    dataset = _dataset(cases)
    splits = make_splits(dataset)
    subject = {name: who for name, who, _ in cases}
    labelled = {name for name, _, has in cases if has}
    held_out = [name for _, held in splits.folds for name in held]
    assert len(splits.folds) == 5
    assert sorted(held_out) == sorted(labelled)
    for train, held in splits.folds:
        assert not {subject[name] for name in train} & {subject[name] for name in held}
        assert list(train) == sorted(train) and list(held) == sorted(held)
        gone = {subject[name] for name in held}
        assert set(train) == {name for name, who, _ in cases if who not in gone}
    assert make_splits(dataset) == splits
    assert make_splits(dataset, seed=1) != splits


def test_folds_are_those_of_nnunet_where_every_case_is_its_own_subject() -> None:
    dataset = _dataset([(f"case_{k:02d}", f"case_{k:02d}", True) for k in range(12)])
    # From nnunetv2 2.8.1, generate_crossval_split over the same twelve ids.
    expected = [
        ["case_00", "case_03", "case_08"],
        ["case_07", "case_10", "case_11"],
        ["case_06", "case_09"],
        ["case_01", "case_04"],
        ["case_02", "case_05"],
    ]
    assert [list(held) for _, held in make_splits(dataset).folds] == expected


def test_few_subjects() -> None:
    three = make_splits(_dataset([(f"c{k}", f"c{k}", True) for k in range(3)]))
    assert [len(held) for _, held in three.folds] == [1, 1, 1]
    one = make_splits(_dataset([("a", "s", True), ("b", "s", True), ("u", "t", False)]))
    assert one.folds == ((("a", "b", "u"), ()),)
    with pytest.raises(DataError, match="No training case has a label"):
        make_splits(_dataset([("a", "s", False)]))


def test_pattern_and_table_decide_subjects(tmp_path: Path) -> None:
    folder = build(tmp_path / "d", cases=("x1a", "x1b", "x2a", "x3a"))
    write_json(folder, description(autofuse={"subject_pattern": r"x(?P<subject>\d)"}))
    dataset = open_dataset(folder)
    assert [case.subject for case in dataset.cases] == ["1", "1", "2", "3"]
    assert not dataset.subjects_guessed
    write_json(folder, description(autofuse={"subject_table": "who.csv"}))
    (folder / "who.csv").write_text("case,subject\nx1a,anna\nx1b,bert\nx2a,anna\nx3a,carl\n")
    assert [case.subject for case in open_dataset(folder).cases] == ["anna", "bert", "anna", "carl"]
    (folder / "who.csv").write_text("case,subject\nx1a,anna\nx1b,bert\nx2a,anna\n")
    with pytest.raises(DataError, match="x3a"):
        open_dataset(folder)


def test_fixed_folds_are_used_as_they_are(tmp_path: Path) -> None:
    folder = build(tmp_path / "d")
    folds = [{"train": ["case_b", "case_a"], "val": ["case_c"]}, {"train": ["case_c"], "val": ["case_a", "case_b"]}]
    write_json(folder, folds, "splits_final.json")
    expected = ((("case_a", "case_b"), ("case_c",)), (("case_c",), ("case_a", "case_b")))
    assert make_splits(open_dataset(folder)).folds == expected
    write_json(folder, description(autofuse={"splits": [{"train": ["case_d"], "val": ["case_a"]}]}))
    assert make_splits(open_dataset(folder)).folds == ((("case_d",), ("case_a",)),)
    label_of(folder, "case_a").unlink()
    with pytest.raises(DataError, match="without a label"):
        open_dataset(folder)


def test_a_guess_does_not_overrule_fixed_folds(tmp_path: Path) -> None:
    names = ("p1_frame1", "p1_frame2", "p2_frame1", "p2_frame2")
    folder = build(tmp_path / "d", cases=names)
    write_json(folder, [{"train": ["p1_frame1", "p2_frame1"], "val": ["p1_frame2"]}], "splits_final.json")
    assert open_dataset(folder).fixed_splits
    write_json(folder, description(autofuse={"subject_pattern": "(p.)_"}))
    with pytest.raises(DataError, match="both sides"):
        open_dataset(folder)
