"""Sliding window: the logits of a whole prepared case from those of its tiles, row by finished row.

A row is one position on the first (slowest) axis. Tiles are visited in order of that axis, so a row is finished once no
later tile reaches it; finished rows are handed on and forgotten. What has to be held at a time is the height of one
group of tiles, whatever the length of the case.

Shapes: B batch, M modality, K classes of a cascade's earlier stage, C network outputs; R rows held; z, y, x space.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from autofuse.foundation.errors import ModelError
from autofuse.foundation.machine import Precision
from autofuse.inference.tiles import STEP, Tiling, layer_groups, tiling
from autofuse.sampling.batch import Batch

Segment = Callable[[Batch], Tensor]
CPU = torch.device("cpu")


@dataclass(frozen=True)
class View:
    """What the network sees of one prepared case.

    Attributes:
        images: (M, z, y, x) float or half; absent modalities are zeros, NaN where one that is present sees nothing.
        present: (M,) bool.
        prior: (K, z, y, x) masks of a cascade's earlier stage, or None.
        case: id, for messages.
        spacing_mm: of the prepared grid.
        partial: whether there is any NaN.
    """

    images: Tensor
    present: Tensor
    prior: Tensor | None = None
    case: str = ""
    spacing_mm: tuple[float, ...] = (1.0, 1.0, 1.0)
    partial: bool = False


@dataclass(frozen=True)
class WindowPlan:
    """How a case is cut into tiles and added up.

    Attributes:
        patch: 2 axes (slices of the first axis) or 3.
        outputs: C.
        step: distance of tiles as a share of the patch.
        mirror_axes: axes of the patch; every combination of flips is averaged.
        batch: tiles side by side.
        rows: the most rows that may be held; None holds all of them at once.
        dtype: of the accumulator.
    """

    patch: tuple[int, ...]
    outputs: int
    step: float = STEP
    mirror_axes: tuple[int, ...] = ()
    batch: int = 1
    rows: int | None = None
    dtype: torch.dtype = torch.float32
    device: torch.device = CPU
    precision: Precision = "fp32"

    @property
    def patch_3d(self) -> tuple[int, ...]:
        """The patch with three axes."""
        return self.patch if len(self.patch) == 3 else (1, *self.patch)


@dataclass(frozen=True)
class Rows:
    """Finished rows: ``values`` (C, n, y, x) belong to rows ``start`` ... ``start + n`` of the prepared grid.

    They are only lent: the accumulator takes the memory back when the next rows are asked for.
    """

    start: int
    values: Tensor

    @property
    def stop(self) -> int:
        """One past the last row."""
        return self.start + self.values.shape[1]


def sliding_window(
    segment: Segment, view: View, plan: WindowPlan, advance: Callable[[float], None] | None = None
) -> Iterator[Rows]:
    """Logits of the whole case, averaged over tiles and mirrorings, in order of the first axis.

    Args:
        segment: logits (B, C, *S) of a batch of tiles.
        advance: told the share of the tiles that was just done.

    Raises:
        ModelError: if the network gives another number of channels than planned, or logits that are not finite.
    """
    margins = _margins(view.images.shape[1:], plan.patch_3d)
    padded = _pad(view, margins)
    tiles = tiling(padded.images.shape[1:], plan.patch_3d, plan.step)
    height = tiles.shape[0]
    groups = layer_groups(tiles, *((height, tiles.count) if plan.rows is None else (plan.rows, plan.batch)))
    sums = _accumulator(tiles, groups, plan)
    for number, group in enumerate(groups):
        first = tiles.starts[0][group[0]]
        _add_tiles(sums, first, segment, padded, tiles, tiles.indices(group), plan)
        stop = tiles.starts[0][group[-1] + 1] if number + 1 < len(groups) else height
        yield from _finished(sums[:, : stop - first], first, margins, view)
        _shift(sums, stop - first)
        if advance is not None:
            advance(len(group) / len(tiles.starts[0]))


def single_tiles(segment: Segment, views: Sequence[View], plan: WindowPlan) -> list[Tensor]:
    """Logits (C, z, y, x) of cases that are no larger than one patch, computed side by side in one batch."""
    margins = [_margins(view.images.shape[1:], plan.patch_3d) for view in views]
    padded = [_pad(view, margin) for view, margin in zip(views, margins, strict=True)]
    whole = [tuple(slice(0, size) for size in plan.patch_3d)]
    batches = [tile_batch(view, whole, plan) for view in padded]
    priors = [batch.prior for batch in batches if batch.prior is not None]
    covered = None
    if any(view.partial for view in views):
        covered = torch.cat([_coverage(batch) for batch in batches])
    batch = replace(
        batches[0],
        image=torch.cat([batch.image for batch in batches]),
        present=torch.cat([batch.present for batch in batches]),
        prior=torch.cat(priors) if priors else None,
        covered=covered,
        cases=tuple(view.case for view in views),
    )
    with torch.inference_mode(), autocast(plan.device, plan.precision):
        logits = mirrored_mean(segment, batch, plan.mirror_axes)
    _require_channels(logits, plan, views[0])
    logits = logits.unsqueeze(2) if len(plan.patch) == 2 else logits
    return [
        part.values
        for view, margin, tile in zip(views, margins, logits, strict=True)
        for part in _finished(tile, 0, margin, view)
    ]


def mirrored_mean(segment: Segment, batch: Batch, mirror_axes: Sequence[int]) -> Tensor:
    """Logits (B, C, *S) float32 averaged over every combination of flips along ``mirror_axes``."""
    flips = [axes for count in range(len(mirror_axes) + 1) for axes in combinations(mirror_axes, count)]
    total = segment(batch).float()
    for axes in flips[1:]:
        dims = [2 + axis for axis in axes]
        prior = None if batch.prior is None else batch.prior.flip(dims)
        covered = None if batch.covered is None else batch.covered.flip(dims)
        flipped = replace(batch, image=batch.image.flip(dims), prior=prior, covered=covered)
        total = total + segment(flipped).float().flip(dims)
    return total / len(flips) if len(flips) > 1 else total


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """The context in which networks compute at ``precision``."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16 if precision == "bf16" else torch.float16)


