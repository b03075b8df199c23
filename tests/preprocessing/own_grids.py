"""Cases whose second modality lies on a grid of its own: coarser, turned, with a smaller field of view."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter

from autofuse.dataset.raw import RawCase
from autofuse.images.geometry import Geometry
from autofuse.images.image import Image

NARROW = (4, 28)
"""Slices (z) of the reference grid that the second modality still sees."""


def smooth_case(raw: RawCase, sigma: float = 4.0) -> RawCase:
    """The same case without fine detail, so that a quarter of the resolution still shows all of it."""

    def softer(image: Image | None) -> Image | None:
        if image is None:
            return None
        voxels = gaussian_filter(image.voxels.astype(np.float64), sigma).astype(np.float32)
        return replace(image, voxels=voxels)

    return replace(raw, images=tuple(softer(image) for image in raw.images))


def second_elsewhere(raw: RawCase, factor: int = 4) -> RawCase:
    """The case with its second modality averaged over ``factor`` voxels along each axis, narrowed along z, and stored
    with x first and backwards."""
    image = raw.images[1]
    assert image is not None
    first, stop = NARROW
    fine = image.voxels[first:stop]
    fine = fine[:, : fine.shape[1] // factor * factor, : fine.shape[2] // factor * factor]
    z, y, x = (size // factor for size in fine.shape)
    coarse = fine.reshape(z, factor, y, factor, x, factor).mean(axis=(1, 3, 5), dtype=np.float64).astype(np.float32)
    offset = (factor - 1) / 2
    index = np.array([first + offset, offset, offset + factor * (x - 1), 1.0])  # of what becomes the first voxel
    origin = (image.geometry.affine() @ index)[:3]
    direction = np.asarray(image.geometry.direction)[:, [2, 0, 1]] * [-1.0, 1.0, 1.0]
    spacing = np.asarray(image.geometry.spacing_mm)[[2, 0, 1]] * factor
    geometry = Geometry((x, z, y), _triple(spacing), _triple(origin), tuple(_triple(row) for row in direction))  # type: ignore[arg-type]
    stored = np.ascontiguousarray(np.flip(coarse.transpose(2, 0, 1), 0))
    return replace(raw, images=(raw.images[0], Image(stored, geometry)), reference=0)


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    first, second, third = (float(value) for value in values)
    return first, second, third
