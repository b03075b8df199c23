"""Data sets as people have them open unchanged, however odd they look."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tiny_dataset import (
    AFFINE,
    CASES,
    SHAPE,
    build,
    description,
    image_of,
    intensities,
    label_of,
    mask,
    moved,
    save,
    write_json,
)

from autofuse.dataset import (
    check_dataset,
    images_as_dataset,
    load_case,
    load_truth,
    make_splits,
    open_dataset,
    open_images,
)
from autofuse.foundation.errors import DataError
from autofuse.images.geometry import Geometry


def _tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(p): (p.stat().st_mtime_ns, p.read_bytes()) for p in sorted(folder.rglob("*")) if p.is_file()}


def test_nnunet_folder_opens_and_is_left_alone(tmp_path: Path) -> None:
    folder = build(tmp_path / "Dataset001_Tiny", tests=("case_x",))
    before = _tree(folder)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    dataset = open_dataset(folder)
    report = check_dataset(folder, workers=0)
    assert report.problems == ()
    assert [case.id for case in dataset.cases] == list(CASES)
    assert [case.id for case in dataset.test_cases] == ["case_x"]
    assert [modality.name for modality in dataset.modalities] == ["T1", "FLAIR"]
    assert dataset.labels.raw_values == (1, 2) and dataset.layout == "nnunet"
    raw = load_case(dataset, dataset.case("case_c"))
    assert raw.geometry.shape == SHAPE[::-1] and raw.geometry.spacing_mm == (2.0, 1.0, 1.0)
    assert raw.images[1] is not None
    np.testing.assert_array_equal(raw.images[1].voxels, intensities(21).T)
    np.testing.assert_array_equal(raw.label, mask(2).T)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    assert _tree(folder) == before


@pytest.mark.parametrize("name", ["a b", "päz ïent", "it's", 'quo"te', "[bold]x", "a.b.c", "日本", "100%", "x_0000"])
def test_odd_ids_work(name: str, tmp_path: Path) -> None:
    folder = build(tmp_path / f"Dataset001 {name}", cases=(name, "other"), tests=(name + "2",))
    report = check_dataset(folder, workers=0)
    assert report.problems == ()
    dataset = open_dataset(folder)
    assert load_case(dataset, dataset.case(name)).label is not None
    from rich.console import Console

    console = Console(width=100, record=True, file=open(os.devnull, "w"))  # noqa: PTH123, SIM115
    console.print(report.to_rich())
    assert f"Dataset001 {name}" in console.export_text()


def test_what_is_fine_passes(tmp_path: Path) -> None:
    folder = build(tmp_path / "Dataset001_Tiny")
    (folder / "dataset.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(description()).encode())
    for junk in ("imagesTr/._case_a_0000.nii.gz", "labelsTr/.DS_Store", "imagesTr/Thumbs.db", "._dataset.json"):
        (folder / junk).write_bytes(b"\0\5\x16\7")
    (folder / "README.md").write_text("hello")
    assert check_dataset(folder, workers=0).problems == ()


def _oblique() -> np.ndarray:
    turn = np.eye(4)
    c, s = np.cos(0.4), np.sin(0.4)
    turn[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    return np.asarray(turn @ np.diag([0.9, 0.9, 3.0, 1]))


@pytest.mark.parametrize(
    ("shape", "affine"),
    [
        (SHAPE, _oblique()),
        (SHAPE, np.diag([-1.0, -1.0, 2.0, 1.0])),
        (SHAPE, np.diag([0.2, 0.2, 10.0, 1.0])),
        ((10, 12, 1), AFFINE),
        ((10, 12, 40), np.diag([5.0, 5.0, 5.0, 1.0])),
    ],
    ids=["oblique", "axes reversed", "anisotropy 1:50", "one slice", "large voxels"],
)
def test_good_geometry_passes(shape: tuple[int, ...], affine: np.ndarray, tmp_path: Path) -> None:
    folder = build(tmp_path / "Dataset001_Tiny", shape=shape, affine=affine)
    assert check_dataset(folder, workers=0).problems == ()
    dataset = open_dataset(folder)
    assert load_case(dataset, dataset.cases[0]).geometry.shape == shape[::-1]


def test_nifti_trailing_axis_of_one_is_no_fourth_dimension(tmp_path: Path) -> None:
    folder = build(tmp_path / "Dataset001_Tiny")
    nib.save(nib.Nifti1Image(intensities(5)[..., None], AFFINE), image_of(folder))
    assert check_dataset(folder, workers=0).ok


def test_header_jitter_is_said_and_tolerated(tmp_path: Path) -> None:
    folder = build(tmp_path / "Dataset001_Tiny")
    dataset = open_dataset(folder)
    assert load_case(dataset, dataset.case("case_b")).warnings == ()

    def drift(affine: np.ndarray) -> None:
        affine[0, 3] += 0.05

    moved(image_of(folder), drift)
    (warning,) = load_case(dataset, dataset.case("case_b")).warnings
    assert "FLAIR" in warning and "0.05 voxels" in warning


def test_linked_files_are_followed(tmp_path: Path) -> None:
    folder = build(tmp_path / "Dataset001_Tiny")
    image_of(folder).rename(tmp_path / "elsewhere.nii.gz")
    image_of(folder).symlink_to(tmp_path / "elsewhere.nii.gz")
    (tmp_path / "link").symlink_to(folder)
    assert check_dataset(tmp_path / "link", workers=0).problems == ()
    assert open_dataset(tmp_path / "link").name == "link"


def test_extensions_absent_modality_unlabelled_sparse_and_dense_truth(tmp_path: Path) -> None:
    folder = build(tmp_path / "Dataset001_Tiny", tests=("case_x",))
    labels = {"background": 0, "organ": 1, "lesion": 2, "ignore": 9}
    write_json(folder, description(labels=labels, autofuse={"optional_modalities": ["FLAIR"]}))
    image_of(folder, "case_c").unlink()
    label_of(folder, "case_d").unlink()
    sparse = mask(1)
    sparse[0] = 9
    save(label_of(folder), sparse)
    save(folder / "labelsTr_dense" / "case_b.nii.gz", mask(1))
    save(folder / "labelsTs" / "case_x.nii.gz", mask(4))
    report = check_dataset(folder, workers=0)
    assert report.problems == ()
    facts = report.facts
    assert facts is not None
    assert (facts.cases, facts.labelled, facts.sparse, facts.unlabelled, facts.judged) == (4, 3, 1, 1, 2)
    assert [modality.cases for modality in facts.modalities] == [4, 3]
    assert facts.labelled_fraction == pytest.approx(1 - 0.1 / 3)
    dataset = open_dataset(folder)
    assert [modality.optional for modality in dataset.modalities] == [False, True]
    assert load_case(dataset, dataset.case("case_c")).images[1] is None
    assert load_case(dataset, dataset.case("case_d")).label is None
    ignored = load_case(dataset, dataset.case("case_b")).label
    assert ignored is not None and (ignored == -1).sum() == 12 * 6
    truth = load_truth(dataset, dataset.case("case_b"))
    assert truth is not None
    np.testing.assert_array_equal(truth[0], mask(1).T)
    assert load_truth(dataset, dataset.case("case_d")) is None
    assert dataset.case("case_x").evaluation_label == "labelsTs/case_x.nii.gz"


def test_modality_that_some_case_lacks_becomes_optional_when_nothing_is_declared(tmp_path: Path) -> None:
    folder = build(tmp_path / "Dataset001_Tiny")
    image_of(folder, "case_c").unlink()
    assert [modality.optional for modality in open_dataset(folder).modalities] == [False, True]


def test_nnunet_lists_of_files(tmp_path: Path) -> None:
    folder = build(tmp_path / "pool")
    outside = save(tmp_path / "far" / "t1.nii.gz", intensities(77))
    entries = {
        "one": {
            "images": ["imagesTr/case_a_0000.nii.gz", "imagesTr/case_a_0001.nii.gz"],
            "label": "labelsTr/case_a.nii.gz",
        },
        "two": {"images": [str(outside), None], "label": str(folder / "labelsTr" / "case_b.nii.gz")},
    }
    content = description(dataset=entries, numTraining=2, autofuse={"outside_files": True})
    write_json(folder, content)
    dataset = open_dataset(folder)
    assert [case.id for case in dataset.cases] == ["one", "two"]
    assert dataset.case("two").images[0] is not None and dataset.case("two").images[0].path == str(outside)
    assert dataset.case("two").images[1] is None
    assert dataset.case("two").label == "labelsTr/case_b.nii.gz"
    assert load_case(dataset, dataset.case("two")).geometry.shape == SHAPE[::-1]
    write_json(folder, content | {"autofuse": {}})
    with pytest.raises(DataError, match="outside_files"):
        open_dataset(folder)


def _decathlon(folder: Path, modalities: int) -> Path:
    names = {str(k): name for k, name in enumerate(("FLAIR", "T1w", "T2w")[:modalities])}
    shape = (*SHAPE, modalities) if modalities > 1 else SHAPE
    entries = []
    for number in range(6):
        save(folder / "imagesTr" / f"BRATS_{number:03d}.nii.gz", intensities(number, shape))
        save(folder / "labelsTr" / f"BRATS_{number:03d}.nii.gz", mask(number))
        entries.append(
            {"image": f"./imagesTr/BRATS_{number:03d}.nii.gz", "label": f"./labelsTr/BRATS_{number:03d}.nii.gz"}
        )
    save(folder / "imagesTs" / "BRATS_900.nii.gz", intensities(900, shape))
    content = {
        "name": "BRATS",
        "tensorImageSize": "4D",
        "modality": names,
        "labels": {"0": "background", "1": "oedema", "2": "core"},
        "numTraining": 6,
        "numTest": 1,
        "training": entries,
        "test": ["./imagesTs/BRATS_900.nii.gz"],
    }
    write_json(folder, content)
    return folder


@pytest.mark.parametrize("modalities", [1, 3])
def test_decathlon_task(modalities: int, tmp_path: Path) -> None:
    folder = _decathlon(tmp_path / "Task01_BrainTumour", modalities)
    dataset = open_dataset(folder)
    assert (dataset.layout, dataset.file_ending) == ("decathlon", ".nii.gz")
    assert [item.name for item in dataset.labels.classes] == ["oedema", "core"]
    assert len(dataset.cases) == 6 and len({case.subject for case in dataset.cases}) == 6
    for channel in range(modalities):
        raw = load_case(dataset, dataset.case("BRATS_002"))
        shape = (*SHAPE, modalities) if modalities > 1 else SHAPE
        expected = intensities(2, shape)[..., channel] if modalities > 1 else intensities(2)
        assert raw.images[channel] is not None
        np.testing.assert_array_equal(raw.images[channel].voxels, expected.T)
    assert load_case(dataset, dataset.test_cases[0]).label is None
    assert check_dataset(folder, workers=0).problems == ()


def test_decathlon_file_is_read_once_for_all_its_modalities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = open_dataset(_decathlon(tmp_path / "Task01_BrainTumour", 3))
    import autofuse.images

    reads = []
    original = autofuse.images.read_image
    monkeypatch.setattr(autofuse.images, "read_image", lambda path: reads.append(path) or original(path))
    load_case(dataset, dataset.cases[0], with_label=False)
    assert len(reads) == 1


def test_decathlon_with_a_wrong_number_of_volumes(tmp_path: Path) -> None:
    folder = _decathlon(tmp_path / "Task01_BrainTumour", 3)
    save(folder / "imagesTr" / "BRATS_003.nii.gz", intensities(1, (*SHAPE, 2)))
    save(folder / "imagesTr" / "BRATS_004.nii.gz", intensities(1))
    wrong = {problem.file for problem in check_dataset(folder, workers=0).errors}
    assert wrong == {"imagesTr/BRATS_003.nii.gz", "imagesTr/BRATS_004.nii.gz"}


def test_nnunet_version_1_with_split_channels(tmp_path: Path) -> None:
    folder = build(tmp_path / "Task500_Old")
    entries = [{"image": f"./imagesTr/{case}.nii.gz", "label": f"./labelsTr/{case}.nii.gz"} for case in CASES]
    names = {"0": "T1", "1": "FLAIR"}
    write_json(folder, {"modality": names, "labels": {"0": "background", "1": "a", "2": "b"}, "training": entries})
    dataset = open_dataset(folder)
    assert [image.path for image in dataset.cases[1].images if image] == [
        "imagesTr/case_b_0000.nii.gz",
        "imagesTr/case_b_0001.nii.gz",
    ]
    assert check_dataset(folder, workers=0).problems == ()


def test_table_is_the_simplest_way_in(tmp_path: Path) -> None:
    for number in range(4):
        for name in ("t1", "t2"):
            save(tmp_path / "scans" / f"p{number}_{name}.nii.gz", intensities(10 * number + len(name) + (name == "t2")))
        save(tmp_path / "masks" / f"p{number}.nii.gz", mask(number))
    (tmp_path / "cases.csv").write_text(
        "\ufeffcase;subject;T1;T2;label;split\n"
        "p0;anna;scans/p0_t1.nii.gz;scans/p0_t2.nii.gz;masks/p0.nii.gz;\n"
        "p1;anna;scans/p1_t1.nii.gz;;masks/p1.nii.gz;train\n"
        "p2;bert;scans/p2_t1.nii.gz;scans/p2_t2.nii.gz;;\n"
        "p3;carl;scans/p3_t1.nii.gz;scans/p3_t2.nii.gz;masks/p3.nii.gz;test\n",
        encoding="utf-8",
    )
    dataset = open_dataset(tmp_path)
    assert dataset.layout == "table" and dataset.labels.raw_values == (1, 2)
    assert [case.subject for case in dataset.cases] == ["anna", "anna", "bert"]
    assert dataset.case("p1").images[1] is None and dataset.case("p2").label is None
    assert dataset.case("p3").evaluation_label == "masks/p3.nii.gz" and dataset.case("p3").label is None
    assert check_dataset(tmp_path, workers=0).ok
    write_json(tmp_path, {"labels": {"background": 0, "organ": 1, "lesion": 2}})
    assert [item.name for item in open_dataset(tmp_path).labels.classes] == ["organ", "lesion"]


def test_table_columns_that_name_one_file_take_its_components(tmp_path: Path) -> None:
    save(tmp_path / "a.nii.gz", intensities(1, (*SHAPE, 2)))
    save(tmp_path / "m.nii.gz", mask())
    (tmp_path / "cases.csv").write_text("case,T1,T2,label\nx,a.nii.gz,a.nii.gz,m.nii.gz\n")
    dataset = open_dataset(tmp_path)
    raw = load_case(dataset, dataset.cases[0])
    assert raw.images[1] is not None
    np.testing.assert_array_equal(raw.images[1].voxels, intensities(1, (*SHAPE, 2))[..., 1].T)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "first line"),
        ("case,case,label\n", "first line"),
        ("T1,label\na.nii.gz,b.nii.gz\n", "first line"),
        ("case,T1,label\nx,a.nii.gz\n", "Row 2"),
        ("case,T1,label\nx,../a.nii.gz,\n", "leaves"),
        ("case,T1,label\nx,a.nii.gz,\n", "does not exist"),
        ("case,label\nx,a.nii.gz\n", "no column for a modality"),
        ('case,T1,label\n"x,a.nii.gz,\n', "CSV"),
        ("case,T1,split\n../x,,\n", "file name"),
        ("case,T1,split\nx,,odd\n", "split"),
    ],
)
def test_broken_tables_are_refused(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "cases.csv").write_text(text)
    report = check_dataset(tmp_path, workers=0)
    assert not report.ok
    assert any(says in f"{problem.cause} {problem.found}" for problem in report.errors), report.errors


def test_colour_pictures_hold_all_channels_in_one_file(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "imagesTr").mkdir()
    (tmp_path / "labelsTr").mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 255, (20, 30, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "imagesTr" / f"road{number}_0000.png")
        truth = np.zeros((20, 30), np.uint8)
        truth[3:9, 4 + number : 9] = 1
        Image.fromarray(truth).save(tmp_path / "labelsTr" / f"road{number}.png")
    channels = {"0": "R", "1": "G", "2": "B"}
    content = {
        "channel_names": channels,
        "labels": {"background": 0, "road": 1},
        "file_ending": ".png",
        "numTraining": 3,
    }
    write_json(tmp_path, content)
    assert check_dataset(tmp_path, workers=0).problems == ()
    dataset = open_dataset(tmp_path)
    raw = load_case(dataset, dataset.cases[2])
    assert raw.geometry.shape == (1, 20, 30)
    for channel, image in enumerate(raw.images):
        assert image is not None
        np.testing.assert_array_equal(image.voxels[0], pixels[..., channel])
    write_json(tmp_path, content | {"channel_names": {"0": "grey"}})
    assert all("another number of images" in problem.cause for problem in check_dataset(tmp_path, workers=0).errors)
    assert not check_dataset(tmp_path, workers=0).ok


def test_any_folder_of_images_can_be_predicted(tmp_path: Path) -> None:
    folder = build(tmp_path / "Dataset001_Tiny")
    image_of(folder, "case_b", 1).unlink()
    cases = open_images(folder / "imagesTr", ["T1", "FLAIR"], ".nii.gz")
    assert [case.id for case in cases] == list(CASES)
    assert cases[1].images[1] is None
    labels = open_dataset(folder).labels
    dataset = images_as_dataset(folder / "imagesTr", ["T1", "FLAIR"], labels, ".nii.gz")
    raw = load_case(dataset, dataset.case("case_c"))
    assert raw.label is None and raw.geometry == Geometry(**vars(raw.geometry))
    np.testing.assert_array_equal(raw.images[0].voxels, intensities(20).T)  # type: ignore[union-attr]
    save(image_of(folder, "case_d", 2), intensities(9))
    many = images_as_dataset(folder / "imagesTr", ["T1", "FLAIR"], labels, ".nii.gz")
    with pytest.raises(DataError, match="another number of channels"):
        load_case(many, many.case("case_d"))
    assert load_case(many, many.case("case_a"))
    with pytest.raises(DataError, match="no image to predict"):
        open_images(folder / "labelsTr", ["T1"], ".mha")
    with pytest.raises(DataError, match="cannot be listed"):
        open_images(folder / "nowhere", ["T1"], ".nii.gz")


def test_label_of_another_orientation_is_never_mixed_silently(shared_data: Path, tmp_path: Path) -> None:
    odd = shared_data / "odd_nifti"
    (tmp_path / "imagesTr").mkdir()
    (tmp_path / "labelsTr").mkdir()
    (tmp_path / "imagesTr" / "x_0000.nii.gz").symlink_to(odd / "mask_float64_0.99999997.nii.gz")
    (tmp_path / "labelsTr" / "x.nii.gz").symlink_to(odd / "label_flipped_affine_RAS_vs_image_LPS.nii.gz")
    labels = {"background": 0, "a": 1, "b": 2, "c": 4}
    write_json(tmp_path, {"channel_names": {"0": "T1"}, "labels": labels, "file_ending": ".nii.gz"})
    dataset = open_dataset(tmp_path)
    with pytest.raises(DataError, match="axes") as caught:
        load_case(dataset, dataset.cases[0])
    assert "towards SAR" in str(caught.value.found) and "towards SPL" in str(caught.value.expected)


@pytest.mark.parametrize(
    ("name", "cases", "subjects"),
    [
        ("Dataset101_BraTS13", 4, 4),
        ("Dataset102_MSLesions", 2, 2),
        ("Dataset103_ACDCScribble", 20, 15),
        ("Dataset104_Hippocampus", 65, 65),
    ],
)
def test_real_data_sets_pass(name: str, cases: int, subjects: int, shared_data: Path) -> None:
    report = check_dataset(shared_data / name, workers=0)
    assert report.problems == ()
    assert report.facts is not None
    assert (report.facts.cases, report.facts.subjects) == (cases, subjects)
    dataset = open_dataset(shared_data / name)
    held_out = sorted(case for _, held in make_splits(dataset).folds for case in held)
    assert held_out == [case.id for case in dataset.cases]
