"""A good tiny data set, written with nibabel so that nothing of ours is taken for granted, and ways to spoil it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

SHAPE = (10, 12, 6)
"""x, y, z as nibabel has it."""
AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])
CASES = ("case_a", "case_b", "case_c", "case_d")


def save(path: Path, voxels: NDArray[Any], affine: NDArray[Any] = AFFINE) -> Path:
    """Write a NIfTI file with equal sform and qform."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(voxels, affine)
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    nib.save(image, path)
    return path


def intensities(seed: int, shape: tuple[int, ...] = SHAPE) -> NDArray[np.int16]:
    """Noise, the same for the same seed."""
    return np.random.default_rng(seed).integers(1, 500, shape).astype(np.int16)


def mask(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> NDArray[np.uint8]:
    """Two boxes and a speck with the labels 1 and 2."""
    label = np.zeros(shape, np.uint8)
    start = 1 + seed % 3
    label[start : start + 4, 2:6, : max(1, shape[2] // 2)] = 1
    label[start : start + 3, 7:10, :] = 2
    label[9, seed % 12, (seed // 12) % shape[2]] = 1  # no two seeds give the same
    return label


def description(**changes: Any) -> dict[str, Any]:
    """dataset.json of the good data set, with changes; a value of None takes a key out."""
    content: dict[str, Any] = {
        "channel_names": {"0": "T1", "1": "FLAIR"},
        "labels": {"background": 0, "organ": 1, "lesion": 2},
        "numTraining": 4,
        "file_ending": ".nii.gz",
    }
    content.update(changes)
    return {key: value for key, value in content.items() if value is not None}


def write_json(folder: Path, content: Any, name: str = "dataset.json") -> None:
    """Write ``content`` as plain JSON."""
    (folder / name).write_text(json.dumps(content))


def build(
    folder: Path,
    cases: tuple[str, ...] = CASES,
    tests: tuple[str, ...] = (),
    shape: tuple[int, ...] = SHAPE,
    affine: NDArray[Any] = AFFINE,
    **changes: Any,
) -> Path:
    """A good data set of two modalities."""
    for number, case in enumerate((*cases, *tests)):
        part = "Tr" if case in cases else "Ts"
        for channel in (0, 1):
            voxels = intensities(10 * number + channel, shape)
            save(folder / f"images{part}" / f"{case}_{channel:04d}.nii.gz", voxels, affine)
        if case in cases:
            save(folder / "labelsTr" / f"{case}.nii.gz", mask(number, shape), affine)
    write_json(folder, description(numTraining=len(cases), **changes))
    return folder


def image_of(folder: Path, case: str = "case_b", channel: int = 1) -> Path:
    """A training image's path."""
    return folder / "imagesTr" / f"{case}_{channel:04d}.nii.gz"


def label_of(folder: Path, case: str = "case_b") -> Path:
    """A training label's path."""
    return folder / "labelsTr" / f"{case}.nii.gz"


def edited(path: Path, edit: Callable[[NDArray[Any]], Any], dtype: type = np.int16) -> None:
    """Read a file, let ``edit`` change its voxels (in place or by returning new ones), and write it again."""
    image = nib.load(path)
    voxels = np.asarray(image.dataobj).astype(dtype)
    changed = edit(voxels)
    save(path, voxels if changed is None else changed, image.affine)


def moved(path: Path, change: Callable[[NDArray[Any]], Any]) -> None:
    """Write a file again with its affine changed (in place or by returning a new one)."""
    image = nib.load(path)
    affine = image.affine.copy()
    changed = change(affine)
    save(path, np.asarray(image.dataobj), affine if changed is None else changed)


def header_bytes(path: Path, offset: int, content: bytes) -> None:
    """Overwrite bytes of a compressed file's header."""
    import gzip

    data = bytearray(gzip.decompress(path.read_bytes()))
    data[offset : offset + len(content)] = content
    path.write_bytes(gzip.compress(bytes(data)))
