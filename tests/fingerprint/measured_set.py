"""A tiny data set of which every number in the fingerprint can be counted by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

SPACING_ZYX = (3.0, 2.0, 1.0)


def save(path: Path, voxels_zyx: NDArray[Any]) -> None:
    """A NIfTI file of an array in our order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([*SPACING_ZYX[::-1], 1.0])
    nibabel.save(nibabel.Nifti1Image(voxels_zyx.transpose(2, 1, 0), affine), path)


Parts = tuple[list[NDArray[Any] | None], NDArray[Any] | None]


def write_set(folder: Path, cases: dict[str, Parts], **extra: Any) -> Path:
    """An nnU-Net folder of ``cases`` (images per modality or None, label or None), all (z, y, x)."""
    count = len(next(iter(cases.values()))[0])
    content = {
        "channel_names": {str(index): f"M{index}" for index in range(count)},
        "labels": {"background": 0, "organ": 1, "lesion": 2},
        "numTraining": len(cases),
        "file_ending": ".nii.gz",
    } | extra
    folder.mkdir(parents=True)
    (folder / "dataset.json").write_text(json.dumps(content))
    for name, (images, label) in cases.items():
        for channel, image in enumerate(images):
            if image is not None:
                save(folder / "imagesTr" / f"{name}_{channel:04d}.nii.gz", image.astype(np.float32))
        if label is not None:
            save(folder / "labelsTr" / f"{name}.nii.gz", label.astype(np.uint8))
    return folder


def one_case(seed: int = 0, shape: tuple[int, int, int] = (6, 8, 10)) -> tuple[list[Any], NDArray[np.uint8]]:
    """One modality with a border of zeros one voxel wide, and two organs of 8 voxels and a lesion of 3."""
    image = np.zeros(shape)
    inner = tuple(slice(1, size - 1) for size in shape)
    image[inner] = np.random.default_rng(seed).integers(1, 100, image[inner].shape)
    label = np.zeros(shape, np.uint8)
    label[1:3, 1:3, 1:3] = 1
    label[3:5, 5:7, 7:9] = 1
    label[1, 5, 1:4] = 2
    return [image], label