def whole(rows: Iterator[Rows]) -> Tensor:
    """All rows in one tensor (C, z, y, x) float32; for small cases."""
    return torch.cat([part.values.float().clone() for part in rows], dim=1)


def tile_batch(view: View, boxes: Sequence[tuple[slice, ...]], plan: WindowPlan) -> Batch:
    """Tiles of one case side by side, on the plan's device; 2D tiles lose the first spatial axis.

    A modality that sees nothing of a tile counts as absent in it.
    """

    def cut(volume: Tensor) -> Tensor:
        # Float32 before stacking: autocast to bf16 refuses to join halves.
        stacked = torch.stack([volume[(slice(None), *box)].float() for box in boxes])
        stacked = stacked.squeeze(2) if len(plan.patch) == 2 else stacked
        return stacked.to(plan.device, torch.float32, non_blocking=True)

    image, covered = cut(view.images), None
    present = view.present.to(plan.device).expand(len(boxes), -1)
    if view.partial:
        covered = ~torch.isnan(image)
        image.masked_fill_(~covered, 0.0)
        present = present & covered.flatten(2).any(dim=2)
    return Batch(
        image=image,
        present=present,
        prior=None if view.prior is None else cut(view.prior),
        cases=(view.case,) * len(boxes),
        spacing_mm=tuple(view.spacing_mm[-len(plan.patch) :]),
        covered=covered,
    )


def _coverage(batch: Batch) -> Tensor:
    return torch.ones_like(batch.image, dtype=torch.bool) if batch.covered is None else batch.covered


