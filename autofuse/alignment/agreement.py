"""How much two images say about each other, at every shift at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 8
"""Grey levels that are told apart; of equal share, but for a background that gets one of its own."""
UNSEEN = 255
SMALLEST_OVERLAP = 0.25
"""Shifts that leave less of the largest overlap than this are not compared: little says little, and often much."""

Bins = NDArray[np.uint8]
Surface = NDArray[np.float32]


@dataclass(frozen=True)
class Agreement:
    """Normalised mutual information over shifts.

    Attributes:
        values: (2 r_z + 1, 2 r_y + 1, 2 r_x + 1), 1 (independent) to 2 (one determines the other).
        counts: voxels that both see there; compared: whether that is enough.
        reach: r, samples per axis; the shift of values[i] is i - r.
    """

    values: Surface
    counts: Surface
    compared: NDArray[np.bool_]
    reach: tuple[int, ...]


def bin_by_rank(values: NDArray[np.float32], seen: NDArray[np.bool_], background: bool) -> Bins:
    """Per sample its bin, UNSEEN where not seen; with ``background``, exact zeros are bin 0."""
    shown = seen & (values != 0) if background else seen
    first = int(background)
    binned = np.full(values.shape, UNSEEN, np.uint8)
    binned[seen] = 0
    inside = values[shown]
    if inside.size:
        edges = np.quantile(inside, np.linspace(0, 1, BINS - first + 1)[1:-1])
        binned[shown] = np.searchsorted(edges.astype(np.float32), inside, side="right") + first
    return binned


def agreement_over_shifts(
    fixed: Bins, moving: Bins, reach: tuple[int, ...], least_overlap: float = SMALLEST_OVERLAP
) -> Agreement:
    """Agreement of what ``fixed`` shows at i with what ``moving`` shows at i + shift, for all |shift| <= reach.

    ``moving`` begins ``reach`` samples before ``fixed`` along each axis, and ends as many after it.

    Joint histograms n_ab(shift) = sum_i F_a(i) M_b(i + shift) are circular correlations, made free of wrap-around by
    padding.

    Reference: Studholme et al. 1999, doi 10.1016/S0031-3203(98)00091-0 (the measure).
    """
    from scipy import fft

    axes = (1, 2, 3)
    moving, lead = _trimmed(moving, reach)
    # Indices past either end must not come back onto samples of the moving image.
    size = tuple(
        fft.next_fast_len(max(f + b + r, m + max(0, r - b)), real=True)
        for f, m, b, r in zip(fixed.shape, moving.shape, lead, reach, strict=True)
    )
    wanted = [(np.arange(-r, r + 1) + b) % n for b, r, n in zip(lead, reach, size, strict=True)]
    spectra = fft.rfftn(_one_hot(moving), s=size, axes=axes)
    shape = tuple(2 * r + 1 for r in reach)
    joint_sum = np.zeros(shape, np.float32)
    fixed_sum = np.zeros(shape, np.float32)
    of_moving = np.zeros((BINS, *shape), np.float32)
    for level in range(BINS):
        here = fixed == level
        if not here.any():
            continue
        product = spectra * np.conj(fft.rfftn(here.astype(np.float32), s=size))
        counts = _cropped_inverse(product, size, wanted)
        joint_sum += _x_log_x(counts).sum(axis=0)
        fixed_sum += _x_log_x(counts.sum(axis=0))
        of_moving += counts
    total = of_moving.sum(axis=0)
    values = _normalised(total, fixed_sum + _x_log_x(of_moving).sum(axis=0), joint_sum)
    return Agreement(values, total, total >= max(1.0, least_overlap * float(total.max())), reach)


def _trimmed(moving: Bins, lead: tuple[int, ...]) -> tuple[Bins, tuple[int, ...]]:
    """``moving`` without rims where nothing is seen, and how many samples it then begins before the fixed image."""
    from scipy.ndimage import find_objects

    boxes = find_objects((moving != UNSEEN).astype(np.uint8))
    if not boxes:
        return moving, lead
    return moving[boxes[0]], tuple(begin - part.start for begin, part in zip(lead, boxes[0], strict=True))


def _cropped_inverse(product: NDArray[np.complex64], size: tuple[int, ...], wanted: list[NDArray[np.intp]]) -> Surface:
    """Counts (moving bin, shift z, y, x); each axis is cut to the wanted shifts as soon as it is back in space."""
    from scipy import fft

    product = fft.ifft(product, axis=1).take(wanted[0], axis=1)
    product = fft.ifft(product, axis=2).take(wanted[1], axis=2)
    counts: Surface = fft.irfft(product, n=size[2], axis=3).take(wanted[2], axis=3)
    # Counts are whole numbers; what is beside them is rounding of the transforms.
    return np.rint(np.maximum(counts, 0, out=counts), out=counts)


def _one_hot(bins: Bins) -> NDArray[np.float32]:
    return np.stack([bins == level for level in range(BINS)]).astype(np.float32)


def _x_log_x(counts: Surface) -> Surface:
    return counts * np.log(np.maximum(counts, 1))


def _normalised(total: Surface, single_sums: Surface, joint_sum: Surface) -> Surface:
    """(H(A) + H(B)) / H(A, B) from sums of n log n; 1 where nothing varies."""
    safe = np.maximum(total, 1)
    joint = np.log(safe) - joint_sum / safe
    apart = 2 * np.log(safe) - single_sums / safe
    varies = joint > 1e-4
    return np.where(varies, apart / np.where(varies, joint, 1), 1).astype(np.float32)
