"""How many voxels are NaN or infinite, and where the first one is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autofuse.foundation.errors import DataError


class NonFinite:
    """Counts over the blocks of an image of ``shape``, looked at one after the other."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._first: int | None = None
        self.nans = 0
        self.infinities = 0

    @property
    def count(self) -> int:
        """Voxels that are not finite."""
        return self.nans + self.infinities

    def look(self, start: int, block: NDArray[np.floating[Any]]) -> None:
        """Count in ``block`` (flat), whose first voxel has the flat index ``start``."""
        # Minimum and maximum are quick and let NaN and infinity through; only a block that has one is searched.
        if np.isfinite(block.min()) and np.isfinite(block.max()):
            return
        bad = np.flatnonzero(~np.isfinite(block))
        nans = int(np.isnan(block).sum())
        self.nans += nans
        self.infinities += len(bad) - nans
        if self._first is None:
            self._first = start + int(bad[0])

    def sentence(self) -> str:
        """The counts and the index of the first one, in array order."""
        index = tuple(int(i) for i in np.unravel_index(self._first or 0, self._shape))
        return f"{self.nans} NaN and {self.infinities} infinite (or too large for float32); the first at index {index}"

    def error(self, path: Path) -> DataError:
        """The error that names them."""
        return DataError(
            "The image has voxels that are not finite numbers.",
            file=path,
            found=self.sentence(),
            expected="finite intensities",
            remedy="Find out what they stand for and replace them (often: outside the field of view, 0).",
        )
