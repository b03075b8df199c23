"""DICOM series as images: the grid by hand, values rescaled, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from dicom_series import OBLIQUE, write_series
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGLosslessSV1, RLELossless

from autofuse.foundation.errors import DataError
from autofuse.images.dicom_read import open_series, read_voxels


def test_slices_are_sorted_by_place_and_the_grid_is_theirs(tmp_path: Path) -> None:
    values = write_series(tmp_path / "ct", (4, 5, 6))
    series = open_series(tmp_path / "ct")
    assert [path.name for path in series.files] == ["IM900", "IM899", "IM898", "IM897"], "the first lies lowest"
    grid = series.geometry
    assert (grid.shape, grid.origin_mm) == ((4, 5, 6), (-10.0, 20.0, 30.0))
    assert grid.spacing_mm == pytest.approx((2.5, 0.7, 0.5))
    image = read_voxels(series)
    assert image.voxels.dtype == np.int16
    assert np.array_equal(image.voxels, values)


def test_an_oblique_grid_puts_a_voxel_where_its_slice_says(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", axes=OBLIQUE)
    grid = open_series(tmp_path / "ct").geometry
    # Two slices, one row and three columns on: 5 mm * normal, 0.7 mm * column direction, 1.5 mm * row direction.
    by_hand = (
        -10 + 5 * 0.36 - 0.7 * 0.48 + 1.5 * 0.8,
        20 - 5 * 0.48 + 0.7 * 0.64 + 1.5 * 0.6,
        30 + 5 * 0.8 + 0.7 * 0.6,
    )
    assert (grid.affine() @ (2, 1, 3, 1))[:3] == pytest.approx(by_hand, abs=1e-5)


def test_simpleitk_sees_the_same_image(tmp_path: Path) -> None:
    """GDCM, which SimpleITK reads DICOM with, as an independent witness."""
    write_series(tmp_path / "ct", axes=OBLIQUE, RescaleIntercept=-1024)
    series = open_series(tmp_path / "ct")
    names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "ct"))
    other = SimpleITK.ReadImage(names)
    assert np.array_equal(SimpleITK.GetArrayFromImage(other), read_voxels(series).voxels)
    for index in ((0, 0, 0), (3, 4, 5)):
        witnessed = other.TransformIndexToPhysicalPoint(index[::-1])
        assert (series.geometry.affine() @ (*index, 1))[:3] == pytest.approx(witnessed, abs=1e-4)


def test_slope_and_intercept_are_applied_slice_by_slice(tmp_path: Path) -> None:
    def change(index: int, header: Dataset) -> None:
        header.RescaleSlope, header.RescaleIntercept = 0.5 * (index + 1), -1

    values = write_series(tmp_path / "pet", (2, 3, 3), change=change)
    voxels = read_voxels(open_series(tmp_path / "pet")).voxels
    assert voxels.dtype == np.float32
    assert np.array_equal(voxels[0], values[0] * 0.5 - 1)
    assert np.array_equal(voxels[1], values[1] * 1.0 - 1)


def test_values_beyond_16_bits_stay_whole(tmp_path: Path) -> None:
    values = write_series(tmp_path / "ct", (2, 3, 3), RescaleIntercept=40_000)
    voxels = read_voxels(open_series(tmp_path / "ct")).voxels
    assert voxels.dtype == np.int32
    assert np.array_equal(voxels, values.astype(int) + 40_000)


def test_compressed_slices_are_decoded(tmp_path: Path) -> None:
    values = write_series(tmp_path / "ct", (2, 4, 4), change=lambda _, header: header.compress(RLELossless))
    assert np.array_equal(read_voxels(open_series(tmp_path / "ct")).voxels, values)


def test_a_single_slice_is_as_thick_as_it_says(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", (1, 3, 3))
    assert open_series(tmp_path / "ct").geometry.spacing_mm == pytest.approx((2.5, 0.7, 0.5))


def _shift(index: int, header: Dataset) -> None:
    if index == 2:
        header.ImagePositionPatient = [-10, 20, 36.5]


def _turn(index: int, header: Dataset) -> None:
    if index == 2:
        header.ImageOrientationPatient = [1, 0, 0, 0, 0, 1]


def _double(index: int, header: Dataset) -> None:
    header.ImagePositionPatient = [-10, 20, 30 + 2.5 * (index // 2)]


def _tilt(index: int, header: Dataset) -> None:
    header.ImagePositionPatient = [-10, 20 + index, 30 + 2.5 * index]


def _sideways(index: int, header: Dataset) -> None:
    header.ImagePositionPatient = [-10 + 2 * (index == 1), 20, 30 + 2.5 * index]


def _lie_of_deflation(_: int, header: Dataset) -> None:
    header.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian


def _lossless_jpeg(_: int, header: Dataset) -> None:
    header.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    header.PixelData = b"\xfe\xff\x00\xe0\x00\x00\x00\x00\xfe\xff\x00\xe0\x02\x00\x00\x00\x00\x00"
    header["PixelData"].is_undefined_length = True


def _without_place(_: int, header: Dataset) -> None:
    del header.ImagePositionPatient


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_shift, r"unevenly spaced(.|\n)*gap of 4.000 mm after IM899(.|\n)*2.500 mm between"),
        (_turn, "do not lie on one grid"),
        (_double, "Several slices lie at one place"),
        (_tilt, "sheared"),
        (_sideways, "off the line|sheared"),
        (_lie_of_deflation, "transfer syntax(.|\n)*Deflated"),
        (_lossless_jpeg, "transfer syntax(.|\n)*JPEG Lossless"),
        (_without_place, "no ImagePositionPatient; CT Image Storage"),
        (lambda _, header: setattr(header, "NumberOfFrames", 3), "Multi-frame(.|\n)*3 frames"),
        (lambda _, header: setattr(header, "PhotometricInterpretation", "MONOCHROME1"), "MONOCHROME1"),
        (lambda index, header: setattr(header, "Rows", 5 - index % 2), "do not lie on one grid(.|\n)*Rows"),
        (lambda _, header: setattr(header, "ImageOrientationPatient", [2, 0, 0, 0, 1, 0]), "do not lie on one grid"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_is_no_whole_volume_is_refused(change, told: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    write_series(tmp_path / "ct", change=change)
    with pytest.raises(DataError) as caught:
        open_series(tmp_path / "ct")
    assert re.search(told, str(caught.value))


@pytest.mark.parametrize(("shape", "skip"), [((6, 3, 3), (2,)), ((4, 3, 3), (1,)), ((7, 3, 3), (2, 5))])
def test_a_missing_slice_is_a_gap_in_mm(shape: tuple[int, int, int], skip: tuple[int, ...], tmp_path: Path) -> None:
    write_series(tmp_path / "ct", shape, skip=skip)
    with pytest.raises(DataError, match="missing or unevenly") as caught:
        open_series(tmp_path / "ct")
    assert "a gap of 5.000 mm" in str(caught.value.found)


def test_positions_rounded_to_hundredths_are_even(tmp_path: Path) -> None:
    def change(index: int, header: Dataset) -> None:
        header.ImagePositionPatient = [-10, 20, round(30 + index / 3, 2)]

    write_series(tmp_path / "ct", (40, 2, 2), change=change)
    assert open_series(tmp_path / "ct").geometry.spacing_mm[0] == pytest.approx(1 / 3, abs=1e-3)


def test_several_series_are_named(tmp_path: Path) -> None:
    write_series(tmp_path / "ct")
    for file in (tmp_path / "ct").iterdir():
        file.rename(file.with_name(f"first_{file.name}"))
    write_series(tmp_path / "ct", (2, 5, 6), uid="1.2.77", SeriesDescription="bone")
    with pytest.raises(DataError, match="several series") as caught:
        open_series(tmp_path / "ct")
    assert "1.2.3.4 (CT 3 thin): 4 files" in str(caught.value.found)
    assert "1.2.77 (CT 3 bone): 2 files" in str(caught.value.found)


@pytest.mark.parametrize("content", [b"", b"plain text", b"\0" * 128 + b"DICM", b"\0" * 128 + b"DICM" + b"\xff" * 300])
def test_what_is_not_dicom_is_named(content: bytes, tmp_path: Path) -> None:
    write_series(tmp_path / "ct")
    (tmp_path / "ct" / "notes").write_bytes(content)
    with pytest.raises(DataError) as caught:
        open_series(tmp_path / "ct")
    assert str(caught.value.file).endswith("notes")


def test_pixels_that_were_cut_off_are_an_error(tmp_path: Path) -> None:
    write_series(tmp_path / "ct")
    file = tmp_path / "ct" / "IM900"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DataError) as caught:
        read_voxels(open_series(tmp_path / "ct"))
    assert str(caught.value.file).endswith("IM900")


def test_folders_that_hold_no_slices_are_refused(tmp_path: Path) -> None:
    write_series(tmp_path / "study" / "ct")
    with pytest.raises(DataError, match="0 files and the folders ct"):
        open_series(tmp_path / "study")
    with pytest.raises(DataError, match="does not exist"):
        open_series(tmp_path / "nowhere")
