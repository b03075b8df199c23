"""Every odd file is read as an independent reader reads it, or refused with the expected reason."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from image_oracles import assert_same_affine, nibabel_voxels

from autofuse.foundation.errors import DataError
from autofuse.images import read_header, read_image, read_label_image

READ = "read"
# file -> (READ and type, words in the warnings) or (refused, words in the message)
IMAGES: dict[str, tuple[str, str]] = {
    "2d_no_qform_no_sform.nii.gz": ("uint16", "orientation unknown"),
    "4d_oblique_int16.nii.gz": ("int16", ""),
    "4d_scaled_functional.nii": ("float32", ""),
    "5d_tiny.nii": (DataError.__name__, "more than four axes"),
    "SOURCE.md": (DataError.__name__, "this ending"),
    "bigendian_float_same_as_little.nii.gz": ("float32", ""),
    "bigendian_int16_slope.nii": ("int16", ""),
    # Its name promises shear, but its sform and qform agree on a proper rotation: readable, like nibabel does.
    "ct_gantry_tilt_sheared.nii.gz": ("uint8", ""),
    "label_flipped_affine_RAS_vs_image_LPS.nii.gz": ("float32", ""),
    "lfs_pointer_instead_of_data.nii.gz": (DataError.__name__, "git lfs pull"),
    "mask_float64_0.99999997.nii.gz": ("float32", ""),
    "minc_small.mnc": (DataError.__name__, "MINC"),
    "not_a_nifti.nii": (DataError.__name__, "does not begin with a NIfTI header"),
    "nrrd_brain_label.nrrd": ("int32", ""),
    "pair_air.hdr.gz": (DataError.__name__, "another file"),
    "rgb_voxels.nii.gz": (DataError.__name__, "RGB"),
    "sform_only_qform0.nii": ("uint8", ""),
    "tiny_4x5x7.nii.gz": ("uint8", ""),
    "truncated_gzip.nii.gz": (DataError.__name__, "ends in the middle"),
    "with_extension_zoom0_trailing1.nii.gz": ("uint8", ""),
}


def test_table_names_every_odd_file(shared_data: Path) -> None:
    assert {path.name for path in (shared_data / "odd_nifti").iterdir()} == set(IMAGES)


@pytest.mark.parametrize("name", IMAGES)
def test_odd_file_is_read_right_or_refused(shared_data: Path, name: str) -> None:
    path = shared_data / "odd_nifti" / name
    expected, words = IMAGES[name]
    start = time.monotonic()
    if expected == DataError.__name__:
        with pytest.raises(DataError) as refusal:
            read_image(path)
        assert words in str(refusal.value) and refusal.value.file == str(path)
    else:
        image = read_image(path)
        header = read_header(path)
        assert image.voxels.dtype == header.dtype == np.dtype(expected)
        assert header.geometry == image.geometry
        assert header.components == (image.voxels.shape[0] if image.voxels.ndim == 4 else 1)
        assert words in " ".join(image.warnings) and bool(words) == bool(image.warnings)
        if name != "nrrd_brain_label.nrrd":
            _compare_with_nibabel(path)
    assert time.monotonic() - start < 10


def _compare_with_nibabel(path: Path) -> None:
    image = read_image(path)
    voxels, affine = nibabel_voxels(path)
    np.testing.assert_allclose(image.voxels, voxels, rtol=1e-6, atol=1e-6)
    if "orientation unknown" not in " ".join(image.warnings):
        assert_same_affine(image.geometry, affine)


def test_nrrd_label_equals_simpleitk(shared_data: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    path = shared_data / "odd_nifti" / "nrrd_brain_label.nrrd"
    image, oracle = read_label_image(path), sitk.ReadImage(str(path))
    np.testing.assert_array_equal(image.voxels, sitk.GetArrayFromImage(oracle))
    assert image.voxels.dtype == np.int8
    np.testing.assert_allclose(image.geometry.spacing_mm, oracle.GetSpacing()[::-1], rtol=1e-12)
    np.testing.assert_allclose(image.geometry.origin_mm, oracle.GetOrigin(), rtol=1e-12)
    direction = np.reshape(oracle.GetDirection(), (3, 3))[:, ::-1]
    np.testing.assert_allclose(image.geometry.direction, direction, atol=1e-12)


def test_mask_stored_as_scaled_numbers_is_rounded_and_that_is_said(shared_data: Path) -> None:
    mask = read_label_image(shared_data / "odd_nifti" / "mask_float64_0.99999997.nii.gz")
    assert mask.voxels.dtype == np.int8 and set(np.unique(mask.voxels)) == {0, 1}
    assert "rounded" in " ".join(mask.warnings)


def test_real_files_equal_nibabel(shared_data: Path) -> None:
    """The largest file of every folder of real images, and every tenth of the others."""
    folders: dict[Path, list[Path]] = {}
    for path in sorted(shared_data.rglob("*.nii.gz")):
        if path.parent.name != "odd_nifti":
            folders.setdefault(path.parent, []).append(path)
    assert len(folders) > 10
    for files in folders.values():
        largest = max(files, key=lambda path: path.stat().st_size)
        for path in {largest, *files[::10]}:
            image = read_image(path)
            voxels, affine = nibabel_voxels(path)
            np.testing.assert_allclose(image.voxels, voxels, rtol=1e-6, err_msg=str(path))
            if "orientation unknown" not in " ".join(image.warnings):
                assert_same_affine(image.geometry, affine)
