"""Small images with a known content."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray


@pytest.fixture
def brain() -> NDArray[np.int16]:
    """A smooth int16 volume with noise, (24, 40, 36): compresses like an image."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in (24, 40, 36)), indexing="ij")
    ball = np.clip(1000 * (1 - x * x - y * y - z * z), 0, None)
    return (ball + np.random.default_rng(5).normal(0, 20, ball.shape) * (ball > 0)).astype(np.int16)
