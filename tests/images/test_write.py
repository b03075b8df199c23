"""What is written is read back the same by us and by other readers; what cannot be written leaves the old file."""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest
from image_oracles import assert_same_affine, nibabel_voxels, oblique
from numpy.typing import NDArray

from autofuse.foundation.errors import DataError, ResourceError
from autofuse.foundation.files import sweep_temps
from autofuse.images import Geometry, read_header, read_image, read_label_image, write_image, write_labels
from autofuse.images.axes import matrix_of

TYPES = ["uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32"]
ODD_SHAPE = (7, 6, 5)
MEDICAL_ENDINGS = (".nii.gz", ".nii", ".mha", ".nrrd")


def _grids() -> list[Geometry]:
    """Oblique grids, all 48 ways along the axes, and rotations by almost half a turn, hard for a quaternion."""
    grids = [oblique(seed) for seed in range(20)]
    rng = np.random.default_rng(0)
    for _ in range(12):
        axes = np.eye(3)[rng.permutation(3)] * rng.choice([-1.0, 1.0], 3)
        grids.append(Geometry((7, 6, 5), (5.0, 1.2, 0.7), (-12.5, 33.3, 1234.5), matrix_of(axes)))
    for angle in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6):
        c, s = np.cos(angle), np.sin(angle)
        turn = np.diag([-1.0, -1, 1]) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ np.eye(3)[:, ::-1]
        grids.append(Geometry((7, 6, 5), (3.0, 0.8, 0.8), (120.0, 90.0, -80.0), matrix_of(turn)))
    return grids


