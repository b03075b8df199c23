"""Two made-up images of one body, on any grid, moved by any rigid transform; what they show is known everywhere."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autofuse.alignment.types import Rigid
from autofuse.images.geometry import Geometry

_ORGANS = (
    ((0, 0, 0), (34, 28, 30), 1.0),
    ((6, -8, 4), (10, 12, 8), 2.0),
    ((-14, 8, -10), (8, 7, 9), 3.0),
    ((8, 12, 14), (6, 5, 6), 4.0),
    ((-8, -12, 10), (5, 8, 5), 5.0),
)
"""Centre and radii in world mm (x, y, z), and tissue; later ones lie in front."""
_LOOK = {"first": (0, 300, 380, 250, 340, 420), "second": (0, 90, 60, 130, 20, 75)}
"""Grey level of each tissue."""


def body(look: str, geometry: Geometry, rigid: Rigid | None = None, seed: int = 0) -> NDArray[np.float32]:
    """The image of the body on ``geometry``; what lay at p lies at rigid(p). Noise inside, exact zeros outside."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in geometry.shape), indexing="ij"), axis=-1).reshape(-1, 3)
    homogeneous = np.concatenate([index, np.ones((len(index), 1))], axis=1)
    back = np.linalg.inv(rigid.affine()) if rigid is not None else np.eye(4)
    places = (homogeneous @ (back @ geometry.affine()).T)[:, :3]
    tissue = np.zeros(len(index), int)
    for number, (centre, radii, _) in enumerate(_ORGANS, start=1):
        tissue[(((places - centre) / np.asarray(radii)) ** 2).sum(axis=1) < 1] = number
    grey = np.asarray(_LOOK[look], np.float32)[tissue]
    noise = np.random.default_rng(seed).normal(0, 4, len(index)).astype(np.float32)
    return np.where(tissue > 0, grey + noise, 0).reshape(geometry.shape).astype(np.float32)


def centred(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> Geometry:
    """A grid around the world's origin."""
    z, y, x = (-(count - 1) * step / 2 for count, step in zip(shape, spacing_mm, strict=True))
    return Geometry(shape, spacing_mm, (x, y, z))


def about(axis: str, degrees: float) -> tuple[tuple[float, float, float], ...]:
    """The rotation matrix about a world axis."""
    c, s = float(np.cos(np.radians(degrees))), float(np.sin(np.radians(degrees)))
    return {
        "x": ((1.0, 0.0, 0.0), (0.0, c, -s), (0.0, s, c)),
        "y": ((c, 0.0, s), (0.0, 1.0, 0.0), (-s, 0.0, c)),
        "z": ((c, -s, 0.0), (s, c, 0.0), (0.0, 0.0, 1.0)),
    }[axis]
