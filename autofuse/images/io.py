"""Images and label maps from files and back, whatever the format: the ending decides."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autofuse.foundation.errors import DataError
from autofuse.images.geometry import Geometry
from autofuse.images.image import Image
from autofuse.images.labels import to_labels
from autofuse.images.nifti_header import MAX_VOXELS
from autofuse.images.nifti_read import open_nifti, read_nifti

NIFTI_ENDINGS = (".nii.gz", ".nii")
VOLUME_ENDINGS = (*NIFTI_ENDINGS, ".mha", ".nrrd")
SUPPORTED_ENDINGS = (*VOLUME_ENDINGS, ".png", ".tif", ".tiff")
READ_TIME_LIMIT_S = 60.0

_REFUSED_ENDINGS = {
    ".hdr": "a NIfTI or Analyze header whose voxels lie in another file",
    ".img": "the voxels of a NIfTI or Analyze pair",
    ".mnc": "MINC",
    ".mgz": "FreeSurfer's own format",
    ".mgh": "FreeSurfer's own format",
    ".mhd": "a MetaImage header whose voxels lie in another file",
    ".nhdr": "an NRRD header whose voxels lie in another file",
    ".dcm": "one slice of a DICOM series (`autofuse from-dicom` reads those)",
    ".jpg": "JPEG, which loses detail",
    ".jpeg": "JPEG, which loses detail",
}


@dataclass(frozen=True)
class Header:
    """What is known of an image file without reading its voxels.

    Attributes:
        geometry: of the three spatial axes.
        components: values per voxel; 1 for an image that is read as (z, y, x).
        dtype: of the voxels as ``read_image`` gives them.
        ending: of the file's name, lower case.
        warnings: what is odd about the header.
    """

    geometry: Geometry
    components: int
    dtype: np.dtype[Any]
    ending: str
    warnings: tuple[str, ...] = ()


def ending_of(path: Path) -> str:
    """The ending that decides the format, lower case.

    Raises:
        DataError: if it is none of ``SUPPORTED_ENDINGS``.
    """
    name = path.name.lower()
    for ending in SUPPORTED_ENDINGS:
        if name.endswith(ending):
            return ending
    plain = name.removesuffix(".gz")
    kind = next((what for ending, what in _REFUSED_ENDINGS.items() if plain.endswith(ending)), None)
    raise DataError(
        "Image files with this ending are not read.",
        file=path,
        found=kind or f"ending {path.suffix!r}",
        expected="one of " + ", ".join(SUPPORTED_ENDINGS),
        remedy="Convert it to .nii.gz.",
    )


def read_header(path: str | Path, *, max_voxels: int = MAX_VOXELS, limit_s: float = READ_TIME_LIMIT_S) -> Header:
    """Geometry, components and type of the image in ``path``; no voxel is read.

    Raises:
        DataError: if the header is damaged or of a kind that is not read.
    """
    path = Path(path)
    ending = ending_of(path)
    if ending in NIFTI_ENDINGS:
        with open_nifti(path, max_voxels=max_voxels) as opened:
            shape, dtype = opened.header.shape, opened.header.dtype()
            geometry, warnings = opened.geometry, opened.warnings
    else:
        from autofuse.images.foreign_read import foreign_header

        header = foreign_header(path, ending, max_voxels=max_voxels, limit_s=limit_s)
        shape, dtype, geometry, warnings = header.shape, header.dtype(), header.geometry, ()
    return Header(geometry, shape[0] if len(shape) == 4 else 1, dtype, ending, warnings)


def read_image(
    path: str | Path,
    *,
    max_voxels: int = MAX_VOXELS,
    allow_nonfinite: bool = False,
    limit_s: float = READ_TIME_LIMIT_S,
) -> Image:
    """The image in ``path``: (z, y, x) or (component, z, y, x), LPS.

    Integers keep their type; scaled and floating voxels become float32. Nothing is read that is damaged or cut off,
    whose checksum is wrong, or whose axes are sheared; what was odd but safe stands in ``warnings``.

    Args:
        max_voxels: larger images are refused before they are read.
        allow_nonfinite: keep NaN and infinite voxels, and warn.
        limit_s: time after which reading a format other than NIfTI is given up.

    Raises:
        DataError: if the file is damaged, hostile, of a kind that is not read, or has NaN or infinite voxels.
        ResourceError: if the memory does not suffice.
    """
    return _read(Path(path), max_voxels, limit_s, allow_nonfinite=allow_nonfinite, exact=False)


def read_label_image(path: str | Path, *, max_voxels: int = MAX_VOXELS, limit_s: float = READ_TIME_LIMIT_S) -> Image:
    """The label map in ``path``: whole numbers, (z, y, x), in the smallest signed integer type that holds them.

    Raises:
        DataError: as ``read_image``, or if values are not whole numbers within 1e-3, or a voxel has several.
        ResourceError: if the memory does not suffice.
    """
    path = Path(path)
    return to_labels(_read(path, max_voxels, limit_s, allow_nonfinite=False, exact=True), path)


def _read(path: Path, max_voxels: int, limit_s: float, *, allow_nonfinite: bool, exact: bool) -> Image:
    ending = ending_of(path)
    if ending in NIFTI_ENDINGS:
        return read_nifti(path, max_voxels=max_voxels, allow_nonfinite=allow_nonfinite, exact=exact)
    from autofuse.images.foreign_read import read_foreign

    return read_foreign(
        path, ending, max_voxels=max_voxels, limit_s=limit_s, allow_nonfinite=allow_nonfinite, exact=exact
    )
