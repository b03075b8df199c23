"""Probabilities in one byte each, and the file that keeps them: fine where it matters, small where nothing happens.

The code is round(255 · 2/π · arcsin(√p)): the transform under which a proportion has the same variance everywhere
(Bartlett, 1936). Steps are 0.006 wide in the middle and 0.00004 at the ends, so that logarithms of small probabilities
still mean something; whatever is surer than that is 0 or 1.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autofuse.foundation.errors import ModelError

CODED_ENDING = ".probabilities.u8.b2nd"
SUREST = 5e-6
"""What a probability of code 0 is taken for where its logarithm is needed."""

Codes = NDArray[np.uint8]


def encode(probabilities: NDArray[np.floating]) -> Codes:
    """Codes of probabilities, same shape; what lies beyond 0 and 1 by rounding is clipped."""
    angle = np.arcsin(np.sqrt(np.clip(probabilities.astype(np.float32), 0, 1)))
    return np.rint(angle * (510 / np.pi)).astype(np.uint8)


def decode(codes: Codes) -> NDArray[np.float32]:
    """Probabilities (float32) of codes, same shape."""
    return np.take(_TABLE, codes)


_TABLE: NDArray[np.float32] = (np.sin(np.arange(256) * (np.pi / 510)) ** 2).astype(np.float32)


def read_coded(path: Path, case: str) -> Codes:
    """(C, z, y, x) codes on the native grid.

    Raises:
        ModelError: if the file is missing or cannot be read.
    """
    import blosc2

    try:
        stored: Codes = blosc2.open(str(path), mode="r")[:]
        return stored
    except (RuntimeError, OSError, ValueError) as error:
        raise ModelError(
            "The probabilities of a held-out case cannot be read.",
            case=case,
            file=path,
            found=str(error)[:200],
            remedy="Delete the file and run the same command again; the case is predicted anew.",
        ) from None
