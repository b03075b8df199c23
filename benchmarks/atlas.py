"""A data set of one average brain in three modalities: its left half to learn from, its right half to judge by.

The ICBM average has nobody to hold out. What is measured on it says how well tissues that T1, T2 and PD show can be
told apart in one image, and nothing about people whom a network has not seen.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autofuse.images import read_image, write_image
from autofuse.images.geometry import Geometry

MODALITIES = ("T1", "T2", "PD")
TISSUES = ("grey", "white", "csf")
SLABS = 4
"""Cases that each half is cut into, from back to front."""


def atlas_halves(source: Path, folder: Path) -> Path:
    """The data set of the atlas in ``source`` (``avg152T1.nii.gz``, ``grey.nii.gz`` ...); made once.

    A voxel's label is the most probable tissue, where all together are more probable than none.
    """
    copy = folder / "AtlasHalves"
    if copy.exists():
        return copy
    part = copy.with_name(f"{copy.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    images = [read_image(source / f"avg152{name}.nii.gz") for name in MODALITIES]
    tissues = np.stack([read_image(source / f"{name}.nii.gz").voxels for name in TISSUES])
    label = np.where(tissues.sum(0) > 0.5, tissues.argmax(0) + 1, 0).astype(np.uint8)
    geometry = images[0].geometry
    for where, slab, box in _blocks(label.shape):
        stem = f"{'left' if where == 'Tr' else 'right'}{slab}"
        for channel, image in enumerate(images):
            # Of an average everything is a fraction; as integers, as scanners write them, background stays exactly 0.
            voxels = np.rint(image.voxels[box] * 1000).astype(np.int16)
            _write(part / f"images{where}" / f"{stem}_{channel:04d}.nii.gz", voxels, geometry)
        _write(part / f"labels{where}" / f"{stem}.nii.gz", label[box], geometry)
    training = [f"left{slab}" for slab in range(SLABS)]
    description = {
        "channel_names": {str(channel): name for channel, name in enumerate(MODALITIES)},
        "labels": {"background": 0} | {name: number for number, name in enumerate(TISSUES, 1)},
        "numTraining": len(training),
        "file_ending": ".nii.gz",
    }
    (part / "dataset.json").write_text(json.dumps(description))
    (part / "splits_final.json").write_text(json.dumps([{"train": training, "val": []}]))
    part.rename(copy)
    return copy


def _blocks(shape: tuple[int, ...]) -> list[tuple[str, int, tuple[slice, ...]]]:
    """Halves along x, each cut into slabs along y: which folder, which slab, which voxels (z, y, x)."""
    middle, cuts = shape[2] // 2, np.linspace(0, shape[1], SLABS + 1).astype(int)
    halves = (("Tr", slice(0, middle)), ("Ts", slice(middle, shape[2])))
    return [
        (where, slab, (slice(None), slice(int(cuts[slab]), int(cuts[slab + 1])), half))
        for where, half in halves
        for slab in range(SLABS)
    ]


def _write(path: Path, voxels: NDArray[np.generic], along: Geometry) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    z, y, x = voxels.shape
    write_image(path, np.ascontiguousarray(voxels), Geometry((z, y, x), along.spacing_mm))
