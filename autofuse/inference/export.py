"""Back to the native grid: finished rows of the prepared grid become labels of native rows, chunk by chunk.

Probabilities are interpolated linearly (copied along an axis that preprocessing resampled apart), and the largest
wins. Nothing of the native size times the number of classes exists, and two shortcuts that change no voxel spare most
of the work: a class whose probability stays below 1 / C in the source rows can win nowhere between them, for
interpolated probabilities still add up to 1; and rows in which only background is left need no interpolation.

Shapes: C network outputs, k of them kept; n rows of a chunk; z, y, x space (transposed and cropped, not yet native).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from autofuse.dataset.label_codes import region_indices
from autofuse.dataset.types import Labels
from autofuse.inference.window import Rows
from autofuse.preprocessing.ladder import Ladder
from autofuse.preprocessing.resample import nearest_index

SCRATCH_BYTES = 192 << 20
"""Float32 probabilities of one chunk, before and after interpolation."""

THRESHOLD = 0.5
"""Probability above which a voxel belongs to a region."""

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Grids:
    """From which grid to which: both (z, y, x) in the prepared order of axes, covering the same extent.

    ``nearest_axis`` is copied instead of interpolated.
    """

    prepared: Shape
    target: Shape
    nearest_axis: int | None = None


@dataclass(frozen=True)
class Chunk:
    """Rows ``start`` ... ``stop`` of the target: probabilities (k, n, y, x) of the outputs listed in ``kept``.

    ``values`` is None where no output but background is left.
    """

    start: int
    stop: int
    kept: tuple[int, ...]
    values: Tensor | None


def activate(logits: Tensor, labels: Labels) -> Tensor:
    """Probabilities (C, ...) float32: softmax over exclusive classes, a sigmoid per region."""
    return torch.sigmoid(logits.float()) if labels.has_regions else torch.softmax(logits.float(), dim=0)


def target_chunks(
    rows: Iterable[Rows],
    grids: Grids,
    labels: Labels,
    *,
    logits: bool = True,
    keep_all: bool = False,
    thresholds: Sequence[float] | None = None,
    scratch_bytes: int = SCRATCH_BYTES,
) -> Iterator[Chunk]:
    """Probabilities of the target grid in order of its first axis, each row once.

    Args:
        rows: consecutive finished rows of the prepared grid, all of them.
        logits: whether they hold logits (to be activated) or probabilities.
        keep_all: keep every output (to store or average), not only those that can win.
        thresholds: per region; a region below its own everywhere is not kept.
    """
    below, above, share = linear_source(grids, 0)
    carry: Tensor | None = None
    done, ladder = 0, Ladder("resampling probabilities")
    for part in rows:
        last = part.stop == grids.prepared[0]
        ready = grids.target[0] if last else int(np.searchsorted(above, part.stop))
        size = _chunk_rows(part.values.shape[0], grids, scratch_bytes)
        for start in range(done, ready, size):
            stop = min(start + size, ready)
            low, high = int(below[start]), int(above[stop - 1]) + 1
            values = _source(part, carry, low, high)
            values = activate(values, labels) if logits else values.float()
            kept = tuple(range(len(values))) if keep_all else able_to_win(values, labels, thresholds)
            values = values if len(kept) == len(values) else values[list(kept)]
            if not keep_all and _only_background(kept, labels):
                yield Chunk(start, stop, kept, None)
                continue
            here = slice(start, stop)
            work = partial(
                _interpolate, grids=grids, below=below[here] - low, above=above[here] - low, share=share[here]
            )
            yield Chunk(start, stop, kept, ladder.climb(*_ways(values, work)))
        done = max(done, ready)
        carry = part.values[:, -1:].clone()


def able_to_win(values: Tensor, labels: Labels, thresholds: Sequence[float] | None = None) -> tuple[int, ...]:
    """Outputs (positions on the first axis of probabilities) that can win somewhere between these voxels."""
    peaks = values.amax(dim=(1, 2, 3)).tolist()
    if labels.has_regions:
        limits = thresholds or (THRESHOLD,) * len(peaks)
        return tuple(k for k, (peak, limit) in enumerate(zip(peaks, limits, strict=True)) if peak > limit)
    # A little below 1 / C, for probabilities are rounded; background stays so that there is always a winner.
    floor = 0.99 / len(peaks)
    return tuple(k for k, peak in enumerate(peaks) if k == 0 or peak >= floor)


def paint(chunk: Chunk, labels: Labels, out: NDArray[np.int16], thresholds: Sequence[float] | None = None) -> None:
    """Write the winners of ``chunk`` into ``out`` (*target), class indices, 0 where it was not painted before."""
    if chunk.values is None:
        return
    if labels.has_regions:
        winners = _painted_regions(chunk, labels, thresholds)
    else:
        kept = torch.tensor(chunk.kept, dtype=torch.int16, device=chunk.values.device)
        winners = kept[chunk.values.max(dim=0).indices]
    out[chunk.start : chunk.stop] = winners.cpu().numpy()


def linear_source(grids: Grids, axis: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Per target position of ``axis``: the prepared positions below and above it, and the share of the one above.

    Voxel centres, extents aligned (half-pixel rule), clamped at the border: as preprocessing resamples at order 1.
    """
    size_in, size_out = grids.prepared[axis], grids.target[axis]
    if axis == grids.nearest_axis:
        nearest = nearest_index(size_in, size_out)
        return nearest, nearest, np.zeros(size_out, dtype=np.float32)
    position = (np.arange(size_out) + 0.5) * (size_in / size_out) - 0.5
    position = position.clip(0, size_in - 1)
    below = np.floor(position).astype(np.int64)
    share = (position - below).astype(np.float32)
    # Where nothing of the voxel above is seen it need not be finished.
    return below, np.where(share > 0, np.minimum(below + 1, size_in - 1), below), share


