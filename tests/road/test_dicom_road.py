"""From DICOM series to images, and from masks to DICOM Segmentation objects, as commands do it."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from highdicom.seg import segread
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from autofuse import road
from autofuse.cli.main import main
from autofuse.foundation.errors import DataError, UsageError
from autofuse.images import Geometry, read_image, write_labels
from autofuse.images.dicom_read import open_series
from autofuse.sharing.dicom_seg import Identity

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "images"))
from dicom_series import OBLIQUE, write_series

CLASSES = {"background": 0, "organ": 1, "lesion": 2, "cyst": 3}
REGIONS = {"background": 0, "whole": [1, 2], "core": [2]}
IDENTITY = Identity("1.2.5", "1.2.6", datetime(2026, 1, 2, 3, 4, 5))


@pytest.fixture
def mask(tmp_path: Path) -> NDArray[np.uint8]:
    """A mask beside an oblique series: 4 voxels of the organ, 5 of the lesion, none of the cyst."""
    write_series(tmp_path / "ct", (4, 5, 6), axes=OBLIQUE)
    voxels = np.zeros((4, 5, 6), np.uint8)
    voxels[1, 2:4, 1:3] = 1
    voxels[2, :, 3] = 2
    write_labels(tmp_path / "mask.nii.gz", voxels, open_series(tmp_path / "ct").geometry)
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": CLASSES}))
    return voxels


def _segment(folder: Path, name: str = "seg.dcm", **more: object) -> road.SegmentationWritten:
    given = {"labels": folder / "dataset.json", "identity": IDENTITY, **more}
    return road.to_dicom_seg(folder / "mask.nii.gz", folder / "ct", folder / name, **given)  # type: ignore[arg-type]


def _read_back(folder: Path, segments: int) -> NDArray[np.uint8]:
    """Segments (slice, row, column, segment) of seg.dcm, slice by slice of the series."""
    uids = [str(header.SOPInstanceUID) for header in open_series(folder / "ct").headers]
    seg = segread(folder / "seg.dcm")
    assert seg.number_of_segments == segments
    frames: NDArray[np.uint8] = seg.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
    return frames


def test_series_become_the_channels_of_a_case(tmp_path: Path) -> None:
    first = write_series(tmp_path / "t1", axes=OBLIQUE, RescaleIntercept=-7)
    second = write_series(tmp_path / "flair", (3, 4, 4), uid="1.2.8", FrameOfReferenceUID="1.2.10")
    made = road.from_dicom([tmp_path / "t1", tmp_path / "flair"], tmp_path / "images", case="case_01")
    assert [Path(item.file).name for item in made.series] == ["case_01_0000.nii.gz", "case_01_0001.nii.gz"]
    assert made.series[0].warnings == ()
    assert "need not share a coordinate system" in made.series[1].warnings[0]
    image = read_image(made.series[0].file)
    assert np.array_equal(image.voxels, first - 7)
    assert image.geometry.same_grid(open_series(tmp_path / "t1").geometry, tolerance_mm=1e-4)
    assert np.array_equal(read_image(made.series[1].file).voxels, second)


def test_a_segmentation_holds_the_mask(mask: NDArray[np.uint8], tmp_path: Path) -> None:
    made = _segment(tmp_path, algorithm="hippocampus")
    assert made.segments == (("organ", 4), ("lesion", 5), ("cyst", 0))
    frames = _read_back(tmp_path, 3)
    for number in (1, 2, 3):
        assert np.array_equal(frames[..., number - 1], mask == number)
    seg = segread(tmp_path / "seg.dcm")
    described = seg.get_segment_description(2)
    assert (described.segment_label, described.algorithm_type.value) == ("lesion", "AUTOMATIC")
    assert described.algorithm_identification.name == "hippocampus"
    assert (seg.PatientID, seg.StudyInstanceUID, seg.FrameOfReferenceUID) == ("P1", "1.2.3", "1.2.9")
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == "1.2.3.4"
    volume = seg.get_volume(combine_segments=True)
    # highdicom gives the slices that are not empty, here 1 and 2, from the far end: (1, 0, 0) lies in slice 1.
    grid = open_series(tmp_path / "ct").geometry
    assert (volume.affine @ (1, 0, 0, 1))[:3] == pytest.approx((grid.affine() @ (1, 0, 0, 1))[:3], abs=1e-4)
    assert np.array_equal(volume.array, mask[2:0:-1])


def test_regions_may_overlap(mask: NDArray[np.uint8], tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": REGIONS, "regions_class_order": [1, 2]}))
    assert _segment(tmp_path).segments == (("whole", 9), ("core", 5))
    frames = _read_back(tmp_path, 2)
    assert np.array_equal(frames[..., 0], mask > 0)
    assert np.array_equal(frames[..., 1], mask == 2)


def test_the_same_mask_gives_the_same_bytes(mask: NDArray[np.uint8], tmp_path: Path) -> None:
    _segment(tmp_path)
    _segment(tmp_path, "again.dcm")
    assert (tmp_path / "seg.dcm").read_bytes() == (tmp_path / "again.dcm").read_bytes()


def test_sparse_headers_and_any_letters_will_do(mask: NDArray[np.uint8], tmp_path: Path) -> None:
    """What DICOM allows to be empty, many anonymised series leave out."""

    def change(_: int, header: Dataset) -> None:
        header.SpecificCharacterSet, header.PatientName = "ISO_IR 100", "Müller"
        for name in ("PatientBirthDate", "StudyID", "AccessionNumber", "SliceThickness"):
            delattr(header, name)

    write_series(tmp_path / "ct", axes=OBLIQUE, change=change, shape=(4, 5, 6))
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "ήπαρ": 1, "肝": 2}}))
    _segment(tmp_path)
    seg = segread(tmp_path / "seg.dcm")
    assert [seg.get_segment_description(number).segment_label for number in (1, 2)] == ["ήπαρ", "肝"]
    assert str(seg.PatientName) == "Müller"


def test_an_empty_mask_is_an_answer(mask: NDArray[np.uint8], tmp_path: Path) -> None:
    write_labels(tmp_path / "mask.nii.gz", mask * 0, open_series(tmp_path / "ct").geometry)
    assert _segment(tmp_path).segments == (("organ", 0), ("lesion", 0), ("cyst", 0))
    assert not _read_back(tmp_path, 3).any()


def test_a_mask_with_axes_in_another_order_is_turned(mask: NDArray[np.uint8], tmp_path: Path) -> None:
    grid = open_series(tmp_path / "ct").geometry
    affine, direction = grid.affine(), np.asarray(grid.direction)
    far = (affine @ (3, 0, 0, 1))[:3]
    turned = np.stack([-direction[:, 0], direction[:, 2], direction[:, 1]], axis=1)
    geometry = Geometry(
        (4, 6, 5),
        (grid.spacing_mm[0], grid.spacing_mm[2], grid.spacing_mm[1]),
        tuple(far.tolist()),
        tuple(tuple(row) for row in turned.tolist()),
    )
    write_labels(tmp_path / "mask.nii.gz", mask[::-1].transpose(0, 2, 1), geometry)
    _segment(tmp_path)
    assert np.array_equal(_read_back(tmp_path, 3)[..., 0], mask == 1)


def test_what_does_not_fit_is_refused(mask: NDArray[np.uint8], tmp_path: Path) -> None:
    grid = open_series(tmp_path / "ct").geometry
    write_labels(tmp_path / "mask.nii.gz", mask + np.uint8(2), grid)
    with pytest.raises(DataError, match=r"do not declare(.|\n)*found: 4"):
        _segment(tmp_path)
    write_labels(tmp_path / "mask.nii.gz", mask, Geometry(grid.shape, grid.spacing_mm, (0, 0, 0), grid.direction))
    with pytest.raises(DataError, match="does not lie on the series' grid"):
        _segment(tmp_path)
    with pytest.raises(DataError, match="what the mask's values mean"):
        _segment(tmp_path, labels="no_such_model")
    assert not (tmp_path / "seg.dcm").exists()


def test_nothing_is_replaced_and_no_patients_are_mixed(mask: NDArray[np.uint8], tmp_path: Path) -> None:
    road.from_dicom([tmp_path / "ct"], tmp_path / "images", case="a")
    before = (tmp_path / "images" / "a_0000.nii.gz").read_bytes()
    with pytest.raises(UsageError, match="has images already"):
        road.from_dicom([tmp_path / "ct"], tmp_path / "images", case="a")
    assert (tmp_path / "images" / "a_0000.nii.gz").read_bytes() == before
    write_series(tmp_path / "other", PatientID="P2")
    with pytest.raises(DataError, match="several patients") as caught:
        road.from_dicom([tmp_path / "ct", tmp_path / "other"], tmp_path / "images", case="b")
    assert "P2" not in str(caught.value).replace(str(tmp_path), "")
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["a_0000.nii.gz"]
    for case in ("../a", "", "a_0001", ".a"):
        with pytest.raises(UsageError, match="name of a case"):
            road.from_dicom([tmp_path / "ct"], tmp_path / "images", case=case)
    _segment(tmp_path)
    with pytest.raises(UsageError, match="would replace"):
        _segment(tmp_path)


def test_a_case_is_written_whole_or_not_at_all(mask: NDArray[np.uint8], tmp_path: Path) -> None:
    write_series(tmp_path / "cut")
    file = tmp_path / "cut" / "IM900"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DataError):
        road.from_dicom([tmp_path / "ct", tmp_path / "cut"], tmp_path / "images", case="a")
    assert not (tmp_path / "images").exists()


def test_the_extra_that_is_missing_is_named(mask: NDArray[np.uint8], tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(UsageError) as caught:
        road.from_dicom([tmp_path / "ct"], tmp_path / "images", case="a")
    assert caught.value.remedy == "pip install 'autofuse[dicom]'"
    with pytest.raises(UsageError, match="not installed"):
        _segment(tmp_path)


def test_commands_answer_programs_and_people(mask: NDArray[np.uint8], tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    series, images = str(tmp_path / "ct"), str(tmp_path / "images")
    assert main(["from-dicom", series, "-o", images, "--case", "a", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["result"]["series"][0]["shape"] == [4, 5, 6]
    given = ["--series", series, "--labels", str(tmp_path / "dataset.json"), "-o", str(tmp_path / "seg.dcm")]
    assert main(["to-dicom-seg", str(tmp_path / "mask.nii.gz"), *given]) == 0
    assert "lesion" in capsys.readouterr().out
    assert main(["from-dicom", images, "-o", images, "--case", "b"]) == DataError.exit_code
