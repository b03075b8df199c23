"""Small data sets to scribble, and a look at what was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autofuse.dataset.opening import open_dataset
from autofuse.images import Geometry, read_label_image, write_image, write_labels
from autofuse.scribbles.options import ScribbleOptions
from autofuse.scribbles.types import Scribbles
from autofuse.scribbles.write import write_scribbled

SHAPE = (6, 32, 36)
SPACING_MM = (3.0, 1.0, 1.0)


def label(seed: int, shape: tuple[int, int, int] = SHAPE) -> NDArray[np.uint8]:
    """A ring around a disc (1, 2) on most slices, a block (4), and a speck of 4 on one slice only."""
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    far = np.hypot(y - shape[1] // 2 - seed % 5 + 2, x - 13) + 0 * z
    made = np.zeros(shape, np.uint8)
    made[far < 9] = 1
    made[far < 4] = 2
    made[:, 4:10, 26:33] = 4
    if shape[0] > 1:
        made[0] = 0
        made[-1] = 0
        made[1:, :, 24:] = 0
        made[2, 5, 30] = 4
    return made


def image(seed: int, shape: tuple[int, ...] = SHAPE) -> NDArray[np.int16]:
    """Noise, the same for the same seed."""
    return np.random.default_rng(seed).integers(1, 900, shape).astype(np.int16)


def build(folder: Path, *, cases: int = 3, ending: str = ".nii.gz", tests: int = 0, **changes: Any) -> Path:
    """A data set of two modalities in nnU-Net's raw layout; changes go into dataset.json."""
    shape = SHAPE if ending == ".nii.gz" else (1, *SHAPE[1:])
    geometry = Geometry(shape, SPACING_MM if shape == SHAPE else (1.0, 1.0, 1.0))
    for number in range(cases + tests):
        part, name = ("Tr", f"case_{number}") if number < cases else ("Ts", f"test_{number - cases}")
        for channel in (0, 1):
            voxels = image(10 * number + channel, shape)
            stored = voxels if ending == ".nii.gz" else voxels.astype(np.uint16)
            write_image(folder / f"images{part}" / f"{name}_{channel:04d}{ending}", stored, geometry)
        write_labels(folder / f"labels{part}" / f"{name}{ending}", label(number, shape), geometry)
    content = {
        "channel_names": {"0": "T1", "1": "FLAIR"},
        "labels": {"background": 0, "ring": 1, "disc": 2, "block": 4},
        "numTraining": cases,
        "file_ending": ending,
    }
    content.update(changes)
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def scribbled(source: Path, out: Path, **options: Any) -> Scribbles:
    """What `autofuse scribble` makes of it, in this process."""
    return write_scribbled(open_dataset(source), out, ScribbleOptions(**options), workers=0)


def voxels(path: Path) -> NDArray[np.integer[Any]]:
    """A label map's raw values."""
    return read_label_image(path).voxels


def content(folder: Path) -> dict[str, bytes]:
    """Every file's bytes by its relative path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def described(folder: Path) -> Any:
    """The content of dataset.json."""
    return json.loads((folder / "dataset.json").read_text())
