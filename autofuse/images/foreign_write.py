"""MetaImage, NRRD, PNG and TIFF files: written by SimpleITK, and read back by the reading process before they count."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autofuse.foundation.errors import DataError
from autofuse.foundation.files import write_atomically
from autofuse.images.foreign_read import READERS, WITHOUT_GEOMETRY, read_foreign
from autofuse.images.geometry import Geometry

VERIFY_LIMIT_S = 300.0
_PICTURE_TYPES = {".png": ("uint8", "uint16"), ".tif": ("uint8", "uint16", "float32")}
_PICTURE_COMPONENTS = (1, 3, 4)


def write_foreign(path: Path, ending: str, voxels: NDArray[Any], geometry: Geometry) -> None:
    """Write ``voxels``, (z, y, x) or (component, z, y, x), to ``path``, atomically, and verify them.

    Raises:
        ResourceError: if the disk is full, or what is read back differs; the old file is untouched.
        ValueError: if the format cannot hold them.
    """
    if ending in WITHOUT_GEOMETRY:
        _check_picture(voxels, ending)
    content = np.ascontiguousarray(voxels, voxels.dtype.newbyteorder("="))

    def fill(temp: Path) -> None:
        _write(temp, ending, content, geometry)

    def verify(temp: Path) -> None:
        _verify(temp, ending, content, geometry)

    write_atomically(path, fill, verify)


def _check_picture(voxels: NDArray[Any], ending: str) -> None:
    kinds = _PICTURE_TYPES[ending[:4]]
    components = voxels.shape[0] if voxels.ndim == 4 else 1
    if voxels.shape[-3] != 1 or components not in _PICTURE_COMPONENTS or voxels.dtype.name not in kinds:
        raise ValueError(
            f"{ending} holds one slice of {' or '.join(kinds)} with 1, 3 or 4 components, "
            f"not {voxels.dtype} of shape {voxels.shape}"
        )


def _write(temp: Path, ending: str, voxels: NDArray[Any], geometry: Geometry) -> None:
    sitk: Any = import_module("SimpleITK")  # 0.7 s; its type hints are incomplete

    has_components = voxels.ndim == 4
    content = np.moveaxis(voxels, 0, -1) if has_components else voxels
    if ending in WITHOUT_GEOMETRY:
        image = sitk.GetImageFromArray(content[0], isVector=has_components)
    else:
        image = sitk.GetImageFromArray(content, isVector=has_components)
        image.SetSpacing(geometry.spacing_mm[::-1])
        image.SetOrigin(geometry.origin_mm)
        image.SetDirection([part for row in geometry.direction for part in reversed(row)])
    writer = sitk.ImageFileWriter()
    writer.SetImageIO(READERS[ending])
    writer.SetFileName(str(temp))
    writer.SetUseCompression(True)
    try:
        writer.Execute(image)
    except RuntimeError as error:
        raise OSError(" ".join(str(error).split())[-300:]) from error


def _verify(temp: Path, ending: str, voxels: NDArray[Any], geometry: Geometry) -> None:
    try:
        limits: dict[str, Any] = {"max_voxels": voxels.size, "limit_s": VERIFY_LIMIT_S}
        image = read_foreign(temp, ending, exact=True, **limits)
    except DataError as error:
        raise OSError(f"what was written cannot be read back: {error}") from error
    one_component = voxels[0] if voxels.ndim == 4 and voxels.shape[0] == 1 else voxels
    if image.voxels.dtype != voxels.dtype or not np.array_equal(image.voxels, one_component):
        raise OSError("the voxels that were read back are not those that were written")
    if ending not in WITHOUT_GEOMETRY and not geometry.same_grid(image.geometry, geometry.rounding_mm()):
        raise OSError("the geometry that was read back is not the one that was written")
