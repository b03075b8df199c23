"""Where the tiles of a sliding window lie, and how much each of their voxels counts.

Tiles form a grid: starts per axis. The Gaussian is a product of one curve per axis, so the sum of all tiles' weights at
a voxel is a product as well, and every tile's weights can be divided by it beforehand, axis by axis. What is added up
is then the weighted mean itself; no volume of weights and no division are needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

STEP = 0.5
"""Distance between tiles as a share of the patch (nnU-Net's)."""

SIGMA_SHARE = 1 / 8
"""Standard deviation of the Gaussian as a share of the patch (nnU-Net's)."""


@dataclass(frozen=True)
class Tiling:
    """Tiles that cover a grid.

    Attributes:
        shape: of the grid, at least as large as the patch along every axis.
        patch: voxels per axis of a tile.
        starts: per axis, ascending first voxels of the tiles.
        weights: per axis, (tiles, patch) float32 shares; over all tiles they add up to 1 at every voxel.
    """

    shape: tuple[int, ...]
    patch: tuple[int, ...]
    starts: tuple[tuple[int, ...], ...]
    weights: tuple[NDArray[np.float32], ...]

    @property
    def count(self) -> int:
        """How many tiles there are."""
        return math.prod(len(starts) for starts in self.starts)

    def indices(self, layers: Sequence[int]) -> list[tuple[int, ...]]:
        """Per tile its position on each axis' list of starts, for the given positions on the first axis."""
        return list(product(layers, *(range(len(starts)) for starts in self.starts[1:])))

    def box(self, index: Sequence[int]) -> tuple[slice, ...]:
        """The voxels of a tile."""
        begins = (starts[i] for starts, i in zip(self.starts, index, strict=True))
        return tuple(slice(begin, begin + size) for begin, size in zip(begins, self.patch, strict=True))


def tiling(shape: Sequence[int], patch: Sequence[int], step: float = STEP) -> Tiling:
    """Tiles of size ``patch`` over a grid, ``step`` patches apart at most and evenly spread.

    A grid smaller than the patch is taken as large as the patch: pad it.
    """
    padded = tuple(max(size, window) for size, window in zip(shape, patch, strict=True))
    starts = tuple(tile_starts(size, window, step) for size, window in zip(padded, patch, strict=True))
    weights = tuple(
        axis_weights(size, window, begins) for size, window, begins in zip(padded, patch, starts, strict=True)
    )
    return Tiling(padded, tuple(patch), starts, weights)


def tile_starts(size: int, window: int, step: float = STEP) -> tuple[int, ...]:
    """First voxels of the tiles along one axis: from 0 to size - window, evenly spread and rounded."""
    gaps = math.ceil((size - window) / max(1.0, window * step))
    return (0,) if gaps == 0 else tuple(round(i * (size - window) / gaps) for i in range(gaps + 1))


def axis_weights(size: int, window: int, starts: Sequence[int]) -> NDArray[np.float32]:
    """(tiles, window) Gaussian weights divided by their sum over all tiles of the axis."""
    curve = gaussian(window)
    total = np.zeros(size)
    for start in starts:
        total[start : start + window] += curve
    return np.stack([curve / total[start : start + window] for start in starts]).astype(np.float32)


def gaussian(window: int, sigma_share: float = SIGMA_SHARE) -> NDArray[np.float64]:
    """Gaussian over ``window`` voxels, 1 in the middle, symmetric; exp(-8) at the ends for 1 / 8, so never 0."""
    offset = np.arange(window) - (window - 1) / 2
    curve: NDArray[np.float64] = np.exp(-0.5 * (offset / (window * sigma_share)) ** 2)
    return curve


def layer_groups(tiles: Tiling, rows: int, least: int = 1) -> list[range]:
    """Positions on the first axis in groups whose tiles span at most ``rows`` voxels along it.

    Args:
        rows: what the accumulator can hold; a group of one position is made even where it spans more.
        least: tiles wanted in a group, so that batches fill up; groups end as soon as they have them.
    """
    per_layer = tiles.count // len(tiles.starts[0])
    groups, first = [], 0
    for position in range(1, len(tiles.starts[0]) + 1):
        ended = position == len(tiles.starts[0])
        enough = (position - first) * per_layer >= least
        if ended or enough or tiles.starts[0][position] + tiles.patch[0] - tiles.starts[0][first] > rows:
            groups.append(range(first, position))
            first = position
    return groups
