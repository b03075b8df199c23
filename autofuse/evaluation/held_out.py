"""Held-out cases of several runs, kept small: of each case only voxels where some run sees more than background.

Where every run is surer than 99 % of background, every mean is, so that nothing is lost for masks; probabilities are
calibrated on the voxels that are kept.

Shapes: R runs; C network outputs; n kept voxels; K raw values; z, y, x the box around the kept voxels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from autofuse.dataset.label_codes import region_indices, region_membership
from autofuse.dataset.types import IGNORE, Labels
from autofuse.inference.coding import Codes, decode, encode
from autofuse.inference.components import postprocess
from autofuse.inference.overlap import counts as voxel_counts
from autofuse.inference.overlap import dice, joint_histogram
from autofuse.inference.recipe import Recipe

POSSIBLE = 0.01
"""Probability of anything but background from which on a voxel is kept."""


@dataclass(frozen=True)
class HeldOutCase:
    """One case, as every run saw it when it was held out.

    Attributes:
        spacing_mm: per array axis.
        codes: (R, C, n) coded probabilities; places: (n,) where they lie in the flattened box.
        truth: (z, y, x) class indices in the box, IGNORE where nobody labelled.
        beyond: (K + 1,) labelled voxels outside the box, by class index.
    """

    id: str
    subject: str
    spacing_mm: tuple[float, float, float]
    codes: Codes
    places: NDArray[np.int64]
    truth: NDArray[np.int16]
    beyond: NDArray[np.int64]

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return self.codes.nbytes + self.places.nbytes + self.truth.nbytes


def keep_case(
    name: str,
    subject: str,
    runs: Sequence[Codes],
    truth: NDArray[np.int16],
    spacing_mm: tuple[float, float, float],
    labels: Labels,
) -> HeldOutCase:
    """The case whose coded probabilities by each run are ``runs``, (C, z, y, x) each; ``truth``: (z, y, x)."""
    possible = np.zeros(truth.shape, dtype=bool)
    for codes in runs:
        possible |= (codes > encode(np.array(POSSIBLE))).any(axis=0) if labels.has_regions else codes[0] < _SURE
    box = _box(possible)
    inside = possible[box]
    indices = len(labels.raw_values) + 1
    return HeldOutCase(
        id=name,
        subject=subject,
        spacing_mm=spacing_mm,
        codes=np.stack([codes[(slice(None), *box)][:, inside] for codes in runs]),
        places=np.flatnonzero(inside),
        truth=np.ascontiguousarray(truth[box]),
        beyond=_labelled(truth, indices) - _labelled(truth[box], indices),
    )


@dataclass(frozen=True)
class Bench:
    """Scores any weighted mean of the runs on the held-out cases; what was scored once is kept."""

    cases: Sequence[HeldOutCase]
    labels: Labels
    _known: dict[tuple[int, ...], NDArray[np.float64]] = field(default_factory=dict, repr=False)

    def scores(self, counts: tuple[int, ...]) -> NDArray[np.float64]:
        """(cases, structures) Dice of the mean without post-processing; NaN where neither has the structure."""
        if counts not in self._known:
            plain = [self._dice(case, self.box(case, counts)) for case in self.cases]
            self._known[counts] = np.array(plain, dtype=np.float64)
        return self._known[counts]

    def finished_scores(
        self, counts: tuple[int, ...], recipe: Recipe, chosen: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """The same after ``recipe``; NaN in cases that are not ``chosen``."""
        found = np.full((len(self.cases), len(self.labels.classes)), np.nan)
        for number in np.flatnonzero(chosen).tolist():
            case = self.cases[number]
            indices = self.box(case, counts, recipe.thresholds)
            postprocess(indices, self.labels, case.spacing_mm, recipe.steps)
            found[number] = self._dice(case, indices)
        return found

    def mean(self, case: HeldOutCase, counts: tuple[int, ...]) -> NDArray[np.float32]:
        """(C, n) mean of the runs' probabilities, each weighted by its count."""
        total = np.zeros(case.codes.shape[1:], dtype=np.float32)
        for codes, count in zip(case.codes, counts, strict=True):
            if count:
                total += np.float32(count / sum(counts)) * decode(codes)
        return total

    def box(
        self, case: HeldOutCase, counts: tuple[int, ...], thresholds: Sequence[float] | None = None
    ) -> NDArray[np.int16]:
        """(z, y, x) class indices in the case's box, as masks are painted."""
        mean = self.mean(case, counts)
        indices = np.zeros(case.truth.size, dtype=np.int16)
        if self.labels.has_regions:
            painted = np.zeros(mean.shape[1], dtype=np.int16)
            for region, index in enumerate(region_indices(self.labels)):
                painted[mean[region] > (0.5 if thresholds is None else thresholds[region])] = index
            indices[case.places] = painted
        else:
            indices[case.places] = mean.argmax(axis=0)
        return indices.reshape(case.truth.shape)

    def _dice(self, case: HeldOutCase, indices: NDArray[np.int16]) -> list[float]:
        members = _members(self.labels)
        joint, _ = joint_histogram(case.truth, indices, members.shape[1])
        joint[:, 0] += case.beyond
        found = [dice(*voxel_counts(joint, member)) for member in members]
        return [np.nan if value is None else value for value in found]


_SURE = int(encode(np.array(1 - POSSIBLE)))


@lru_cache(maxsize=4)
def _members(labels: Labels) -> NDArray[np.bool_]:
    return region_membership(labels)


def _labelled(truth: NDArray[np.int16], indices: int) -> NDArray[np.int64]:
    return np.bincount(truth[truth != IGNORE].ravel(), minlength=indices).astype(np.int64)


def _box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """The smallest box around ``mask``; that of the first voxel if it is empty."""
    from scipy.ndimage import find_objects

    boxes = find_objects(mask.view(np.uint8))
    return boxes[0] if boxes else (slice(0, 1),) * mask.ndim
