"""From logits on the prepared grid to labels on a finer one, slab by slab, in bounded memory.

Linear interpolation is local: an output slab needs only the input slices around it, and only one class at a time.
Logits may therefore be a memory map or half precision; nothing of the output's size times the number of classes exists.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import log
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autofuse.preprocessing.resample import along_axis, axis_weights, exact_float32, product

BLOCK_BYTES = 256 << 20
"""Scratch memory of one slab: a few float32 volumes of its size."""
_SCRATCH_VOLUMES = 5
"""Slab-sized float32 volumes alive at once: interpolated class, its predecessor, the best so far, labels, a mask."""

Logits = Tensor | NDArray[np.floating[Any]]


def resample_to_labels(
    logits: Logits,
    shape: Sequence[int],
    *,
    anisotropic_axis: int | None = None,
    regions_thresholds: Sequence[float] | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> NDArray[np.int16] | NDArray[np.bool_]:
    """Labels of interpolated ``logits`` (C, z, y, x) on a grid of ``shape``.

    Args:
        logits: any float type; a tensor on any device, an array or a memory map. Read slab by slab.
        shape: of the output, in the same axis order.
        anisotropic_axis: axis along which slices are copied instead of interpolated.
        regions_thresholds: one probability per region; a region is where its sigmoid exceeds it.
        block_bytes: scratch memory; smaller means more, thinner slabs.

    Returns:
        Without thresholds (*shape) int16, the channel of the largest logit (the first on a tie); with them
        (C, *shape) bool.
    """
    channels = logits.shape[0]
    if regions_thresholds is None:
        labels = np.zeros(tuple(shape), dtype=np.int16)
        for rows, interpolated in _slabs(logits, shape, anisotropic_axis, block_bytes):
            labels[rows] = _running_argmax(interpolated)
        return labels
    if len(regions_thresholds) != channels:
        raise ValueError(f"{channels} regions need as many thresholds, not {len(regions_thresholds)}")
    cuts = [log(threshold / (1.0 - threshold)) for threshold in regions_thresholds]
    regions = np.zeros((channels, *shape), dtype=np.bool_)
    for rows, interpolated in _slabs(logits, shape, anisotropic_axis, block_bytes):
        for channel, volume in enumerate(interpolated):
            regions[channel, rows] = (volume > cuts[channel]).cpu().numpy()
    return regions


def resample_to_probabilities(
    logits: Logits,
    shape: Sequence[int],
    *,
    anisotropic_axis: int | None = None,
    regions: bool = False,
    block_bytes: int = BLOCK_BYTES,
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Slabs (rows of the first axis, probabilities (C, rows, y, x)), in order, covering ``shape`` once.

    Softmax over channels, or a sigmoid each with ``regions``. Unlike labels, a slab holds all classes at once:
    ``block_bytes`` is shared among them.
    """
    shared = max(1, block_bytes // max(1, logits.shape[0]))
    for rows, interpolated in _slabs(logits, shape, anisotropic_axis, shared):
        stacked = torch.stack(list(interpolated))
        probabilities = torch.sigmoid_(stacked) if regions else torch.softmax(stacked, dim=0)
        yield rows, probabilities.cpu().numpy()


def _running_argmax(volumes: Iterator[Tensor]) -> NDArray[np.int16]:
    best = next(volumes).clone()
    label = torch.zeros(best.shape, dtype=torch.int16, device=best.device)
    for channel, volume in enumerate(volumes, start=1):
        label.masked_fill_(volume > best, channel)
        torch.maximum(best, volume, out=best)
    result: NDArray[np.int16] = label.cpu().numpy()
    return result


def _slabs(
    logits: Logits, shape: Sequence[int], anisotropic_axis: int | None, block_bytes: int
) -> Iterator[tuple[slice, Iterator[Tensor]]]:
    """Per slab its output rows, and an iterator over its channels, interpolated, float32."""
    orders = [0 if axis == anisotropic_axis else 1 for axis in range(3)]
    largest_plane = max(shape[1], logits.shape[2]) * max(shape[2], logits.shape[3])
    rows = max(1, block_bytes // (4 * _SCRATCH_VOLUMES * largest_plane))
    rows = max(1, int(rows * min(1.0, shape[0] / logits.shape[1])))
    for first in range(0, shape[0], rows):
        block = slice(first, min(first + rows, shape[0]))
        yield block, _channels(logits, shape, block, orders)


def _channels(logits: Logits, shape: Sequence[int], block: slice, orders: Sequence[int]) -> Iterator[Tensor]:
    weights = axis_weights(logits.shape[1], shape[0], orders[0])[block]
    used = np.flatnonzero(weights.max(axis=0) > 0)
    low, high = int(used[0]), int(used[-1]) + 1
    matrix = torch.from_numpy(weights[:, low:high].astype(np.float32))
    ratio = [shape[axis] / logits.shape[axis + 1] for axis in range(3)]
    for channel in range(logits.shape[0]):
        # A memory map is copied slice by slice here; nothing else of it is touched.
        part = logits[channel, low:high]
        volume = torch.as_tensor(np.ascontiguousarray(part) if isinstance(part, np.ndarray) else part).float()
        with exact_float32():
            for axis in sorted(range(3), key=lambda axis: ratio[axis]):
                if axis > 0:
                    volume = along_axis(volume, axis, shape[axis], orders[axis])
                elif logits.shape[1] != shape[0]:
                    volume = product(volume, 0, matrix)
        yield volume
