"""What a scanner makes of an anatomy: one modality's image, with its own contrast, drift, noise and scale."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autofuse.phantom.anatomy import AIR, TISSUES, random_field
from autofuse.phantom.options import PhantomOptions

BODY_LEVEL = 300.0
CONTRAST = 100.0
"""How far a structure that a modality shows lies from the body, before scale and drift."""
TEXTURE = 0.12
"""Smooth variation of healthy tissue, over CONTRAST."""


def acquire(
    tissue: NDArray[np.uint8], modality: int, options: PhantomOptions, random: np.random.Generator
) -> NDArray[np.int16]:
    """One modality's image of a tissue map, (z, y, x) int16; air is exactly 0 as in a stripped image."""
    # Odd modalities show their structures dark, so that adding modalities up does not help.
    sign = 1.0 if modality % 2 == 0 else -1.0
    levels = np.full(len(TISSUES), BODY_LEVEL, np.float32)
    for name in options.seen_in(modality):
        # Structures of one modality differ in contrast, or a network could not tell them apart.
        strength = 1.0 - 0.4 * options.seen_in(modality).index(name)
        levels[TISSUES.index(name)] += sign * strength * CONTRAST
    image = _blurred(levels[tissue])
    image += TEXTURE * CONTRAST * random_field(random, options, orders=6)
    image *= np.exp(options.bias * random_field(random, options, orders=3))
    image += options.noise * CONTRAST * random.standard_normal(image.shape, np.float32)
    # Images have no unit: each case of each modality comes in a scale of its own.
    image *= (0.5 + modality % 3) * random.uniform(0.7, 1.4)
    return np.where(tissue == AIR, 0, np.clip(np.rint(image), 1, 32767)).astype(np.int16)


def _blurred(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """The image under a point spread of (1, 2, 1) / 4 along every axis that has more than one voxel."""
    for axis, count in enumerate(image.shape):
        if count > 1:
            padded = np.pad(image, [(1, 1) if k == axis else (0, 0) for k in range(image.ndim)], mode="edge")
            before, after = (np.take(padded, range(s, s + count), axis) for s in (0, 2))
            image = np.float32(0.5) * image + np.float32(0.25) * (before + after)
    return image
