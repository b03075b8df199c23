"""How sure an ensemble is: predictive entropy, mutual information between its members, volumes with intervals.

Predictive entropy is that of the members' mean p̄ (after temperature); mutual information is H[p̄] - Σ w H[p_m] (before
it): what members disagree about rather than what each is unsure of (Depeweg et al., 2018, equation 5). Both are shares
of the largest possible value: log C for exclusive classes; for regions the mean over them of the binary one over log 2.

Shapes: C network outputs; n rows of a chunk; z, y, x space.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autofuse.dataset.label_codes import region_membership
from autofuse.dataset.types import Labels
from autofuse.foundation.values import Value
from autofuse.inference.coding import SUREST
from autofuse.inference.export import THRESHOLD, Chunk
from autofuse.inference.spool import Spool
from autofuse.preprocessing.placement import Placement

FULL = 255
"""Value in a map of the largest possible uncertainty."""
LEVEL = 0.9
"""Of the interval of a volume that probabilities give."""

_ROWS_BYTES = 64 << 20


class StructureVolume(Value):
    """The volume of one class or region, in ml.

    Attributes:
        volume_ml: of the mask, after post-processing.
        expected_ml: sum of the (calibrated) probabilities.
        low_ml, high_ml: what is more probable than 0.95, and than 0.05: the 90 % interval if all voxels rise and fall
            together, which is the widest that these probabilities allow.
        members_low_ml, members_high_ml: the smallest and the largest volume that a member alone gives, without
            post-processing; None for one member.
    """

    structure: str
    volume_ml: float
    expected_ml: float
    low_ml: float
    high_ml: float
    members_low_ml: float | None = None
    members_high_ml: float | None = None


@dataclass(frozen=True)
class Uncertainty:
    """What is not sure about one case.

    Attributes:
        entropy, mutual_information: (z, y, x) uint8 on the native grid, ``FULL`` times the share of the largest
            possible value; the second one None for one member.
    """

    entropy: NDArray[np.uint8]
    mutual_information: NDArray[np.uint8] | None
    volumes: tuple[StructureVolume, ...]


def calibrated(probabilities: Tensor, labels: Labels, temperature: float) -> Tensor:
    """Probabilities (C, ...) whose log-odds are divided by ``temperature`` (Guo et al., 2017, equation 9).

    A mean of probabilities has no logits; its logarithms take their place.
    """
    if temperature == 1:
        return probabilities
    kept = probabilities.clamp(SUREST, 1 - SUREST)
    if labels.has_regions:
        odds: Tensor = torch.sigmoid(torch.logit(kept) / temperature)
        return odds
    return torch.softmax(torch.log(kept) / temperature, dim=0)


def entropy(probabilities: Tensor, labels: Labels) -> Tensor:
    """Entropy (...) of probabilities (C, ...), as a share of the largest possible: 0 to 1."""
    if labels.has_regions:
        off = 1 - probabilities
        parts = torch.special.entr(probabilities.clamp(0, 1)) + torch.special.entr(off.clamp(0, 1))
        binary: Tensor = parts.mean(dim=0) / math.log(2)
        return binary
    total = probabilities.sum(dim=0, keepdim=True).clamp_min(SUREST)
    found: Tensor = torch.special.entr(probabilities / total).sum(dim=0) / math.log(len(probabilities))
    return found


class Spread:
    """Adds up, member after member, what they alone would have said of a case."""

    def __init__(self, labels: Labels, entropies: Spool, members: int, thresholds: Sequence[float] | None) -> None:
        """Args:
        entropies: (1, z, y, x), zeros; holds the mean of the members' entropies in the end.
        """
        self.labels, self.entropies, self.thresholds = labels, entropies, thresholds
        self._voxels = np.zeros((members, len(labels.classes)), dtype=np.int64)

    def add(self, member: int, chunk: Chunk, weight: float) -> None:
        """One chunk of all outputs of one member."""
        assert chunk.values is not None
        values = chunk.values.cpu().float()
        self.entropies.add(chunk.start, entropy(values, self.labels)[None], weight)
        self._voxels[member] += self._counted(values)

    def _counted(self, values: Tensor) -> NDArray[np.int64]:
        if self.labels.has_regions:
            limits = torch.tensor(self.thresholds or (THRESHOLD,) * len(values))[:, None, None, None]
            counted: NDArray[np.int64] = (values > limits).sum(dim=(1, 2, 3)).numpy()
            return counted
        winners = torch.bincount(values.argmax(dim=0).ravel(), minlength=len(values)).numpy()
        return winners[1:].astype(np.int64)

    def finish(self, mean: Spool, indices: NDArray[np.int16], placement: Placement, temperature: float) -> Uncertainty:
        """The maps and volumes; ``mean`` holds calibrated probabilities afterwards.

        Args:
            mean: the members' mean (C, z, y, x) on the cropped native grid.
            indices: (z, y, x) the final mask on the native grid.
        """
        shape = mean.shape
        several = len(self._voxels) > 1
        maps = np.zeros((2 if several else 1, *shape), dtype=np.uint8)
        sums = np.zeros((3, len(self.labels.classes)))
        for start, stop in row_blocks(mean):
            values = mean.read(start, stop)
            if several:
                information = entropy(values, self.labels) - self.entropies.read(start, stop)[0]
                maps[1, start:stop] = _scaled(information)
            values = calibrated(values, self.labels, temperature)
            mean.put(start, values)
            maps[0, start:stop] = _scaled(entropy(values, self.labels))
            sums += _sums(values if self.labels.has_regions else values[1:])
        native = [placement.inverse(item) for item in maps]
        volumes = self._volumes(sums, indices, float(np.prod(placement.raw_spacing_mm)) / 1000)
        return Uncertainty(native[0], native[1] if several else None, volumes)

    def _volumes(
        self, sums: NDArray[np.float64], indices: NDArray[np.int16], voxel_ml: float
    ) -> tuple[StructureVolume, ...]:
        members = region_membership(self.labels)
        painted = members @ np.bincount(indices.ravel(), minlength=members.shape[1])
        several = len(self._voxels) > 1
        return tuple(
            StructureVolume(
                structure=item.name,
                volume_ml=_rounded(painted[k] * voxel_ml),
                expected_ml=_rounded(sums[0, k] * voxel_ml),
                low_ml=_rounded(sums[1, k] * voxel_ml),
                high_ml=_rounded(sums[2, k] * voxel_ml),
                members_low_ml=_rounded(self._voxels[:, k].min() * voxel_ml) if several else None,
                members_high_ml=_rounded(self._voxels[:, k].max() * voxel_ml) if several else None,
            )
            for k, item in enumerate(self.labels.classes)
        )


def calibrate(mean: Spool, labels: Labels, temperature: float) -> None:
    """Replace the probabilities in ``mean`` by calibrated ones, some rows at a time."""
    for start, stop in row_blocks(mean) if temperature != 1 else ():
        mean.put(start, calibrated(mean.read(start, stop), labels, temperature))


def row_blocks(spool: Spool) -> list[tuple[int, int]]:
    """Runs of rows (start, stop) that take at most 64 MiB as single floats."""
    depth, *plane = spool.shape
    size = max(1, _ROWS_BYTES // (4 * spool.outputs * math.prod(plane)))
    return [(start, min(start + size, depth)) for start in range(0, depth, size)]


def _sums(values: Tensor) -> NDArray[np.float64]:
    """(3, structures): the sum of probabilities, and the voxels above the upper and the lower end of the interval."""
    tail = (1 - LEVEL) / 2
    rows = (values.double(), values > 1 - tail, values > tail)
    return np.stack([row.sum(dim=(1, 2, 3)).numpy().astype(np.float64) for row in rows])


def _scaled(share: Tensor) -> NDArray[np.uint8]:
    scaled: NDArray[np.uint8] = (share.clamp(0, 1) * FULL).round().to(torch.uint8).numpy()
    return scaled


def _rounded(value: float) -> float:
    return round(float(value), 4)