def test_nifti_geometry_survives_to_a_millionth_for_us_nibabel_and_simpleitk(tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    path = tmp_path / "grid.nii"
    voxels = np.arange(210, dtype=np.int16).reshape(7, 6, 5)
    for grid in _grids():
        write_image(path, voxels, grid)
        image = read_image(path)
        assert not image.warnings
        assert_same_affine(image.geometry, grid.affine())
        theirs, affine = nibabel_voxels(path)
        np.testing.assert_array_equal(theirs, voxels)
        assert_same_affine(grid, affine)
        header = nibabel.load(path).header
        if header["qform_code"]:
            qform = np.diag([-1.0, -1, 1, 1]) @ header.get_qform() @ np.eye(4)[[2, 1, 0, 3]]
            assert np.abs(qform - grid.affine()).max() < 1e-2
        oracle = sitk.ReadImage(str(path))
        itk_affine = np.eye(4)
        itk_affine[:3, :3] = (np.reshape(oracle.GetDirection(), (3, 3)) * oracle.GetSpacing())[:, ::-1]
        itk_affine[:3, 3] = oracle.GetOrigin()
        assert_same_affine(grid, itk_affine)
        np.testing.assert_array_equal(sitk.GetArrayFromImage(oracle), voxels)


def test_copy_of_a_real_file_keeps_its_place_exactly(shared_data: Path, tmp_path: Path) -> None:
    for name in ("4d_oblique_int16.nii.gz", "tiny_4x5x7.nii.gz", "bigendian_float_same_as_little.nii.gz"):
        source = read_image(shared_data / "odd_nifti" / name)
        copy = tmp_path / name
        write_image(copy, source.voxels, source.geometry)
        again = read_image(copy)
        np.testing.assert_array_equal(again.voxels, source.voxels)
        assert_same_affine(again.geometry, source.geometry.affine(), 1e-7)


@pytest.mark.parametrize("ending", MEDICAL_ENDINGS)
@pytest.mark.parametrize("components", [1, 3])
def test_every_type_survives_in_every_format(tmp_path: Path, ending: str, components: int) -> None:
    rng = np.random.default_rng(7)
    grid = oblique(components)
    path = tmp_path / f"image with blanks{ending}"
    for kind in TYPES:
        shape = grid.shape if components == 1 else (components, *grid.shape)
        voxels = (rng.normal(size=shape) * 100).astype(kind)
        write_image(path, voxels, grid)
        image, header = read_image(path), read_header(path)
        np.testing.assert_array_equal(image.voxels, voxels)
        assert image.voxels.dtype == header.dtype == voxels.dtype
        assert image.geometry == header.geometry and header.components == components
        assert_same_affine(image.geometry, grid.affine())


@pytest.mark.parametrize("ending", [".png", ".tif"])
@pytest.mark.parametrize("components", [1, 3, 4])
@pytest.mark.parametrize("kind", ["uint8", "uint16"])
def test_pictures_survive(tmp_path: Path, ending: str, components: int, kind: str) -> None:
    voxels = np.random.default_rng(1).integers(0, np.iinfo(kind).max, (components, 1, 6, 9)).astype(kind)
    voxels = voxels[0] if components == 1 else voxels
    path = tmp_path / f"picture{ending}"
    write_image(path, voxels, Geometry((1, 6, 9), (1.0, 0.5, 0.5)))
    image = read_image(path)
    np.testing.assert_array_equal(image.voxels, voxels)
    assert image.voxels.dtype == kind and image.geometry == Geometry((1, 6, 9))


def test_float64_float16_and_bool_are_written(tmp_path: Path) -> None:
    grid, path = oblique(3), tmp_path / "x.nii.gz"
    values = np.random.default_rng(2).normal(size=grid.shape)
    write_image(path, values, grid)
    assert nibabel.load(path).get_data_dtype() == np.float64
    np.testing.assert_array_equal(read_image(path).voxels, values.astype(np.float32))
    write_image(path, values.astype(np.float16), grid)
    np.testing.assert_array_equal(read_image(path).voxels, values.astype(np.float16).astype(np.float32))
    write_image(path, values > 0, grid)
    np.testing.assert_array_equal(read_image(path).voxels, (values > 0).astype(np.uint8))


def test_an_axis_too_long_for_nifti1_becomes_nifti2(tmp_path: Path) -> None:
    path = tmp_path / "long.nii.gz"
    voxels = np.arange(40_000, dtype=np.uint16).reshape(1, 1, 40_000)
    grid = oblique(5, (1, 1, 40_000))
    write_image(path, voxels, grid)
    assert isinstance(nibabel.load(path), nibabel.Nifti2Image)
    np.testing.assert_array_equal(read_image(path).voxels, voxels)
    assert_same_affine(read_image(path).geometry, grid.affine(), 1e-12)
    np.testing.assert_array_equal(nibabel_voxels(path)[0], voxels)


def test_nifti2_of_nibabel_in_both_byte_orders_is_read(tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).normal(size=(5, 6, 7, 2)).astype(np.float32)
    affine = np.diag([2.0, 3, 4, 1])
    for order in "<>":
        header = nibabel.Nifti2Header(endianness=order)
        header.set_data_dtype(np.float32)
        path = tmp_path / "two.nii.gz"
        nibabel.save(nibabel.Nifti2Image(voxels, affine, header), path)
        image = read_image(path)
        np.testing.assert_array_equal(image.voxels, voxels.T)
        assert image.geometry.spacing_mm == (4.0, 3.0, 2.0)


def test_same_image_has_same_bytes(tmp_path: Path, brain: NDArray[np.int16]) -> None:
    grid = oblique(1, (24, 40, 36))
    digests = set()
    for name in ("a.nii.gz", "b.nii.gz", "c.nii.gz"):
        write_image(tmp_path / name, brain, grid)
        digests.add(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
        time.sleep(0.6)  # a time stamp in seconds would differ
    assert len(digests) == 1
    assert len(gzip.decompress((tmp_path / "a.nii.gz").read_bytes())) == 352 + brain.nbytes


def test_labels_take_the_smallest_type(tmp_path: Path) -> None:
    grid = oblique(1)
    for high, stored, read in ((1, "uint8", "int8"), (255, "uint8", "int16"), (256, "int16", "int16")):
        labels = np.zeros(grid.shape, np.int64)
        labels[0, 0, :2] = 1, high
        write_labels(tmp_path / "mask.nii.gz", labels, grid)
        assert nibabel.load(tmp_path / "mask.nii.gz").get_data_dtype() == stored
        mask = read_label_image(tmp_path / "mask.nii.gz")
        assert mask.voxels.dtype == read
        np.testing.assert_array_equal(mask.voxels, labels)
    write_labels(tmp_path / "mask.png", np.array([[[0, 300], [1, 2]]]).astype(np.uint16), Geometry((1, 2, 2)))
    assert read_label_image(tmp_path / "mask.png").voxels.max() == 300


def test_what_cannot_be_meant_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    grid, good = oblique(1), np.zeros(ODD_SHAPE, np.float32)
    with pytest.raises(ValueError, match="do not fit a grid"):
        write_image(tmp_path / "x.nii.gz", good[1:], grid)
    with pytest.raises(TypeError):
        write_image(tmp_path / "x.nii.gz", good.astype(np.complex64), grid)
    with pytest.raises(TypeError, match="labels must be integers"):
        write_labels(tmp_path / "x.nii.gz", good, grid)
    with pytest.raises(DataError, match="NaN"):
        write_image(tmp_path / "x.nii.gz", np.full(ODD_SHAPE, np.nan, np.float32), grid)
    with pytest.raises(ValueError, match="one slice"):
        write_image(tmp_path / "x.png", good.astype(np.uint8), grid)
    with pytest.raises(DataError, match="ending"):
        write_image(tmp_path / "x.jpg", good, grid)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", MEDICAL_ENDINGS)
@pytest.mark.parametrize("portion", [0.1, 0.5, 0.9])
def test_full_disk_leaves_the_old_file(tmp_path: Path, ending: str, portion: float) -> None:
    """A limit on file size stands in for the full disk: the same short write, another errno."""
    path, grid = tmp_path / f"image{ending}", oblique(1, (20, 30, 40))
    voxels = np.random.default_rng(0).integers(0, 30_000, grid.shape).astype(np.int16)
    write_image(path, voxels, grid)
    old = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(len(old) * portion), limits[1]))
        with pytest.raises(ResourceError):
            write_image(path, voxels + np.int16(1), grid)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == old and [item.name for item in tmp_path.iterdir()] == [path.name]


