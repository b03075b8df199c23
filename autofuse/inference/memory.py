"""What predicting a case needs at its peak, computed from shapes before any of it is taken."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from autofuse.foundation.errors import ResourceError
from autofuse.foundation.machine import GIB, available_memory_gib
from autofuse.inference.export import SCRATCH_BYTES
from autofuse.inference.tiles import STEP, layer_groups, tiling
from autofuse.plan.types import Configuration

if TYPE_CHECKING:
    import torch

SHARE_OF_AVAILABLE = 0.8
"""Of the memory that is free, what a prediction takes unless told otherwise."""

COMFORT_GIB = 3.5
"""Accumulators are float32 while the whole process stays below this, float16 above: slabs make more a waste."""

BATCH_VOXELS = 64**3
"""Voxels of tiles side by side on a CPU; larger batches gain nothing there."""

FORWARD_VOLUMES = 6
"""Full-resolution feature maps alive at once in a forward pass: skip, upsampled, joined, convolved."""

LEAST_CHANNELS = 8
"""Convolutions on a CPU lay channels out in blocks of so many (oneDNN), however few there are."""

TUNED_BELOW_GIB = 2.0
"""Smaller predictions keep memory between tiles, which makes a network on a CPU up to 1.5 times faster but holds up to
half as much again; larger ones give it back."""

Accumulated = Literal["float32", "float16"]

_LABEL_BYTES, _FLOAT, _HALF = 2, 4, 2
_INSIDE_BYTES = 6
"""Of a voxel while the body is told from what lies outside: two masks and the numbers of regions."""
_COMPONENT_BYTES = 8
"""Of a voxel while components are looked for: masks, their numbers, and what numbers them."""


@dataclass(frozen=True)
class Extras:
    """What is held besides the case.

    Attributes:
        spools: sums of probabilities.
        ahead: whether the next case is read while this one is computed, and the last one is written.
        next_gib: what reading that one takes; None for as much as this one.
        steps: whether the mask is post-processed.
    """

    spools: int = 0
    ahead: bool = False
    next_gib: float | None = None
    steps: bool = False


@dataclass(frozen=True)
class Load:
    """The shapes that decide how much memory a case needs.

    Attributes:
        prepared, native: shapes of the two grids; inputs: modalities and prior channels; outputs: C.
        raw_bytes: of all raw images together; None for four a voxel of each.
        elsewhere: whether a modality lies on a grid of its own, or is registered.
        single: whether prepared images may be beyond half floats, because one is not normalised.
    """

    prepared: tuple[int, int, int]
    native: tuple[int, int, int]
    inputs: int
    outputs: int
    extras: Extras = Extras()
    raw_bytes: int | None = None
    elsewhere: bool = False
    single: bool = False


@dataclass(frozen=True)
class MemoryPlan:
    """Choices that keep a prediction within its limit.

    Attributes:
        batch: tiles side by side; rows: height of the accumulator; dtype: of the accumulator.
        spool_in_memory: whether sums of an ensemble stay in memory.
        parts_gib: what the peak is made of; limit_gib: what it was held against.
    """

    batch: int
    rows: int
    dtype: Accumulated
    spool_in_memory: bool
    parts_gib: dict[str, float]
    limit_gib: float

    @property
    def peak_gib(self) -> float:
        """Predicted largest size of the process."""
        return sum(self.parts_gib.values())


def plan_memory(
    load: Load,
    configuration: Configuration,
    *,
    memory_gib: float | None = None,
    step: float = STEP,
    case: str = "",
    device: torch.device | None = None,
    coming_gib: float = 0.0,
) -> MemoryPlan:
    """The most precise and then the most comfortable way that fits.

    Tried in order: float32 accumulators, float16 ones, probabilities of an ensemble on disk, tiles one by one.

    Args:
        memory_gib: the most that the process (or the device) may hold; None for a share of what is free.
        coming_gib: what will be held beside what is held now, once the case is read.

    Raises:
        ResourceError: if even the smallest way does not fit, with the numbers.
    """
    on_gpu = device is not None and device.type == "cuda"
    held, free = _gpu_gib(device) if on_gpu else (resident_gib(), available_memory_gib())
    limit = held + SHARE_OF_AVAILABLE * free if memory_gib is None else memory_gib
    held += coming_gib
    comfort = limit if on_gpu else min(limit, COMFORT_GIB)
    batch = configuration.batch if on_gpu else tile_batch_size(configuration)
    ways: tuple[tuple[int, Accumulated, bool, float], ...] = (
        (batch, "float32", True, comfort),
        (batch, "float16", True, limit),
        (batch, "float16", False, limit),
        (1, "float16", False, limit),
    )
    plan = None
    for size, dtype, in_memory, bound in ways:
        rows = accumulator_rows(load.prepared, configuration, size, step)
        parts = {"held now": held, **_parts_gib(load, configuration, size, rows, dtype, in_memory, on_gpu)}
        plan = MemoryPlan(size, rows, dtype, in_memory, parts, limit)
        if plan.peak_gib <= bound:
            return plan
    assert plan is not None
    raise ResourceError(
        "This case needs more memory than there is.",
        case=case or None,
        found=f"{limit:.1f} GiB allowed",
        expected=f"{plan.peak_gib:.1f} GiB: " + ", ".join(f"{name} {gib:.2f}" for name, gib in plan.parts_gib.items()),
        remedy="Close other programs, use a machine with more memory, or a configuration of lower resolution.",
    )


def reading_gib(load: Load) -> float:
    """The most that reading and preparing a case takes: raw images beside the mask of what is inside them, beside all
    prepared images and one on its way from grid to grid, or beside prepared images and their halves."""
    native, prepared = math.prod(load.native), math.prod(load.prepared)
    raw = _FLOAT * load.inputs * native if load.raw_bytes is None else load.raw_bytes
    inside = _INSIDE_BYTES * native
    moved = 0 if load.native == load.prepared else _FLOAT * (native + 2 * max(native, prepared))
    if load.elsewhere:
        moved = _FLOAT * (3 * native + 4 * max(native, prepared))
    resampled = native + prepared + _FLOAT * load.inputs * prepared + moved
    halved = (_FLOAT + _HALF) * load.inputs * prepared
    return (raw + max(inside, resampled, halved)) / GIB


def require_room(gib: float) -> None:
    """Nothing, if so much memory is free.

    Raises:
        ResourceError: with the numbers.
    """
    free = available_memory_gib()
    if gib > free:
        raise ResourceError(
            "Reading and preparing this case needs more memory than there is.",
            found=f"{free:.1f} GiB free",
            expected=f"up to {gib:.1f} GiB",
            remedy="Close other programs, crop the images, or use a machine with more memory.",
        )


def held_gib(load: Load) -> float:
    """What a case that was read holds until it is predicted: its images, half floats where they fit."""
    return (_FLOAT if load.single else _HALF) * load.inputs * math.prod(load.prepared) / GIB


def tile_batch_size(configuration: Configuration) -> int:
    """Tiles side by side: as in training, but no more voxels than pay on a CPU (one tile at least)."""
    return max(1, min(configuration.batch, BATCH_VOXELS // math.prod(configuration.patch)))


def accumulator_rows(shape: Sequence[int], configuration: Configuration, batch: int, step: float) -> int:
    """Height of the smallest accumulator whose groups of tiles fill a batch."""
    patch = configuration.patch if configuration.dimensions == 3 else (1, *configuration.patch)
    tiles = tiling(shape, patch, step)
    starts = tiles.starts[0]
    groups = layer_groups(tiles, tiles.shape[0], batch)
    return max(starts[group[-1]] + patch[0] - starts[group[0]] for group in groups)


def resident_gib() -> float:
    """What this process holds now."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0.5
    return pages * os.sysconf("SC_PAGE_SIZE") / GIB


