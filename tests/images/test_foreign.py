"""MetaImage, NRRD, PNG and TIFF: whole, self-contained files are read; a failing or hanging library harms nobody."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_oracles import oblique
from numpy.typing import NDArray

from autofuse.foundation.errors import DataError
from autofuse.images import Geometry, foreign, read_header, read_image, read_label_image, write_image
from autofuse.images.foreign_gate import check_foreign

GATED = (".mha", ".nrrd", ".png")


def _sample(folder: Path, ending: str) -> tuple[Path, NDArray[Any]]:
    path = folder / f"sample{ending}"
    shape = (1, 60, 50) if ending in (".png", ".tif") else (12, 20, 18)
    voxels = np.random.default_rng(9).integers(0, 900, shape).astype(np.uint16)
    write_image(path, voxels, Geometry(shape) if shape[0] == 1 else oblique(1, shape))  # type: ignore[arg-type]
    return path, voxels


@pytest.mark.parametrize("ending", GATED)
def test_cut_off_is_refused(tmp_path: Path, ending: str) -> None:
    path, _ = _sample(tmp_path, ending)
    content = path.read_bytes()
    for length in (0, 1, 7, 20, len(content) // 3, len(content) // 2, len(content) - 20, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(DataError):
            read_image(path)


def test_tiff_cut_off_is_refused_or_has_all_its_voxels(tmp_path: Path) -> None:
    path, voxels = _sample(tmp_path, ".tif")
    content = path.read_bytes()
    refused = 0
    for length in (*range(0, len(content), len(content) // 20), len(content) - 1):
        path.write_bytes(content[:length])
        try:
            np.testing.assert_array_equal(read_image(path).voxels, voxels)
        except DataError:
            refused += 1
    assert refused >= 20  # the last bytes are a program's name


def test_pictures_that_itk_would_change_are_refused(tmp_path: Path) -> None:
    """One-bit masks, tiles, palettes and inverted greys: ITK gives colours or stretched values for them."""
    from PIL import Image as Picture

    values = np.random.default_rng(0).integers(0, 5, (64, 48)).astype(np.uint8)
    palette = Picture.fromarray(values)
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    one_bit, alpha = Picture.fromarray(values > 2), Picture.fromarray(values).convert("LA")
    for name, picture, words in (
        ("bit.png", one_bit, "1 bits"),
        ("bit.tif", one_bit, "bits"),
        ("alpha.png", alpha, "colour type 4"),
        ("palette.tif", palette, "colour model"),
    ):
        picture.save(tmp_path / name)
        with pytest.raises(DataError) as refusal:
            read_image(tmp_path / name)
        assert words in str(refusal.value)
    palette.save(tmp_path / "palette.png")
    assert read_image(tmp_path / "palette.png").voxels.shape == (3, 1, 64, 48)


def test_tiffs_of_another_writer_are_read_right_or_refused(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    path = tmp_path / "picture.tif"
    values = np.random.default_rng(0).integers(0, 60_000, (64, 48)).astype(np.uint16)
    for options in ({}, {"rowsperstrip": 7}, {"bigtiff": True}, {"byteorder": ">"}, {"compression": "zlib"}):
        tifffile.imwrite(path, values, **options)
        np.testing.assert_array_equal(read_image(path).voxels[0], values)
    for kind in (np.uint8, np.int8, np.int16, np.int32, np.uint32, np.float32):
        tifffile.imwrite(path, values.astype(kind))
        np.testing.assert_array_equal(read_image(path).voxels[0], values.astype(kind))
    tifffile.imwrite(path, np.stack([values] * 5), photometric="minisblack")
    assert read_image(path).voxels.shape == (5, 64, 48)
    tifffile.imwrite(path, values, tile=(16, 16))
    with pytest.raises(DataError, match="tiles"):
        read_image(path)
    tifffile.imwrite(path, values, photometric="miniswhite")
    with pytest.raises(DataError, match="colour model"):
        read_image(path)


@pytest.mark.parametrize("ending", GATED)
def test_flipped_bits_are_caught(tmp_path: Path, ending: str) -> None:
    path, _ = _sample(tmp_path, ending)
    content = path.read_bytes()
    rng = np.random.default_rng(3)
    for position in rng.integers(len(content) // 2, len(content), 40):
        flipped = bytearray(content)
        flipped[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        with pytest.raises(DataError):
            read_image(path)


@pytest.mark.parametrize("ending", [*GATED, ".tif"])
def test_flipped_bits_in_the_header_never_end_in_anything_but_an_image_or_a_reason(tmp_path: Path, ending: str) -> None:
    path, _ = _sample(tmp_path, ending)
    content = path.read_bytes()
    rng = np.random.default_rng(4)
    for position in rng.integers(0, min(300, len(content)), 40):
        flipped = bytearray(content)
        flipped[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        try:
            image = read_image(path, limit_s=10)
        except DataError:
            continue
        assert image.voxels.shape[-3:] == image.geometry.shape and np.isfinite(image.geometry.affine()).all()


@pytest.mark.parametrize(
    ("ending", "old", "new", "words"),
    [
        (".mha", b"DimSize = 18 20 12", b"DimSize = 90000 90000 90000", "more voxels"),
        (".mha", b"DimSize = 18 20 12", b"DimSize = 18 20 13", "missing"),
        (".mha", b"DimSize = 18 20 12", b"DimSize = 18 20 11", "behind the last voxel"),
        (".mha", b"DimSize = 18 20 12", b"DimSize = 18 -20 12", "sizes are"),
        (".mha", b"ElementDataFile = LOCAL", b"ElementDataFile = /etc/passwd", "another file"),
        (".mha", b"MET_USHORT", b"MET_UCHAR_ARRAY", "voxel type"),
        (".mha", b"ElementSpacing = ", b"ElementSpacing = 1e9 ", "impossible"),
        (".nrrd", b"sizes: 18 20 12", b"sizes: 90000 90000 90000", "more voxels"),
        (".nrrd", b"sizes: 18 20 12", b"sizes: 18 20 13", "missing"),
        (".nrrd", b"encoding: gzip", b"encoding: ascii", "encoding"),
        (".nrrd", b"encoding: gzip", b"data file: /etc/passwd\nencoding: gzip", "another file"),
        (".nrrd", b"encoding: gzip", b"encoding: gzip\nbyte skip: -1", "behind other data"),
    ],
)
def test_hostile_text_headers_are_refused(tmp_path: Path, ending: str, old: bytes, new: bytes, words: str) -> None:
    path, _ = _sample(tmp_path, ending)
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))
    with pytest.raises(DataError) as refusal:
        read_image(path)
    assert words in str(refusal.value)


def test_sheared_metaimage_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sheared.mha"
    write_image(path, np.zeros((3, 3, 3), np.uint8), Geometry((3, 3, 3)))
    path.write_bytes(path.read_bytes().replace(b"1 0 0 0 1 0 0 0 1", b"1 0 0 0.2 1 0 0 0 1"))
    with pytest.raises(DataError, match="sheared"):
        read_image(path)


def test_png_that_declares_a_giant_is_refused_before_reading(tmp_path: Path) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    path = tmp_path / "giant.png"
    for side, words in ((60_000, "more voxels"), (40_000, "declares")):
        head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""))
        start = time.monotonic()
        with pytest.raises(DataError, match=words):
            read_image(path)
        assert time.monotonic() - start < 10


def test_nan_is_kept_by_the_reader_and_refused_by_us(tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    voxels = np.zeros((3, 4, 5), np.float32)
    voxels[1, 2, 3] = np.nan
    for ending in (".mha", ".nrrd"):
        path = tmp_path / f"nan{ending}"
        sitk.WriteImage(sitk.GetImageFromArray(voxels), str(path))
        with pytest.raises(DataError) as refusal:
            read_image(path)
        assert "1 NaN" in str(refusal.value) and "(1, 2, 3)" in str(refusal.value)


def test_uncompressed_and_4d_files_of_simpleitk_are_read(tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    voxels = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    for ending in (".mha", ".nrrd"):
        path = tmp_path / f"four{ending}"
        sitk.WriteImage(sitk.GetImageFromArray(voxels, isVector=False), str(path), useCompression=False)
        np.testing.assert_array_equal(read_image(path).voxels, voxels)
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(DataError, match="bytes of voxels instead of"):
            read_image(path)


def test_colour_picture_is_no_label_map(tmp_path: Path) -> None:
    path = tmp_path / "colour.png"
    write_image(path, np.zeros((3, 1, 4, 4), np.uint8), Geometry((1, 4, 4)))
    with pytest.raises(DataError, match="one value per voxel"):
        read_label_image(path)


def test_text_named_like_an_image_is_refused(tmp_path: Path) -> None:
    for ending in (".mha", ".nrrd", ".png", ".tif"):
        path = tmp_path / f"text{ending}"
        path.write_bytes(b"this is no image = at all\n" * 40)
        for read in (read_image, read_header):
            with pytest.raises(DataError) as refusal:
                read(path)
            assert refusal.value.file == str(path)


def _child() -> int:
    process = foreign._READER._process
    assert process is not None
    return process.pid


def test_one_process_serves_many_files_and_is_replaced_when_it_dies(tmp_path: Path) -> None:
    path, voxels = _sample(tmp_path, ".mha")
    read_image(path)
    first = _child()
    read_image(path)
    assert _child() == first
    os.kill(first, signal.SIGKILL)
    time.sleep(0.2)
    np.testing.assert_array_equal(read_image(path).voxels, voxels)
    assert _child() != first


def test_reader_that_hangs_is_ended_in_time_and_replaced(tmp_path: Path) -> None:
    path, voxels = _sample(tmp_path, ".mha")
    read_image(path)
    os.kill(_child(), signal.SIGSTOP)
    start = time.monotonic()
    with pytest.raises(DataError, match="takes too long"):
        read_image(path, limit_s=0.5)
    assert time.monotonic() - start < 5
    np.testing.assert_array_equal(read_image(path).voxels, voxels)


def test_reader_that_dies_while_reading_is_named(tmp_path: Path) -> None:
    path, voxels = _sample(tmp_path, ".mha")
    read_image(path)
    child = _child()
    os.kill(child, signal.SIGSTOP)
    threading.Timer(0.3, os.kill, (child, signal.SIGKILL)).start()
    with pytest.raises(DataError, match="SIGKILL"):
        read_image(path, limit_s=20)
    np.testing.assert_array_equal(read_image(path).voxels, voxels)


def test_reader_outlives_the_thread_that_started_it_or_is_replaced(tmp_path: Path) -> None:
    path, voxels = _sample(tmp_path, ".mha")
    foreign._READER.stop()
    seen: list[NDArray[Any]] = []

    def read() -> None:
        seen.append(read_image(path).voxels)

    for _ in range(3):
        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 7 and all(np.array_equal(item, voxels) for item in seen)


def test_forked_process_gets_a_reader_of_its_own(tmp_path: Path) -> None:
    path, voxels = _sample(tmp_path, ".mha")
    read_image(path)
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(read_image(path).voxels, voxels) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    np.testing.assert_array_equal(read_image(path).voxels, voxels)


def test_reader_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    path, _ = _sample(tmp_path, ".mha")
    program = (
        "import sys, time\n"
        "from autofuse.images import foreign, read_image\n"
        "read_image(sys.argv[1])\n"
        "print(foreign._READER._process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    reader = int(parent.stdout.readline())
    os.kill(reader, signal.SIGSTOP)  # even one that hangs
    parent.kill()
    parent.wait()
    parent.stdout.close()
    os.kill(reader, signal.SIGCONT)
    for _ in range(50):
        try:
            os.kill(reader, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{reader}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return  # dead, waiting for an init process that does not come in this container
        time.sleep(0.1)
    pytest.fail("the reader outlived its parent")


def test_gate_checks_the_whole_payload_only_when_asked(tmp_path: Path) -> None:
    path, _ = _sample(tmp_path, ".mha")
    content = bytearray(path.read_bytes())
    content[-30] ^= 1
    path.write_bytes(content)
    check_foreign(path, ".mha", 2**31, voxels=False)
    with pytest.raises(DataError):
        check_foreign(path, ".mha", 2**31)