def test_what_reads_back_differently_never_takes_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from autofuse.images import nifti_write

    path, grid = tmp_path / "image.nii.gz", oblique(1)
    real = nifti_write.voxel_crc
    monkeypatch.setattr(nifti_write, "voxel_crc", lambda temp: (real(temp)[0], 0))
    with pytest.raises(ResourceError, match="not those that were written"):
        write_image(path, np.ones(grid.shape, np.uint8), grid)
    monkeypatch.setattr(nifti_write, "voxel_crc", real)

    def no_space(temp: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("autofuse.foundation.files.sync", no_space)
    with pytest.raises(ResourceError, match="No space left"):
        write_image(path, np.ones(grid.shape, np.uint8), grid)
    assert not list(tmp_path.iterdir())


def test_killed_while_writing_leaves_old_or_new(tmp_path: Path) -> None:
    program = (
        "import sys, numpy as np\n"
        "from autofuse.images import write_image, Geometry\n"
        "print('ready', flush=True)\n"
        "value = 0\n"
        "while True:\n"
        "    value = value % 100 + 1\n"
        "    write_image(sys.argv[1], np.full((40, 200, 200), value, np.int16), Geometry((40, 200, 200)))\n"
    )
    path = tmp_path / "image.nii.gz"
    write_image(path, np.full((40, 200, 200), 1, np.int16), Geometry((40, 200, 200)))
    rng = np.random.default_rng(11)
    for _ in range(6):
        process = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE)
        assert process.stdout is not None and process.stdout.readline()
        time.sleep(float(rng.uniform(0.01, 0.15)))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        voxels = read_image(path).voxels
        assert voxels.min() == voxels.max() >= 1
    sweep_temps(tmp_path)
    assert [item.name for item in tmp_path.iterdir()] == [path.name]