def _gpu_gib(device: torch.device | None) -> tuple[float, float]:
    """GiB of the device that are taken, and free; where training holds this process to a dial, free within that."""
    import torch

    free, total = torch.cuda.mem_get_info(device)
    allocated = torch.cuda.memory_allocated(device)
    cached = torch.cuda.memory_reserved(device) - allocated
    share = getattr(torch.cuda, "get_per_process_memory_fraction", None)  # older torch can set it, but not tell it
    allowed = free + cached if share is None else max(0.0, share(device) * total - allocated)
    return (total - free - cached) / GIB, min(free + cached, allowed) / GIB


def _parts_gib(
    load: Load,
    configuration: Configuration,
    batch: int,
    rows: int,
    dtype: Accumulated,
    in_memory: bool,
    on_gpu: bool,
) -> dict[str, float]:
    patch = configuration.patch if configuration.dimensions == 3 else (1, *configuration.patch)
    plane = max(load.prepared[1], patch[1]) * max(load.prepared[2], patch[2])
    prepared, native = math.prod(load.prepared), math.prod(load.native)
    tile, features = batch * math.prod(configuration.patch), configuration.network.features[0]
    features = features if on_gpu else max(features, LEAST_CHANNELS)
    per_voxel = _FLOAT if dtype == "float32" else _HALF
    parts = {
        # One plane of classes more, for the rows that move up.
        "accumulator": per_voxel * (load.outputs + 1) * rows * plane,
        "network": _FLOAT * tile * (FORWARD_VOLUMES * features + 3 * load.outputs + load.inputs),
        "export": 3 * min(SCRATCH_BYTES, _FLOAT * load.outputs * (prepared + native)),
    }
    if not on_gpu:  # these stay in the machine's own memory
        ahead = load.extras.ahead
        coming = reading_gib(load) if load.extras.next_gib is None else load.extras.next_gib
        parts["next case"] = round(coming * GIB) if ahead else 0
        parts["labels"] = (3 if ahead else 2) * _LABEL_BYTES * native
        parts["post-processing"] = _COMPONENT_BYTES * native if load.extras.steps else 0
        parts["probabilities"] = load.extras.spools * _HALF * load.outputs * max(prepared, native) if in_memory else 0
    return {name: size / GIB for name, size in parts.items()}
