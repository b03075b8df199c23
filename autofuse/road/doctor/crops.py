"""What reaches a training step: crops a second from a prepared store, and how long their augmentation takes."""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autofuse.foundation.machine import cpu_threads
from autofuse.road.doctor.types import CropRate

MODALITIES, BATCH = 2, 2
PATCH = (64, 64, 64)
_CASE = (96, 96, 96)
_TRY_S = 0.6
_MOST_READERS = 8
_AUGMENTED = 5
_PATIENCE_S = 2.0


def time_crops(folder: Path) -> tuple[CropRate, ...]:
    """Crops of ``PATCH`` a second from a case that is stored in ``folder`` for as long as it takes, by 1, 2, 4 …
    readers; as many as there are processors.

    Raises:
        OSError: if ``folder`` cannot be written.
    """
    counts = [count for count in (1, 2, 4, 8) if count <= min(cpu_threads(), _MOST_READERS)]
    with tempfile.TemporaryDirectory(prefix=".autofuse-doctor-", dir=folder) as trial:
        store = Path(trial)
        _write_case(store)
        return tuple(CropRate(readers=count, crops_per_s=round(_rate(store, count), 1)) for count in counts)


def _write_case(folder: Path) -> None:
    """Smooth images with noise, as a prepared case has them, and a label."""
    from autofuse.preprocessing.arrays import write_array

    generator = np.random.default_rng(0)
    z, y, x = (np.linspace(-2, 2, size, dtype=np.float32) for size in _CASE)
    body = np.exp(-(z[:, None, None] ** 2) - y[:, None] ** 2 - x**2)
    images = body + generator.normal(scale=0.1, size=(MODALITIES, *_CASE)).astype(np.float32)
    write_array(folder / "images.b2nd", images.astype(np.float16), 3)
    write_array(folder / "label.b2nd", (body > np.float32(0.5)).astype(np.int16), 3)


def _rate(folder: Path, readers: int) -> float:
    deadline = time.perf_counter() + _TRY_S

    def read(seed: int) -> int:
        generator, done = np.random.default_rng(seed), 0
        while done == 0 or time.perf_counter() < deadline:
            read_crop(folder, generator)
            done += 1
        return done

    started = time.perf_counter()
    with ThreadPoolExecutor(readers) as pool:
        done = sum(pool.map(read, range(readers)))
    return done / (time.perf_counter() - started)


def read_crop(folder: Path, generator: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """A crop (M, z, y, x) anywhere in the case, in float32, and its label."""
    import torch

    from autofuse.preprocessing.arrays import read_array

    starts = [int(generator.integers(0, size - edge + 1)) for size, edge in zip(_CASE, PATCH, strict=True)]
    box = tuple(slice(start, start + edge) for start, edge in zip(starts, PATCH, strict=True))
    images: NDArray[np.float32] = torch.from_numpy(read_array(folder / "images.b2nd", box)).float().numpy()
    return images, read_array(folder / "label.b2nd", box)


def time_augmentation(device: str) -> float:
    """Median milliseconds that the augmentation of one batch takes on ``device``, its way there included."""
    import torch

    from autofuse.sampling.augmentation import augment

    threads = torch.get_num_threads()
    seconds: list[float] = []
    torch.set_num_threads(cpu_threads())
    try:
        for seed in range(_AUGMENTED + 1):
            if sum(seconds) > _PATIENCE_S and len(seconds) > 1:
                break
            batch = _drawn(seed)
            started = time.perf_counter()
            augment(batch, device)
            if device == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - started)
    finally:
        torch.set_num_threads(threads)
    return round(median(seconds[1:]) * 1000, 2)


def _drawn(seed: int) -> Any:
    """A batch of noise with everything that is drawn for it, as training draws it."""
    import torch

    from autofuse.sampling.crops import Crop, Crops
    from autofuse.sampling.draw import AugmentationRecipe, draw_augmentation

    generator, spacing = np.random.default_rng(seed), (1.0, 1.0, 1.0)
    present = np.ones(MODALITIES, dtype=np.bool_)
    samples = []
    for _ in range(BATCH):
        draw = draw_augmentation(AugmentationRecipe(), generator, PATCH, spacing, (0, 1, 2), present)
        box = tuple(2 * int(np.ceil(reach)) + 2 for reach in draw.reach(PATCH))
        box = PATCH if draw.matrix is None else box
        images = torch.from_numpy(generator.normal(size=(MODALITIES, *box)).astype(np.float32))
        samples.append(
            Crop(
                case="noise",
                images=images,
                present=torch.from_numpy(present),
                label=torch.zeros(box, dtype=torch.int16),
                label_fill=0,
                prior=None,
                draw=draw,
                centre=tuple((size - 1) / 2 for size in box),
            )
        )
    return Crops(samples=tuple(samples), patch=PATCH, spacing_mm=spacing, keep_zero=(False,) * MODALITIES)
