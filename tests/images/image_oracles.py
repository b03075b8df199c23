"""Grids with a known place, and an independent reader to compare with."""

from __future__ import annotations

import warnings
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

from autofuse.images import Geometry
from autofuse.images.axes import matrix_of

ODD_AXES = (7, 6, 5)


def oblique(seed: int, shape: tuple[int, int, int] = ODD_AXES) -> Geometry:
    """A grid with arbitrary rotation or reflection, spacing and origin."""
    rng = np.random.default_rng(seed)
    direction, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    spacing = tuple(float(value) for value in rng.uniform(0.3, 5, 3))
    origin = tuple(float(value) for value in rng.normal(size=3) * 300)
    return Geometry(shape, spacing, origin, matrix_of(direction))  # type: ignore[arg-type]


def nibabel_affine_lps(image: nibabel.Nifti1Image) -> NDArray[np.float64]:
    """nibabel's affine (RAS, x-y-z) as ours (LPS, z-y-x)."""
    affine = np.diag([-1.0, -1, 1, 1]) @ image.affine
    return affine @ np.eye(4)[[2, 1, 0, 3]]


def nibabel_voxels(path: Path) -> tuple[NDArray[np.generic], NDArray[np.float64]]:
    """(component, z, y, x) or (z, y, x) and our affine, as nibabel reads them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = nibabel.load(path)
        voxels = np.asanyarray(image.dataobj)
    while voxels.ndim > 3 and voxels.shape[-1] == 1:
        voxels = voxels[..., 0]
    while voxels.ndim < 3:
        voxels = voxels[..., None]
    return voxels.T, nibabel_affine_lps(image)


def assert_same_affine(geometry: Geometry, affine: NDArray[np.float64], relative: float = 1e-6) -> None:
    """Every coordinate on the grid agrees to a millionth of the largest."""
    ends = np.array([*(n - 1 for n in geometry.shape), 1.0])
    scale = (np.abs(affine) @ ends).max()
    assert (np.abs(geometry.affine() - affine) @ ends).max() <= relative * scale
