"""An array with its place in the patient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from autofuse.images.geometry import Geometry


@dataclass(frozen=True)
class Image:
    """Voxels and their geometry.

    Attributes:
        voxels: (z, y, x), or (component, z, y, x) for a file with several components a voxel or a fourth axis.
        geometry: of the three spatial axes.
        warnings: what was odd about the file but could be read safely.
    """

    voxels: NDArray[Any]
    geometry: Geometry
    warnings: tuple[str, ...] = ()
