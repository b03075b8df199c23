"""Whole numbers from the voxels of a label map, or the reason why they are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autofuse.foundation.errors import DataError
from autofuse.images.image import Image

ROUNDING_TOLERANCE = 1e-3
"""A stored label may lie this far from a whole number (scaled integers do); it is rounded, and that is said."""
LARGEST_FLOAT_LABEL = 2**24
"""Beyond this a float32 file cannot tell neighbouring labels apart."""
_SHOWN_VALUES = 5
_BLOCK_VOXELS = 1 << 18


def to_labels(image: Image, path: Path) -> Image:
    """``image`` with integer voxels (z, y, x), in the smallest signed type that holds its values.

    Raises:
        DataError: if it has several components, or values further than 1e-3 from a whole number.
    """
    voxels = image.voxels
    if voxels.ndim != 3:
        raise DataError(
            "A label map must have one value per voxel.",
            file=path,
            found=f"{voxels.shape[0]} components (a colour picture or palette, or a 4-D file)",
            expected="one",
            remedy="Save the mask as grey values or as a 3-D image with one whole number per voxel.",
        )
    low, high = voxels.min(), voxels.max()
    if voxels.dtype.kind != "f":
        return Image(
            voxels.astype(smallest_type(int(low), int(high), path), copy=False), image.geometry, image.warnings
        )
    if max(-low, high) > LARGEST_FLOAT_LABEL:
        raise _not_labels(path, [float(high if high >= -low else low)])
    labels, deviation = _rounded(voxels, smallest_type(round(float(low)), round(float(high)), path), path)
    warnings = image.warnings
    if deviation:
        warnings += (f"labels were up to {deviation:.2g} away from whole numbers and have been rounded",)
    return Image(labels, image.geometry, warnings)


def smallest_type(low: int, high: int, path: Path) -> np.dtype[Any]:
    """The smallest signed integer type that holds ``low`` to ``high``."""
    for kind in (np.int8, np.int16, np.int32, np.int64):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return np.dtype(kind)
    raise _not_labels(path, [high])


def _rounded(voxels: NDArray[Any], dtype: np.dtype[Any], path: Path) -> tuple[NDArray[Any], float]:
    """Rounded labels and the largest distance to a whole number."""
    labels = np.empty(voxels.shape, dtype)
    flat, target = voxels.reshape(-1), labels.reshape(-1)
    worst = 0.0
    for start in range(0, flat.size, _BLOCK_VOXELS):
        block = flat[start : start + _BLOCK_VOXELS]
        whole = np.rint(block)
        distance = np.abs(block - whole)
        worst = max(worst, float(distance.max()))
        if worst > ROUNDING_TOLERANCE:
            raise _not_labels(path, np.unique(block[distance > ROUNDING_TOLERANCE])[:_SHOWN_VALUES].tolist())
        target[start : start + _BLOCK_VOXELS] = whole
    return labels, worst


def _not_labels(path: Path, values: list[float]) -> DataError:
    return DataError(
        "This label map has values that are not labels.",
        file=path,
        found=", ".join(f"{value:g}" for value in values),
        expected=f"whole numbers (within {ROUNDING_TOLERANCE:g})",
        remedy="Save the mask again without interpolation; a probability map needs a threshold first.",
    )
