"""Data sets for measuring growth: thousands of tiny cases that are read, or files that are only listed."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np

from autofuse.images.bytestream import GZIP
from autofuse.images.geometry import Geometry
from autofuse.images.nifti_header import pack_header
from autofuse.images.nifti_write import header_for

EDGE, BLOB = 8, 4
MODALITIES = ("T1", "FLAIR")
FILES_PER_CASE = len(MODALITIES) + 1


def write_tiny_cases(folder: Path, cases: int) -> Path:
    """``folder``: nnU-Net's raw layout, two aligned modalities and a label of 8 x 8 x 8 voxels for each case.

    Files are written without the care that the engine takes: nothing depends on them, and they are many.
    """
    random = np.random.default_rng(cases)
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    for index in range(cases):
        label = np.zeros((EDGE,) * 3, dtype=np.int16)
        z, y, x = random.integers(0, EDGE - BLOB, 3)
        label[z : z + BLOB, y : y + BLOB, x : x + BLOB] = 1
        for channel, shown in enumerate((label, 1 - label)):
            noisy = random.integers(1, 50, label.shape) + 100 * shown
            _write(folder / "imagesTr" / f"case_{index:06d}_{channel:04d}.nii.gz", noisy.astype(np.int16))
        _write(folder / "labelsTr" / f"case_{index:06d}.nii.gz", label)
    return _described(folder, cases)


def touch_files(folder: Path, files: int) -> Path:
    """``folder``: about ``files`` empty files in the same layout, enough to be listed."""
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    cases = max(1, files // FILES_PER_CASE)
    for index in range(cases):
        for channel in range(len(MODALITIES)):
            (folder / "imagesTr" / f"case_{index:06d}_{channel:04d}.nii.gz").touch()
        (folder / "labelsTr" / f"case_{index:06d}.nii.gz").touch()
    return _described(folder, cases)


def _described(folder: Path, cases: int) -> Path:
    description = {
        "channel_names": {str(channel): name for channel, name in enumerate(MODALITIES)},
        "labels": {"background": 0, "lesion": 1},
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


def _write(path: Path, voxels: np.ndarray) -> None:
    header = pack_header(header_for(voxels, Geometry((EDGE,) * 3)))
    engine = zlib.compressobj(1, zlib.DEFLATED, GZIP)
    path.write_bytes(engine.compress(header + voxels.tobytes()) + engine.flush())
