"""Images and label maps into files: atomic, verified by reading them back; the ending decides the format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autofuse.foundation.errors import DataError
from autofuse.images.geometry import Geometry
from autofuse.images.io import NIFTI_ENDINGS, VOLUME_ENDINGS, ending_of
from autofuse.images.nifti_write import write_nifti

_LABEL_TYPES = (np.uint8, np.int16, np.int32, np.int64)
_PICTURE_LABEL_TYPES = (np.uint8, np.uint16)


def write_image(path: str | Path, voxels: NDArray[Any], geometry: Geometry) -> None:
    """Write ``voxels``, (z, y, x) or (component, z, y, x), in their own type, on the grid ``geometry`` (LPS).

    Booleans become 8-bit integers and float16 becomes float32. PNG and TIFF keep no geometry.

    Raises:
        DataError: if voxels are NaN or infinite: nothing could be trusted to read such a file.
        ResourceError: if the disk is full or what is read back differs; an old file is untouched.
        ValueError: if voxels and geometry do not fit each other or the format.
    """
    path = Path(path)
    ending = ending_of(path)
    if voxels.ndim not in (3, 4) or voxels.shape[-3:] != geometry.shape:
        raise ValueError(f"voxels of shape {voxels.shape} do not fit a grid of shape {geometry.shape}")
    stored = {"?": np.uint8, "e": np.float32}.get(voxels.dtype.char)
    voxels = voxels if stored is None else voxels.astype(stored)
    if voxels.dtype.kind == "f" and not np.isfinite([voxels.min(), voxels.max()]).all():
        raise DataError("The image to be written has voxels that are NaN or infinite.", file=path)
    if ending in NIFTI_ENDINGS:
        write_nifti(path, voxels, geometry)
    else:
        from autofuse.images.foreign_write import write_foreign

        write_foreign(path, ending, voxels, geometry)


def write_labels(path: str | Path, voxels: NDArray[Any], geometry: Geometry) -> None:
    """Write a label map (z, y, x) of integers in the smallest type that holds them and that every viewer reads.

    Raises:
        ResourceError: as ``write_image``.
        TypeError: if ``voxels`` are not integers.
        ValueError: if the format cannot hold them, or they do not fit the geometry.
    """
    if voxels.dtype.kind not in "iub":
        raise TypeError(f"labels must be integers, not {voxels.dtype}")
    low, high = int(voxels.min()), int(voxels.max())
    types = _LABEL_TYPES if ending_of(Path(path)) in VOLUME_ENDINGS else _PICTURE_LABEL_TYPES
    fitting = [kind for kind in types if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max]
    if not fitting:
        raise ValueError(f"labels from {low} to {high} do not fit into a file of this format")
    write_image(path, voxels.astype(fitting[0], copy=False), geometry)
