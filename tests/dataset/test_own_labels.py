"""Data sets in which each modality carries labels of its own: found, on the grid of its image, named where wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_dataset import AFFINE, build, description, image_of, intensities, mask, moved, save, write_json

from autofuse.dataset.check import check_dataset
from autofuse.dataset.copying import copied_cases
from autofuse.dataset.opening import open_dataset, survey
from autofuse.dataset.raw import load_case
from autofuse.dataset.splits import make_splits
from autofuse.foundation.errors import DataError

OWN = {"labels_per_modality": True}


def own_set(folder: Path) -> Path:
    """Four cases of T1 and FLAIR, each with a mask of its own; FLAIR of case_c has none, case_d has none at all."""
    root = build(folder / "Own", tests=("test_a",), autofuse=OWN)
    for number, case in enumerate(("case_a", "case_b", "case_c", "case_d")):
        (root / "labelsTr" / f"{case}.nii.gz").unlink()
        for channel in (0, 1):
            if case != "case_d" and (case, channel) != ("case_c", 1):
                save(root / "labelsTr" / f"{case}_{channel:04d}.nii.gz", mask(number + 5 * channel))
    save(root / "labelsTs" / "test_a_0001.nii.gz", mask(3))
    return root


def test_each_label_belongs_to_its_modality(tmp_path: Path) -> None:
    dataset = open_dataset(own_set(tmp_path))
    a, _, c, d = dataset.cases
    assert dataset.labels_per_modality and a.label is None and a.labelled
    assert a.labels == ("labelsTr/case_a_0000.nii.gz", "labelsTr/case_a_0001.nii.gz")
    assert c.labels == ("labelsTr/case_c_0000.nii.gz", None) and c.truths == {"case_c_0000": c.labels[0]}
    assert d.labels == () and not d.labelled
    assert dataset.test_cases[0].truths == {"test_a_0001": "labelsTs/test_a_0001.nii.gz"}
    assert {case for _, held_out in make_splits(dataset).folds for case in held_out} == {"case_a", "case_b", "case_c"}
    raw = load_case(dataset, a)
    assert raw.label is None
    first, second = raw.masks
    np.testing.assert_array_equal(first, mask(0).T)
    np.testing.assert_array_equal(second, mask(5).T)
    assert load_case(dataset, a, with_label=False).labels == ()


def test_a_data_set_without_the_key_says_nothing_of_it(tmp_path: Path) -> None:
    stored = open_dataset(build(tmp_path / "Plain")).model_dump(mode="json")
    assert "labels_per_modality" not in stored
    assert set(stored["cases"][0]) == {"id", "subject", "images", "label", "evaluation_label"}


def test_the_check_counts_them_by_modality(tmp_path: Path) -> None:
    report = check_dataset(own_set(tmp_path), workers=0)
    assert report.ok and report.facts is not None
    assert [item.labelled for item in report.facts.modalities] == [3, 2]
    assert (report.facts.labelled, report.facts.unlabelled, report.facts.judged) == (3, 1, 1)
    case = sum((mask(number + 5 * channel) == 1).sum() for number in (0, 1) for channel in (0, 1))
    organ = report.facts.labels[0]
    assert organ.cases == 3 and organ.volume_ml is not None
    assert organ.volume_ml.maximum <= case * 2 / 1000 and organ.volume_ml.minimum > 0.05


def test_a_label_off_its_own_images_grid_is_named_with_the_modality(tmp_path: Path) -> None:
    root = own_set(tmp_path)
    moved(image_of(root, "case_b", 1), lambda affine: affine + np.array([[0, 0, 0, 3.0]] + [[0] * 4] * 3))
    with pytest.raises(DataError, match=r"label of FLAIR does not lie on the grid of its image: origin") as caught:
        dataset = open_dataset(root)
        load_case(dataset, dataset.case("case_b"))
    assert caught.value.case == "case_b" and "case_b_0001" in str(caught.value.file)
    (problem,) = check_dataset(root, workers=0).errors
    assert "FLAIR" in problem.cause and problem.case == "case_b"


def test_modalities_on_grids_of_their_own_keep_their_masks_there(tmp_path: Path) -> None:
    root, coarse = own_set(tmp_path), np.diag([2.0, 2.0, 2.0, 1.0])
    save(root / "imagesTr" / "case_a_0001.nii.gz", intensities(9, (5, 6, 6)), coarse)
    save(root / "labelsTr" / "case_a_0001.nii.gz", mask(5)[::2, ::2], coarse)
    dataset = open_dataset(root)
    raw = load_case(dataset, dataset.case("case_a"))
    assert [label.shape for label in raw.masks] == [(6, 12, 10), (6, 6, 5)]


def test_labels_of_absent_images_and_of_no_modality_are_pointed_out(tmp_path: Path) -> None:
    root = own_set(tmp_path)
    image_of(root, "case_a", 1).unlink()
    save(root / "labelsTr" / "case_b.nii.gz", mask(1))
    dataset, findings = survey(root)
    assert dataset is not None and dataset.case("case_a").labels == ("labelsTr/case_a_0000.nii.gz", None)
    assert {item.file for item in findings.problems if item.rule == "orphaned label"} == {
        "labelsTr/case_a_0001.nii.gz",
        "labelsTr/case_b.nii.gz",
    }


def test_lists_name_a_label_for_each_channel(tmp_path: Path) -> None:
    root = own_set(tmp_path)
    images = [f"imagesTr/case_a_{channel:04d}.nii.gz" for channel in (0, 1)]
    entry = {"images": images, "label": [None, "labelsTr/case_a_0001.nii.gz"]}
    write_json(root, description(autofuse=OWN, numTraining=1, dataset={"case_a": entry}))
    assert open_dataset(root).cases[0].labels == (None, "labelsTr/case_a_0001.nii.gz")
    write_json(root, description(autofuse=OWN, dataset={"case_a": {**entry, "label": "labelsTr/case_a_0001.nii.gz"}}))
    with pytest.raises(DataError, match="does not list one label per channel"):
        open_dataset(root)


def table(root: Path, *lines: str) -> Path:
    (root / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "organ": 1, "lesion": 2}}))
    (root / "cases.csv").write_text("\n".join(lines) + "\n")
    return root


def test_a_table_has_a_label_column_for_each_modality(tmp_path: Path) -> None:
    root = table(
        own_set(tmp_path),
        "case,T1,FLAIR,label_T1,label_FLAIR,split",
        "a,imagesTr/case_a_0000.nii.gz,imagesTr/case_a_0001.nii.gz,labelsTr/case_a_0000.nii.gz,,",
        "b,imagesTr/case_b_0000.nii.gz,,labelsTr/case_b_0000.nii.gz,labelsTr/case_b_0001.nii.gz,",
        "t,imagesTr/case_c_0000.nii.gz,imagesTr/case_c_0001.nii.gz,,labelsTr/case_a_0001.nii.gz,test",
    )
    dataset, findings = survey(root)
    assert dataset is not None and dataset.labels_per_modality
    assert [item.name for item in dataset.modalities] == ["T1", "FLAIR"]
    assert [case.labels for case in dataset.cases] == [
        ("labelsTr/case_a_0000.nii.gz", None),
        ("labelsTr/case_b_0000.nii.gz", None),
    ]
    assert dataset.test_cases[0].truths == {"t_0001": "labelsTr/case_a_0001.nii.gz"}
    assert [item.file for item in findings.problems if item.rule == "orphaned label"] == ["labelsTr/case_b_0001.nii.gz"]


def test_a_table_has_labels_of_one_kind_only(tmp_path: Path) -> None:
    row = "a,imagesTr/case_a_0000.nii.gz,imagesTr/case_a_0001.nii.gz,labelsTr/case_a_0000.nii.gz,"
    root = table(own_set(tmp_path), "case,T1,FLAIR,label,label_T1", row)
    assert open_dataset(table(root, "case,T1,FLAIR,label,split", row)).cases[0].label is not None
    root = table(root, "case,T1,FLAIR,label,label_T1", row + "labelsTr/case_a_0000.nii.gz")
    with pytest.raises(DataError, match="beside labels of single modalities"):
        open_dataset(root)


def test_one_modality_and_other_layouts_are_refused(tmp_path: Path) -> None:
    root = own_set(tmp_path)
    for image in root.glob("images*/*_0001.nii.gz"):
        image.unlink()
    write_json(root, description(autofuse=OWN, channel_names={"0": "T1"}))
    with pytest.raises(DataError, match="there is one modality only"):
        open_dataset(root)
    task = tmp_path / "Task01"
    task.mkdir()
    pairs = [{"image": "imagesTr/a.nii.gz", "label": "labelsTr/a.nii.gz"}]
    four = np.stack([intensities(1), intensities(2)], axis=-1)
    save(task / "imagesTr" / "a.nii.gz", four, AFFINE)
    save(task / "labelsTr" / "a.nii.gz", mask(1))
    said = {"modality": {"0": "T1", "1": "T2"}, "labels": {"0": "background", "1": "a", "2": "b"}, "training": pairs}
    write_json(task, {**said, "autofuse": OWN})
    with pytest.raises(DataError, match="decathlon cannot have labels for each modality"):
        open_dataset(task)


def test_what_takes_one_mask_a_case_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="takes one mask a case") as caught:
        copied_cases(open_dataset(own_set(tmp_path)), all_truths=False)
    assert "T1, FLAIR" in str(caught.value)
