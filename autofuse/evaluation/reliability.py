"""Whether probabilities mean what they say: how often a class is there where the model says p, bin by bin.

Each class or region by itself (one against the rest), over voxels where the question is open: where the class is, or
has a probability of at least ``OPEN_FROM``. The rest of an image is background that nobody doubts; counted in, it would
make every model look calibrated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from autofuse.dataset.label_codes import region_membership
from autofuse.dataset.types import IGNORE, Labels
from autofuse.foundation.values import Value
from autofuse.inference.overlap import IndexMap

BINS = 10
"""Of equal width, from 0 to 1."""
OPEN_FROM = 0.01

Tally = NDArray[np.float64]
"""(R, BINS, 3) per class or region and bin: voxels, sum of their probabilities, voxels where the class is."""


class Reliability(Value):
    """One class or region.

    Attributes:
        voxels: per bin of probability.
        stated: mean probability in each bin; observed: share of voxels where the class is; None in empty bins.
        error: expected calibration error, the mean over voxels of |observed - stated| of their bin (Naeini et al. 2015;
            Guo et al. 2017, eq. 3); None without voxels.
    """

    name: str
    voxels: tuple[int, ...]
    stated: tuple[float | None, ...]
    observed: tuple[float | None, ...]
    error: float | None


def tally_case(probability: Callable[[int], NDArray[np.floating]], truth: IndexMap, labels: Labels) -> Tally:
    """What one case says.

    Args:
        probability: gives (z, y, x) of a network output: regions, or classes with background at 0.
        truth: (z, y, x) class indices; IGNORE is left out.
    """
    members = region_membership(labels)
    labelled = truth != IGNORE
    tally = np.zeros((len(members), BINS, 3))
    for row, member in enumerate(members):
        stated = np.asarray(probability(row if labels.has_regions else row + 1), np.float32)
        there = member[np.where(labelled, truth, 0)] & labelled
        chosen = labelled & (there | (stated >= OPEN_FROM))
        values, hits = stated[chosen], there[chosen]
        places = np.minimum((values * BINS).astype(np.intp), BINS - 1)
        for column, weights in enumerate((None, values, hits)):
            tally[row, :, column] = np.bincount(places, weights=weights, minlength=BINS)
    return tally


def reliabilities(tally: Tally, labels: Labels) -> tuple[Reliability, ...]:
    """The added tallies of all cases, class by class."""
    return tuple(_reliability(item.name, rows) for item, rows in zip(labels.classes, tally, strict=True))


def _reliability(name: str, rows: NDArray[np.float64]) -> Reliability:
    voxels, stated, observed = rows[:, 0], _means(rows[:, 1], rows[:, 0]), _means(rows[:, 2], rows[:, 0])
    total = voxels.sum()
    gaps = sum(
        count * abs(there - said)
        for count, said, there in zip(voxels, stated, observed, strict=True)
        if said is not None and there is not None
    )
    return Reliability(
        name=name,
        voxels=tuple(int(count) for count in voxels),
        stated=stated,
        observed=observed,
        error=float(gaps / total) if total else None,
    )


def _means(sums: Sequence[float] | NDArray[np.float64], counts: NDArray[np.float64]) -> tuple[float | None, ...]:
    return tuple(float(total / count) if count else None for total, count in zip(sums, counts, strict=True))
