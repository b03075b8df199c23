"""Label maps are whole numbers, or refused with the first offending values."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from autofuse.foundation.errors import DataError
from autofuse.images import read_label_image


def _saved(folder: Path, voxels: NDArray[np.generic]) -> Path:
    path = folder / "mask.nii.gz"
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4), dtype=voxels.dtype), path)
    return path


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ((0, 1, 127), "int8"),
        ((-128, 4), "int8"),
        ((0, 128), "int16"),
        ((0, 255), "int16"),
        ((0, 257), "int16"),
        ((0, 40_000), "int32"),
        ((-1, 2**40), "int64"),
    ],
)
def test_smallest_signed_type_that_holds_them(tmp_path: Path, values: tuple[int, ...], kind: str) -> None:
    voxels = np.resize(np.array(values, np.int64), (3, 4, 5))
    for stored in (np.int64, np.float64):
        if stored is np.float64 and max(values) > 2**24:
            continue
        image = read_label_image(_saved(tmp_path, voxels.astype(stored)))
        np.testing.assert_array_equal(image.voxels, voxels.T)
        assert image.voxels.dtype == kind and not image.warnings


def test_almost_whole_is_rounded_with_a_warning(tmp_path: Path) -> None:
    voxels = np.resize(np.array([0.0, 0.9995, 2.0003]), (3, 4, 5))
    image = read_label_image(_saved(tmp_path, voxels))
    np.testing.assert_array_equal(image.voxels, np.rint(voxels).T)
    assert "0.0005 away" in image.warnings[0]


def test_fractions_are_refused_with_the_first_ones(tmp_path: Path) -> None:
    voxels = np.resize(np.array([0.0, 0.25, 1.0, 0.5]), (3, 4, 5))
    with pytest.raises(DataError) as refusal:
        read_label_image(_saved(tmp_path, voxels))
    assert refusal.value.found == "0.25, 0.5"


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e7, 2**63])
def test_numbers_that_are_no_labels_are_refused(tmp_path: Path, value: float) -> None:
    dtype = np.uint64 if value == 2**63 else np.float32
    with pytest.raises(DataError):
        read_label_image(_saved(tmp_path, np.full((2, 2, 2), value, dtype)))


def test_four_dimensions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="one value per voxel"):
        read_label_image(_saved(tmp_path, np.zeros((3, 3, 3, 2), np.uint8)))


def test_room_is_imported_without_heavy_libraries() -> None:
    program = (
        "import sys\n"
        "import autofuse.images\n"
        "assert 'numpy' not in sys.modules\n"
        "from autofuse.images import read_image, write_image, read_header, write_labels, read_label_image\n"
        "heavy = {'SimpleITK', 'torch', 'nibabel', 'scipy', 'skimage', 'blosc2'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert not hasattr(autofuse.images, 'no_such_name')\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
