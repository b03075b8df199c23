"""Distributions of intensities, small enough to keep per case and exact enough to pool over cases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from autofuse.fingerprint.types import CaseFacts
from autofuse.foundation.values import Value

SORTED_AT_MOST = 4_000_000
"""Quantiles of more voxels than this are taken from every n-th of them; moments always from all."""
_PIECE = 1 << 20


class Sketch(Value):
    """Intensities of some voxels of one modality.

    Attributes:
        voxels: how many; mean, std: of all of them (population standard deviation).
        minimum, maximum: of all of them.
        quantiles: CaseFacts.QUANTILES of their values at evenly spaced levels from 0 to 1; always values that occur.
        integral: whether every one of them is a whole number.
    """

    voxels: int = Field(ge=1)
    mean: float
    std: float
    minimum: float
    maximum: float
    quantiles: tuple[float, ...]
    integral: bool


def sketch(values: NDArray[Any]) -> Sketch | None:
    """The sketch of a flat array of finite values; None if it is empty."""
    if not values.size:
        return None
    mean, std, integral = _moments(values)
    step = -(-values.size // SORTED_AT_MOST)
    ordered = np.sort(values[::step])
    levels = np.linspace(0, 1, CaseFacts.QUANTILES)
    picked = ordered[np.rint(levels * (ordered.size - 1)).astype(np.int64)]
    return Sketch(
        voxels=int(values.size),
        mean=mean,
        std=std,
        minimum=float(values.min()),
        maximum=float(values.max()),
        quantiles=tuple(float(value) for value in picked),
        integral=integral,
    )


def _moments(values: NDArray[Any]) -> tuple[float, float, bool]:
    """Mean, standard deviation, and whether all are whole numbers; in double precision, a piece at a time."""
    pieces = [values[start : start + _PIECE] for start in range(0, values.size, _PIECE)]
    mean = sum(float(piece.sum(dtype=np.float64)) for piece in pieces) / values.size
    squares = 0.0
    integral = True
    for piece in pieces:
        exact = piece.astype(np.float64)
        integral = integral and bool((exact == np.rint(exact)).all())
        squares += float(np.square(exact - mean).sum())
    return mean, float((squares / values.size) ** 0.5), integral


def pooled_percentile(sketches: Sequence[Sketch], percent: float) -> float:
    """The percentile of all sketched voxels together, each case weighing as much as it has voxels.

    Accurate to half a step between the sketches' levels (0.125 % of a case's voxels). Independent of their order.
    """
    values = np.concatenate([np.asarray(item.quantiles) for item in sketches])
    weights = np.concatenate([_level_weights(len(item.quantiles)) * item.voxels for item in sketches])
    order = np.lexsort((weights, values))
    values, weights = values[order], weights[order]
    # Each value stands for the mass around it; the middle of that mass is its level.
    levels = (np.cumsum(weights) - weights / 2) / weights.sum()
    return float(np.interp(percent / 100, levels, values))


def pooled_mean_std(sketches: Sequence[Sketch]) -> tuple[float, float]:
    """Mean and standard deviation of all sketched voxels together; exact."""
    # Sorted first: sums of floats depend on their order.
    parts = sorted((item.voxels, item.mean, item.std) for item in sketches)
    voxels = sum(count for count, _, _ in parts)
    mean = sum(count * middle for count, middle, _ in parts) / voxels
    variance = sum(count * (spread**2 + (middle - mean) ** 2) for count, middle, spread in parts) / voxels
    return mean, variance**0.5


def _level_weights(count: int) -> NDArray[np.float64]:
    """Share of the distribution that each of ``count`` evenly spaced levels stands for; the ends for half as much."""
    weights = np.ones(count)
    if count > 1:
        weights[[0, -1]] = 0.5
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares
