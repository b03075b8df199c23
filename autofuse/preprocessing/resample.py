"""Images and labels on another grid, as separable products with small matrices; the same code on CPU and GPU.

Along one axis every interpolation used here is linear in its input: out = W @ in, with one (n_out, n_in) matrix per
pair of sizes. For images W holds the impulse responses of the order-3 B-spline interpolator behind
``skimage.transform.resize(order=3, mode="edge", anti_aliasing=False)``, which is what nnU-Net uses; for labels, those
of the order-1 one. Grids share their outer borders (voxel i's centre lies at (i + 0.5) / n).

A row of W is far from zero only near its own voxel: W is applied in blocks of rows, each to the columns that matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autofuse.alignment.regrid import product
from autofuse.dataset.types import IGNORE

_NEGLIGIBLE_WEIGHT = 1e-8
"""Weights below it are left out; fp32 carries 6e-8."""
_ROWS_PER_BLOCK = 64
_SMALL_AXIS = 96
"""Up to this many input voxels one dense product is faster than blocks."""


@dataclass(frozen=True)
class _Block:
    """Rows [first, stop) of a weight matrix and the columns [low, high) that are not negligible in them."""

    first: int
    stop: int
    low: int
    high: int
    weights: Tensor


@lru_cache(maxsize=256)
def axis_weights(size_in: int, size_out: int, order: int) -> NDArray[np.float64]:
    """(size_out, size_in) matrix of the 1-D interpolator of ``order`` 0, 1 or 3; rows sum to one."""
    if order == 0:
        nearest = np.zeros((size_out, size_in))
        nearest[np.arange(size_out), nearest_index(size_in, size_out)] = 1.0
        return nearest
    from scipy.ndimage import zoom

    factor = size_out / size_in
    impulses = np.eye(size_in)
    columns = [zoom(impulse, factor, order=order, mode="nearest", grid_mode=True) for impulse in impulses]
    return np.stack(columns, axis=1)


def nearest_index(size_in: int, size_out: int) -> NDArray[np.int64]:
    """(size_out,) index of the input voxel in which the centre of each output voxel lies."""
    index: NDArray[np.int64] = np.floor((np.arange(size_out) + 0.5) * (size_in / size_out)).astype(np.int64)
    return np.minimum(index, size_in - 1)


@lru_cache(maxsize=128)
def _blocks(size_in: int, size_out: int, order: int, device: str) -> tuple[_Block, ...]:
    weights = axis_weights(size_in, size_out, order)
    rows = size_out if size_in <= _SMALL_AXIS else _ROWS_PER_BLOCK
    blocks = []
    for first in range(0, size_out, rows):
        part = weights[first : first + rows]
        used = np.flatnonzero(np.abs(part).max(axis=0) > _NEGLIGIBLE_WEIGHT)
        low, high = int(used[0]), int(used[-1]) + 1
        tensor = torch.from_numpy(part[:, low:high].astype(np.float32)).to(device)
        blocks.append(_Block(first, min(first + rows, size_out), low, high, tensor))
    return tuple(blocks)


@contextmanager
def exact_float32() -> Iterator[None]:
    """Products of float32 tensors in full float32 inside the block: no TF32, no bf16, no autocast, no gradient."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.no_grad(), torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def along_axis(volume: Tensor, axis: int, size_out: int, order: int) -> Tensor:
    """``volume`` (..., z, y, x) with spatial ``axis`` (0, 1, 2) interpolated to ``size_out`` voxels."""
    size_in = volume.shape[axis - 3]
    if size_in == size_out:
        return volume
    if order == 0:
        index = torch.from_numpy(nearest_index(size_in, size_out)).to(volume.device)
        return volume.index_select(volume.ndim - 3 + axis, index)
    blocks = _blocks(size_in, size_out, order, str(volume.device))
    before, after = volume.shape[: volume.ndim - 3 + axis], volume.shape[volume.ndim - 2 + axis :]
    flat = volume.reshape(before.numel(), size_in, after.numel())
    out = volume.new_empty((before.numel(), size_out, after.numel()))
    for block in blocks:
        if after.numel() == 1:
            rows_in, rows_out = flat[:, block.low : block.high, 0], out[:, block.first : block.stop, 0]
            rows_out.copy_(rows_in @ block.weights.T)
        else:
            for item in range(before.numel()):  # one plain product each: nothing is expanded or copied
                source, target = flat[item, block.low : block.high], out[item, block.first : block.stop]
                torch.mm(block.weights, source, out=target)
    return out.reshape(*before, size_out, *after)


def _interpolate(volume: Tensor, shape: Sequence[int], orders: Sequence[int]) -> Tensor:
    """Axis by axis, those that shrink most first, so that later products are small."""
    for axis in sorted(range(3), key=lambda axis: shape[axis] / volume.shape[axis - 3]):
        volume = along_axis(volume, axis, shape[axis], orders[axis])
    return volume


def _orders(order: int, anisotropic_axis: int | None) -> tuple[int, int, int]:
    first, second, third = (0 if axis == anisotropic_axis else order for axis in range(3))
    return first, second, third


