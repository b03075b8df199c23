"""Memory for voxels, asked for before it is needed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autofuse.foundation.errors import ResourceError

UNCHECKED_BYTES = 1 << 26
"""Images up to 64 MiB are read without asking how much memory is left."""


def room_for(voxels: int, dtype: np.dtype[Any], path: Path) -> NDArray[Any]:
    """An uninitialised flat array.

    Raises:
        ResourceError: if that much memory is not available.
    """
    needed = voxels * dtype.itemsize
    left = math.inf
    if needed > UNCHECKED_BYTES:
        from autofuse.foundation.machine import available_memory_gib

        left = available_memory_gib() * 2**30
    try:
        if needed > left:
            raise MemoryError
        return np.empty(voxels, dtype)
    except MemoryError:
        raise ResourceError(
            "There is not enough memory for this image.",
            file=path,
            found=f"{left / 2**30:.2f} GiB available" if left < math.inf else None,
            expected=f"{needed / 2**30:.2f} GiB for {voxels} voxels of {dtype}",
            remedy="Close other programs, use fewer workers, or crop the image.",
        ) from None
