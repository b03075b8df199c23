"""A case as a method sees it that learns from a teacher's labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from autofuse.fingerprint.types import Annotation
from autofuse.preprocessing.labelled_voxels import sampled_voxels
from autofuse.preprocessing.store import Box, StoredCase


@dataclass(frozen=True)
class TaughtCase(StoredCase):
    """A prepared case with the labels that teachers gave it instead of its own; ``IGNORE`` where they were not sure.

    Attributes:
        taught_by: under which name the store keeps these labels.
    """

    taught_by: str

    @property
    def annotation(self) -> Annotation:
        """Dense: teachers looked at every voxel."""
        return "dense"

    def read(self, box: Box | None = None) -> tuple[NDArray[np.float32], NDArray[np.int16] | None]:
        """Images (M, *box) and the teachers' label (*box).

        Raises:
            DataError: if a file cannot be decompressed.
        """
        box = self.whole if box is None else box
        return self.read_images(box), self.read_prior(self.taught_by, box).astype(np.int16, copy=False)

    @cached_property
    def foreground(self) -> Mapping[int, NDArray[np.int16]]:
        """Coordinates (n, 3) of sampled voxels by class index."""
        label = self.read_prior(self.taught_by).astype(np.int16, copy=False)
        rows = sampled_voxels(self.id, label, self.annotation)
        return {int(value): rows[rows[:, 0] == value, 1:] for value in np.unique(rows[:, 0])}


def taught_case(case: StoredCase, taught_by: str) -> TaughtCase:
    """``case`` with the labels that are kept under ``taught_by``."""
    return TaughtCase(case.folder, case.record, taught_by)