def _chunk_rows(outputs: int, grids: Grids, scratch_bytes: int) -> int:
    before, after = (shape[1] * shape[2] for shape in (grids.prepared, grids.target))
    per_row = 4 * outputs * (after + before * max(1.0, grids.prepared[0] / grids.target[0]))
    return max(1, int(scratch_bytes / per_row))


def _source(part: Rows, carry: Tensor | None, low: int, high: int) -> Tensor:
    """Prepared rows ``low`` ... ``high``; the row before ``part`` is the carry."""
    if low >= part.start:
        return part.values[:, low - part.start : high - part.start]
    if carry is None or low < part.start - 1:
        raise ValueError(f"row {low} was asked for after it was gone (rows begin at {part.start})")
    return torch.cat([carry, part.values[:, : high - part.start]], dim=1)


def _ways(values: Tensor, interpolate: Callable[[Tensor], Tensor]) -> tuple[tuple[str, Callable[[], Tensor]], ...]:
    """How to interpolate all outputs (k, n, y, x): together, one by one with results on the CPU, or on the CPU."""
    return (
        ("all outputs at once", lambda: interpolate(values)),
        ("output by output", lambda: torch.cat([interpolate(one).cpu() for one in torch.split(values, 1)])),
        ("on the CPU", lambda: interpolate(values.cpu())),
    )


def _interpolate(
    values: Tensor, grids: Grids, below: NDArray[np.int64], above: NDArray[np.int64], share: NDArray[np.float32]
) -> Tensor:
    """(k, n, *target plane): rows and planes, whichever makes less of it first."""
    if len(below) <= values.shape[1]:
        return _planes(_rows(values, below, above, share), grids)
    return _rows(_planes(values, grids), below, above, share)


def _rows(values: Tensor, below: NDArray[np.int64], above: NDArray[np.int64], share: NDArray[np.float32]) -> Tensor:
    if values.shape[1] == len(below) and not share.any() and np.array_equal(below, np.arange(len(below))):
        return values
    low, high = (torch.from_numpy(index).to(values.device) for index in (below, above))
    picked = values.index_select(1, low)
    if not share.any():
        return picked
    return picked.lerp_(values.index_select(1, high), torch.from_numpy(share).to(values.device)[:, None, None])


def _planes(values: Tensor, grids: Grids) -> Tensor:
    plane = grids.target[1:]
    if grids.nearest_axis in (1, 2):
        axis = grids.nearest_axis
        index = torch.from_numpy(nearest_index(grids.prepared[axis], grids.target[axis])).to(values.device)
        values = values.index_select(axis + 1, index)
    if tuple(values.shape[2:]) == tuple(plane):
        return values
    flat = values.reshape(-1, 1, *values.shape[2:])
    return F.interpolate(flat, size=plane, mode="bilinear").reshape(*values.shape[:2], *plane)


def _only_background(kept: Sequence[int], labels: Labels) -> bool:
    return not kept if labels.has_regions else tuple(kept) == (0,)


def _painted_regions(chunk: Chunk, labels: Labels, thresholds: Sequence[float] | None) -> Tensor:
    assert chunk.values is not None
    limits = thresholds or (THRESHOLD,) * len(labels.classes)
    painted = torch.zeros(chunk.values.shape[1:], dtype=torch.int16, device=chunk.values.device)
    indices = region_indices(labels)
    for output, probabilities in zip(chunk.kept, chunk.values, strict=True):
        painted.masked_fill_(probabilities > limits[output], indices[output])
    return painted