def resample_image(volume: Tensor, shape: Sequence[int], *, anisotropic_axis: int | None = None) -> Tensor:
    """``volume`` (M, z, y, x) on a grid of ``shape``, float32; cubic B-spline, nearest along ``anisotropic_axis``.

    Values are clipped to the range of the input, per modality (per modality and slice where an axis is resampled
    apart), as nnU-Net's are.
    """
    volume = volume.float()
    if tuple(volume.shape[-3:]) == tuple(shape):
        return volume
    orders = _orders(3, anisotropic_axis)
    with exact_float32():
        if anisotropic_axis is None:
            out = _interpolate(volume, shape, orders)
            return _clip(out, volume, (-3, -2, -1))
        in_plane = list(shape)
        in_plane[anisotropic_axis] = volume.shape[anisotropic_axis - 3]
        planes = tuple(axis - 3 for axis in range(3) if axis != anisotropic_axis)
        out = _clip(_interpolate(volume, in_plane, orders), volume, planes)
        return along_axis(out, anisotropic_axis, shape[anisotropic_axis], 0)


def _clip(out: Tensor, source: Tensor, axes: tuple[int, ...]) -> Tensor:
    low, high = source.amin(dim=axes, keepdim=True), source.amax(dim=axes, keepdim=True)
    return out.clamp_(low, high) if out is not source else out


def resample_nearest(volume: Tensor, shape: Sequence[int]) -> Tensor:
    """``volume`` (..., z, y, x) of any dtype, each output voxel copied from the input voxel its centre lies in."""
    for axis in range(3):
        volume = along_axis(volume, axis, shape[axis], 0)
    return volume


def resample_labels(
    label: Tensor, shape: Sequence[int], *, anisotropic_axis: int | None = None, sparse: bool = False
) -> Tensor:
    """``label`` (z, y, x) of class indices (``IGNORE`` allowed) on a grid of ``shape``, same dtype.

    Dense labels: each class is interpolated linearly as a mask of its own and the largest wins (the lower index on a
    tie), so that no voxel is left without a class where three classes meet. One class is in memory at a time, and only
    inside its bounding box. ``IGNORE`` counts as a class and is never mixed with others.

    Sparse labels (scribbles): nearest, because a stroke one voxel wide never wins against the unlabelled voxels
    around it. Where an axis shrinks, labelled voxels that would be skipped are kept too.
    """
    if tuple(label.shape) == tuple(shape):
        return label
    if sparse:
        return _resample_strokes(label, shape)
    values = _values(label)
    if len(values) == 1:
        return label.new_full(tuple(shape), values[0])
    rest, *others = sorted(values, key=lambda value: (value != 0, value))
    orders = _orders(1, anisotropic_axis)
    out = label.new_full(tuple(shape), rest)
    best = torch.zeros(tuple(shape), dtype=torch.float32, device=label.device)
    total = torch.zeros_like(best)
    with exact_float32():
        for value in others:
            box, weight = _class_weight(label == value, shape, orders)
            wins = weight > best[box]
            out[box] = torch.where(wins, value, out[box])
            best[box] = torch.where(wins, weight, best[box])
            total[box] += weight
    # What no other class covers belongs to the remaining one (background), which needs no interpolation of its own.
    out[1.0 - total >= best] = rest
    return out


Box = tuple[slice, slice, slice]


def _class_weight(mask: Tensor, shape: Sequence[int], orders: Sequence[int]) -> tuple[Box, Tensor]:
    """The output box that ``mask`` can reach and its interpolated weight there."""
    from_side, from_front = mask.any(dim=2), mask.any(dim=0)
    spans = [_span(shadow) for shadow in (from_side.any(dim=1), from_side.any(dim=0), from_front.any(dim=0))]
    inner = mask[tuple(slice(low, high) for low, high in spans)].float()
    box = []
    for axis in sorted(range(3), key=lambda axis: shape[axis] / mask.shape[axis]):
        reach, matrix = _reach(mask.shape[axis], shape[axis], orders[axis], spans[axis])
        inner = product(inner, axis, matrix)
        box.append((axis, reach))
    return tuple(reach for _, reach in sorted(box)), inner  # type: ignore[return-value]


def _values(label: Tensor) -> list[int]:
    """The values that occur, ascending; label maps hold few, and looking for each is faster than sorting voxels."""
    low, high = int(label.min()), int(label.max())
    return [value for value in range(low, high + 1) if bool((label == value).any())]


def _span(shadow: Tensor) -> tuple[int, int]:
    hit = torch.nonzero(shadow).flatten()
    return int(hit[0]), int(hit[-1]) + 1


def _reach(size_in: int, size_out: int, order: int, span: tuple[int, int]) -> tuple[slice, Tensor]:
    """Output rows that see input voxels ``span``, and the part of the weight matrix between the two."""
    weights = axis_weights(size_in, size_out, order)[:, span[0] : span[1]]
    rows = np.flatnonzero(weights.max(axis=1) > 0)
    reach = slice(int(rows[0]), int(rows[-1]) + 1) if len(rows) else slice(0, 0)
    return reach, torch.from_numpy(weights[reach].astype(np.float32))


def _resample_strokes(label: Tensor, shape: Sequence[int]) -> Tensor:
    out = resample_nearest(label, shape)
    if all(new >= old for new, old in zip(shape, label.shape, strict=True)):
        return out
    strokes = torch.nonzero(label != IGNORE)
    index = torch.zeros(len(strokes), dtype=torch.int64, device=label.device)
    for axis in range(3):
        cell = torch.floor((strokes[:, axis] + 0.5) * (shape[axis] / label.shape[axis])).long()
        index = index * shape[axis] + cell.clamp_(0, shape[axis] - 1)
    # Several strokes may fall into one voxel: the highest class wins, whatever the order.
    kept = torch.full((out.numel(),), IGNORE, dtype=torch.int64, device=label.device)
    kept.scatter_reduce_(0, index, label[label != IGNORE].long(), reduce="amax")
    return torch.where(out == IGNORE, kept.reshape(out.shape).to(out.dtype), out)
