"""MetaImage, NRRD, PNG and TIFF images: gated, read by SimpleITK in its own process, and judged like NIfTI."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autofuse.foundation.errors import DataError
from autofuse.images.axes import Affine, check_axes, geometry_from
from autofuse.images.foreign import ask_reader
from autofuse.images.foreign_gate import check_foreign
from autofuse.images.geometry import Geometry
from autofuse.images.image import Image
from autofuse.images.nonfinite import NonFinite
from autofuse.images.room import room_for

READERS = {
    ".mha": "MetaImageIO",
    ".nrrd": "NrrdImageIO",
    ".png": "PNGImageIO",
    ".tif": "TIFFImageIO",
    ".tiff": "TIFFImageIO",
}
WITHOUT_GEOMETRY = (".png", ".tif", ".tiff")
"""Formats whose resolution (dots per inch of a printer) says nothing about the patient."""
_BLOCK_VOXELS = 1 << 18


@dataclass(frozen=True)
class ForeignHeader:
    """Shape as read, (z, y, x) or (component, z, y, x), stored type and geometry."""

    shape: tuple[int, ...]
    stored: np.dtype[Any]
    geometry: Geometry

    def dtype(self, *, exact: bool = False) -> np.dtype[Any]:
        """Type of the voxels in memory: integers as stored, floats as float32 (``exact``: as stored)."""
        return np.dtype(np.float32) if self.stored.kind == "f" and not exact else self.stored


def foreign_header(path: Path, ending: str, *, max_voxels: int, limit_s: float) -> ForeignHeader:
    """What the file's header says.

    Raises:
        DataError: if it is damaged or of a kind that is not read.
    """
    check_foreign(path, ending, max_voxels, voxels=False)
    answer, _ = ask_reader(path, READERS[ending], max_voxels, limit_s, voxels=False)
    return _header_of(answer, ending, path)


def read_foreign(
    path: Path,
    ending: str,
    *,
    max_voxels: int,
    limit_s: float,
    allow_nonfinite: bool = False,
    exact: bool = False,
) -> Image:
    """The image in the file: (z, y, x) or (component, z, y, x), LPS; integers as stored, floats as float32.

    Raises:
        DataError: if it is damaged, hostile, of a kind that is not read, or not finite.
        ResourceError: if the memory does not suffice.
    """
    check_foreign(path, ending, max_voxels)
    answer, stored = ask_reader(path, READERS[ending], max_voxels, limit_s, voxels=True)
    assert stored is not None
    header = _header_of(answer, ending, path)
    components_first = np.moveaxis(stored, -1, 0) if answer["components"] > 1 else stored
    voxels = np.ascontiguousarray(components_first).reshape(header.shape)
    if voxels.dtype.kind != "f":
        return Image(voxels, header.geometry)
    tally, flat = NonFinite(header.shape), voxels.reshape(-1)
    target = flat if flat.dtype == header.dtype(exact=exact) else room_for(flat.size, header.dtype(exact=exact), path)
    for start in range(0, flat.size, _BLOCK_VOXELS):
        part = slice(start, start + _BLOCK_VOXELS)
        with np.errstate(over="ignore"):  # overflow becomes infinity, which is counted
            target[part] = flat[part]
        tally.look(start, target[part])
    if tally.count and not allow_nonfinite:
        raise tally.error(path)
    return Image(target.reshape(header.shape), header.geometry, (tally.sentence(),) if tally.count else ())


def _header_of(answer: dict[str, Any], ending: str, path: Path) -> ForeignHeader:
    """Sizes are x, y, z, t as SimpleITK gives them; one of components and t may be more than one."""
    size = [*answer["size"], 1, 1][:4]
    components = answer["components"]
    if min(components, size[3]) > 1 or len(answer["size"]) > 4:
        raise DataError(
            "The image has more than four axes.",
            file=path,
            found=f"{' x '.join(map(str, answer['size']))} voxels of {components} components",
            expected="x, y, z and at most one axis of components",
            remedy="Save the components along the fourth axis, or each in a file of its own.",
        )
    x, y, z, t = size
    count = max(components, t)
    shape = (count, z, y, x) if count > 1 else (z, y, x)
    return ForeignHeader(shape, np.dtype(answer["dtype"]), _geometry_of(answer, (z, y, x), ending, path))


def _geometry_of(answer: dict[str, Any], shape: tuple[int, int, int], ending: str, path: Path) -> Geometry:
    if ending in WITHOUT_GEOMETRY:
        return Geometry(shape)
    axes = len(answer["size"])
    kept = min(axes, 3)
    affine: Affine = np.eye(4)
    direction = np.reshape(np.asarray(answer["direction"], dtype=float), (axes, axes))
    affine[:kept, :kept] = direction[:kept, :kept] * np.asarray(answer["spacing"][:kept])
    affine[:kept, 3] = answer["origin"][:kept]
    with np.errstate(all="ignore"):
        check_axes(affine, "position and orientation", path)
    return geometry_from(affine, shape)
