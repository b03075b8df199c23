"""NIfTI-1 and NIfTI-2 images, read strictly: whole and checksummed, or refused with the reason."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from autofuse.foundation.errors import DataError
from autofuse.images.bytestream import (
    GZIP_MAGIC,
    InflatedBytes,
    PlainBytes,
    check_ratio,
    damaged,
    regular_file,
    trailing,
)
from autofuse.images.geometry import Geometry
from autofuse.images.image import Image
from autofuse.images.nifti_geometry import geometry_of
from autofuse.images.nifti_header import (
    MAX_VOXELS,
    NIFTI1_BYTES,
    NIFTI2_BYTES,
    NiftiHeader,
    parse_header,
    remedy_for,
)
from autofuse.images.nonfinite import NonFinite
from autofuse.images.room import room_for

_Voxels = NDArray[Any]
_HEADER_SIZES = tuple(struct.pack(order + "i", size) for size in (NIFTI1_BYTES, NIFTI2_BYTES) for order in "<>")

_BLOCK_VOXELS = 1 << 17
"""Voxels converted at a time: raw and converted block stay in the cache."""


@dataclass(frozen=True)
class OpenNifti:
    """A NIfTI file whose header and size are sound, about to give its voxels.

    Attributes:
        header, geometry, warnings: what the header says.
        source: stands at the first voxel.
    """

    header: NiftiHeader
    geometry: Geometry
    warnings: tuple[str, ...]
    source: PlainBytes | InflatedBytes


@contextmanager
def open_nifti(path: Path, *, max_voxels: int = MAX_VOXELS) -> Iterator[OpenNifti]:
    """The file, opened and judged up to its first voxel.

    Raises:
        DataError: if header, geometry or size are wrong, or compression and ending disagree.
    """
    with regular_file(path) as stream:
        zipped = _is_gzip(stream, path)
        source = InflatedBytes(stream, path) if zipped else PlainBytes(stream, path)
        start = _header_bytes(source)
        header = parse_header(start, path, max_voxels=max_voxels)
        geometry, oddities = geometry_of(header, path)
        size, declared = os.fstat(stream.fileno()).st_size, header.offset + header.data_bytes
        if zipped:
            check_ratio(size, declared, path)
        elif size != declared:
            raise damaged(path, f"{size} bytes instead of {declared}") if size < declared else trailing(path)
        _skip(source, header.offset - len(start), path)
        yield OpenNifti(header, geometry, oddities, source)


def read_nifti(
    path: Path, *, max_voxels: int = MAX_VOXELS, allow_nonfinite: bool = False, exact: bool = False
) -> Image:
    """The image in a ``.nii`` or ``.nii.gz`` file: (z, y, x) or (component, z, y, x), LPS.

    Integers keep their type; scaled and floating voxels become float32, or float64 where ``exact`` values need it.

    Raises:
        DataError: if the file is damaged or hostile, or voxels are NaN or infinite.
        ResourceError: if the memory does not suffice.
    """
    with open_nifti(path, max_voxels=max_voxels) as opened:
        header = opened.header
        flat = room_for(header.voxels, header.dtype(exact=exact), path)
        tally = NonFinite(header.shape)
        for start, part in _filled_blocks(opened, flat, path):
            if flat.dtype.kind == "f":
                tally.look(start, part)
        opened.source.finish()
    if tally.count and not allow_nonfinite:
        raise tally.error(path)
    warnings = (*opened.warnings, tally.sentence()) if tally.count else opened.warnings
    return Image(flat.reshape(header.shape), opened.geometry, warnings)


def voxel_crc(path: Path) -> tuple[OpenNifti, int]:
    """What the header says and the CRC-32 of the stored voxels, the whole file checked; needs no memory for them.

    Raises:
        DataError: if the file is damaged.
    """
    with open_nifti(path) as opened:
        left, crc = opened.header.data_bytes, 0
        scratch = memoryview(bytearray(min(left, 1 << 20)))
        while left:
            view = scratch[: min(left, len(scratch))]
            if opened.source.fill(view) < len(view):
                raise damaged(path, f"{left} bytes of voxels are missing")
            crc = zlib.crc32(view, crc)
            left -= len(view)
        opened.source.finish()
    return opened, crc


def _is_gzip(stream: BinaryIO, path: Path) -> bool:
    """Whether the content is gzip, which the ending must say too. Leaves the stream at its beginning."""
    start = stream.read(NIFTI1_BYTES)
    stream.seek(0)
    named, zipped = path.name.lower().endswith(".gz"), start.startswith(GZIP_MAGIC)
    if zipped and not named:
        raise DataError(
            "This file is compressed with gzip, but its name does not end in .gz.",
            file=path,
            remedy=f"Rename it to {path.name}.gz.",
        )
    if named and not zipped:
        plain = start[:4] in _HEADER_SIZES
        raise DataError(
            "The name of this file ends in .gz, but its content is not gzip.",
            file=path,
            found=f"bytes beginning with {start[:24]!r}",
            expected="the gzip magic 1f 8b",
            remedy=f"Rename it to {path.name[:-3]}." if plain else remedy_for(start),
        )
    return zipped


def _header_bytes(source: PlainBytes | InflatedBytes) -> bytes:
    """348 bytes, or 540 where they begin like NIfTI-2; fewer if there are no more."""
    start = bytearray(NIFTI2_BYTES)
    view = memoryview(start)
    count = source.fill(view[:NIFTI1_BYTES])
    if start[:4] in _HEADER_SIZES[2:]:
        count += source.fill(view[NIFTI1_BYTES:])
    return bytes(start[:count])


def _skip(source: PlainBytes | InflatedBytes, count: int, path: Path) -> None:
    """Pass over header extensions."""
    scratch = memoryview(bytearray(min(count, 1 << 20)))
    while count:
        view = scratch[: min(count, len(scratch))]
        if source.fill(view) < len(view):
            raise damaged(path, "it ends before the first voxel")
        count -= len(view)


def _filled_blocks(opened: OpenNifti, flat: _Voxels, path: Path) -> Iterator[tuple[int, _Voxels]]:
    """Fill ``flat`` with intensities, yielding each block (a view) and where it starts once it is filled."""
    header = opened.header
    stored = np.dtype(header.stored)
    direct = flat.dtype == stored and not header.scaled
    scratch = np.empty(0 if direct else _BLOCK_VOXELS, stored)
    for start in range(0, flat.size, _BLOCK_VOXELS):
        part = flat[start : start + _BLOCK_VOXELS]
        raw = part if direct else scratch[: part.size]
        view = raw.view(np.uint8).data
        if (count := opened.source.fill(view)) < len(view):
            missing = header.data_bytes - start * stored.itemsize - count
            raise damaged(path, f"{missing} of {header.data_bytes} bytes of voxels are missing")
        if not direct:
            _convert(raw, part, header)
        yield start, part


def _convert(raw: _Voxels, part: _Voxels, header: NiftiHeader) -> None:
    """Stored values to intensities: byte order, slope and intercept (in float64, as nibabel does), float32."""
    with np.errstate(over="ignore", invalid="ignore"):  # overflow becomes infinity, which is counted afterwards
        if header.scaled:
            values = np.multiply(raw, header.slope, dtype=np.float64)
            values += header.intercept
            part[...] = values
        else:
            part[...] = raw