def _add_tiles(
    sums: Tensor,
    first: int,
    segment: Segment,
    view: View,
    tiles: Tiling,
    indices: Sequence[tuple[int, ...]],
    plan: WindowPlan,
) -> None:
    """Add the weighted logits of these tiles to ``sums``, whose row 0 is row ``first`` of the grid."""
    for begin in range(0, len(indices), plan.batch):
        chosen = indices[begin : begin + plan.batch]
        boxes = [tiles.box(index) for index in chosen]
        with torch.inference_mode(), autocast(plan.device, plan.precision):
            logits = mirrored_mean(segment, tile_batch(view, boxes, plan), plan.mirror_axes)
        _require_channels(logits, plan, view)
        logits = logits.unsqueeze(2) if len(plan.patch) == 2 else logits
        for tile, index, (rows, *rest) in zip(logits.to(sums.device), chosen, boxes, strict=True):
            place = (slice(None), slice(rows.start - first, rows.stop - first), *rest)
            _add(sums[place], tile, _tile_weights(tiles, index, sums.device))


def _add(sums: Tensor, tile: Tensor, weights: Tensor) -> None:
    """Add ``tile`` times ``weights`` to ``sums``; on a CPU class by class, to need no second tile in memory."""
    if sums.is_cuda:
        sums += tile * weights
    elif sums.dtype == tile.dtype:
        for total, values in zip(sums, tile, strict=True):
            total.addcmul_(values, weights)
    else:
        for total, values in zip(sums, tile, strict=True):
            total += values * weights


def _tile_weights(tiles: Tiling, index: Sequence[int], device: torch.device) -> Tensor:
    z, y, x = (torch.from_numpy(shares[i]) for shares, i in zip(tiles.weights, index, strict=True))
    return (z[:, None, None] * (y[:, None] * x)).to(device)


def _require_channels(logits: Tensor, plan: WindowPlan, view: View) -> None:
    expected = (plan.outputs, *plan.patch)
    if tuple(logits.shape[1:]) != expected:
        raise ModelError(
            "The network's output does not fit the plan.",
            case=view.case,
            found=f"logits of shape {tuple(logits.shape[1:])}",
            expected=f"{expected} (outputs, patch)",
            remedy="Train again with this plan, or name the model that belongs to it.",
        )


def _accumulator(tiles: Tiling, groups: Sequence[range], plan: WindowPlan) -> Tensor:
    starts = tiles.starts[0]
    held = max(starts[group[-1]] + tiles.patch[0] - starts[group[0]] for group in groups)
    return torch.zeros(plan.outputs, held, *tiles.shape[1:], dtype=plan.dtype, device=plan.device)


def _finished(sums: Tensor, first: int, margins: Sequence[tuple[int, int]], view: View) -> Iterator[Rows]:
    """The finished rows without the margins; nothing if all of them lie in the margin."""
    depth, height, width = view.images.shape[1:]
    (before, _), (top, _), (left, _) = margins
    begin, end = max(first - before, 0), min(first - before + sums.shape[1], depth)
    if begin >= end:
        return
    values = sums[:, begin + before - first : end + before - first, top : top + height, left : left + width]
    # NaN and infinity show in the extremes: one pass that needs no memory.
    extremes = torch.stack([torch.stack(torch.aminmax(plane)) for plane in values])
    if not torch.isfinite(extremes).all():
        raise ModelError(
            "The network gives values that are not finite.",
            case=view.case,
            found="NaN or infinite logits",
            remedy="Look at this case with `autofuse check`; if other cases fail too, the training has diverged.",
        )
    yield Rows(begin, values)


def _shift(sums: Tensor, count: int) -> None:
    """Forget the first ``count`` rows, move the others up and clear what follows; one class at a time in memory."""
    kept = sums.shape[1] - count
    for plane in sums:
        if kept > 0:
            plane[:kept] = plane[count:].clone() if kept > count else plane[count:]
        plane[max(kept, 0) :] = 0


def _margins(shape: Sequence[int], patch: Sequence[int]) -> list[tuple[int, int]]:
    """Per axis, voxels to add before and after a case that is smaller than the patch."""
    missing = [max(window - size, 0) for size, window in zip(shape, patch, strict=True)]
    return [(gap // 2, gap - gap // 2) for gap in missing]


def _pad(view: View, margins: Sequence[tuple[int, int]]) -> View:
    if not np.any(margins):
        return view
    widths = [width for pair in reversed(margins) for width in pair]
    prior = None if view.prior is None else F.pad(view.prior, widths)
    return replace(view, images=F.pad(view.images, widths), prior=prior)
