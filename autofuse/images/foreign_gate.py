"""MetaImage, NRRD, PNG and TIFF files judged before SimpleITK sees them: self-contained, whole, not too large.

SimpleITK reads many damaged files without a word, and follows a header to any other file. Sources: MetaIO's
documentation (ITK), the NRRD format definition (teem.sourceforge.net/nrrd/format.html), the PNG specification (W3C).
"""

from __future__ import annotations

import math
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from autofuse.foundation.errors import DataError
from autofuse.images.bytestream import (
    AUTOMATIC,
    InflatedBytes,
    check_ratio,
    damaged,
    regular_file,
    trailing,
)
from autofuse.images.tiff_gate import tiff_sizes

_HEADER_BYTES = 1 << 16
"""A text header that is longer is not believed."""
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_PNG_GREY, _PNG_GREY_ALPHA = 0, 4
"""Grey of fewer than 8 bits would be stretched to 0 to 255 while it is read, so that labels change."""
_META_BYTES = {
    "MET_CHAR": 1, "MET_UCHAR": 1, "MET_SHORT": 2, "MET_USHORT": 2, "MET_INT": 4, "MET_UINT": 4, "MET_LONG": 4,
    "MET_ULONG": 4, "MET_LONG_LONG": 8, "MET_ULONG_LONG": 8, "MET_FLOAT": 4, "MET_DOUBLE": 8,
}  # fmt: skip
_NRRD_TYPES = {
    1: ("signed char", "int8", "int8_t", "uchar", "unsigned char", "uint8", "uint8_t"),
    2: ("short", "short int", "signed short", "signed short int", "int16", "int16_t", "ushort", "unsigned short",
        "unsigned short int", "uint16", "uint16_t"),
    4: ("int", "signed int", "int32", "int32_t", "uint", "unsigned int", "uint32", "uint32_t", "float"),
    8: ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t",
        "ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t", "double"),
}  # fmt: skip
_NRRD_BYTES = {name: size for size, names in _NRRD_TYPES.items() for name in names}


@dataclass(frozen=True)
class _Payload:
    """What a text header declares of the data behind it."""

    sizes: tuple[int, ...]
    voxel_bytes: int
    compressed: bool
    offset: int


def check_foreign(path: Path, ending: str, max_voxels: int, *, voxels: bool = True) -> None:
    """Return if the file may be handed to SimpleITK; ``voxels``: check the data, not only the header.

    Raises:
        DataError: if it is not self-contained, damaged, cut off, too large, or of a kind that is not read.
    """
    with regular_file(path) as stream:
        if ending in (".tif", ".tiff"):
            check_size(tiff_sizes(stream, path), max_voxels, path)
        elif ending == ".png":
            _check_png(stream, path, max_voxels)
        elif ending in (".mha", ".nrrd"):
            payload = (_meta_payload if ending == ".mha" else _nrrd_payload)(stream.read(_HEADER_BYTES), path)
            _check_payload(stream, payload, path, max_voxels, voxels=voxels)


def _check_payload(stream: BinaryIO, payload: _Payload, path: Path, max_voxels: int, *, voxels: bool) -> None:
    check_size(payload.sizes, max_voxels, path)
    declared = math.prod(payload.sizes) * payload.voxel_bytes
    present = os.fstat(stream.fileno()).st_size - payload.offset
    if not payload.compressed:
        if present != declared:
            raise damaged(path, f"{present} bytes of voxels instead of {declared}")
        return
    check_ratio(present, declared, path)
    if not voxels:
        return
    stream.seek(payload.offset)
    source = InflatedBytes(stream, path, AUTOMATIC)
    scratch = memoryview(bytearray(min(declared, 1 << 19)))
    while declared:
        view = scratch[: min(declared, len(scratch))]
        if source.fill(view) < len(view):
            raise damaged(path, f"{declared} bytes of voxels are missing")
        declared -= len(view)
    source.finish()


def check_size(sizes: tuple[int, ...], max_voxels: int, path: Path) -> None:
    """Refuse impossible or too many voxels.

    Raises:
        DataError: if a size is below 1 or their product above ``max_voxels``.
    """
    if not sizes or min(sizes) < 1 or math.prod(sizes) > max_voxels:
        raise DataError(
            "The header declares an impossible size or more voxels than are accepted.",
            file=path,
            found=" x ".join(map(str, sizes)) or "no sizes",
            expected=f"1 to {max_voxels} voxels",
            remedy="Copy the file from its source again; if it really is that large, crop it or raise max_voxels.",
        )


def _meta_payload(start: bytes, path: Path) -> _Payload:
    """A MetaImage header: lines ``Key = Value``; ElementDataFile ends it."""
    fields: dict[str, str] = {}
    position = 0
    while "ElementDataFile" not in fields:
        end = start.find(b"\n", position)
        key, found, value = start[position:end].decode("latin-1").partition("=")
        if end < 0 or not found:
            raise _not_readable(path, "its header is not that of a MetaImage")
        fields[key.strip()] = value.strip()
        position = end + 1
    if fields["ElementDataFile"].upper() != "LOCAL":
        raise _not_readable(path, f"its voxels lie in another file ({fields['ElementDataFile'][:80]!r})")
    if fields.get("BinaryData", "True").lower() not in ("true", "1") or fields.get("HeaderSize", "0") != "0":
        raise _not_readable(path, "its voxels are text, or stand at a place that it does not say")
    kind = fields.get("ElementType", "")
    if kind not in _META_BYTES:
        raise _not_readable(path, f"its voxel type is {kind[:40]!r}")
    sizes = (*_numbers(fields.get("DimSize", ""), path), *_numbers(fields.get("ElementNumberOfChannels", "1"), path))
    return _Payload(sizes, _META_BYTES[kind], fields.get("CompressedData", "False").lower() in ("true", "1"), position)


def _nrrd_payload(start: bytes, path: Path) -> _Payload:
    """An NRRD header: a magic line, lines ``field: value``, a blank line."""
    if not start.startswith(b"NRRD000"):
        raise _not_readable(path, "its header is not that of an NRRD file")
    ends = [(start.find(mark), len(mark)) for mark in (b"\n\n", b"\r\n\r\n")]
    end, width = min(((at, size) for at, size in ends if at >= 0), default=(-1, 0))
    if end < 0:
        raise _not_readable(path, "its header does not end")
    fields: dict[str, str] = {}
    for line in start[:end].decode("latin-1").splitlines()[1:]:
        key, _, value = line.partition(":")
        if not line.startswith("#") and not value.startswith("="):
            fields[key.strip().lower()] = value.strip()
    if "data file" in fields or "datafile" in fields:
        raise _not_readable(path, "its voxels lie in another file")
    if any(fields.get(key, "0") != "0" for key in ("line skip", "lineskip", "byte skip", "byteskip")):
        raise _not_readable(path, "its voxels stand behind other data")
    encoding, kind = fields.get("encoding", "").lower(), fields.get("type", "").lower()
    if encoding not in ("raw", "gzip", "gz") or kind not in _NRRD_BYTES:
        raise _not_readable(path, f"its encoding is {encoding[:40]!r} and its type {kind[:40]!r}")
    return _Payload(_numbers(fields.get("sizes", ""), path), _NRRD_BYTES[kind], encoding != "raw", end + width)


def _numbers(text: str, path: Path) -> tuple[int, ...]:
    words = text.split()
    if not words or not all(word.isascii() and word.isdigit() and len(word) < 12 for word in words):
        raise _not_readable(path, f"its sizes are {text[:80]!r}")
    return tuple(map(int, words))


def _check_png(stream: BinaryIO, path: Path, max_voxels: int) -> None:
    """Every chunk's CRC, from IHDR to IEND, and nothing behind."""
    if stream.read(8) != _PNG_MAGIC:
        raise _not_readable(path, "it does not begin like a PNG")
    kind, first = b"", True
    left = os.fstat(stream.fileno()).st_size - 8
    while kind != b"IEND":
        head = stream.read(8)
        length, kind = struct.unpack(">I4s", head) if len(head) == 8 else (left, b"")
        left -= 12 + length
        if left < 0:
            raise damaged(path, "it ends before its last chunk")
        body = stream.read(length)
        if zlib.crc32(kind + body) != struct.unpack(">I", stream.read(4))[0]:
            raise damaged(path, f"the checksum of chunk {kind!r} is wrong")
        if first:
            if kind != b"IHDR" or length != 13:
                raise damaged(path, "it does not begin with its size")
            width, length, bits, colour = struct.unpack_from(">IIBB", body)
            check_size((width, length), max_voxels, path)
            if (bits < 8 and colour == _PNG_GREY) or colour == _PNG_GREY_ALPHA:
                raise _not_readable(path, f"it has {bits} bits a pixel, PNG colour type {colour}")
            first = False
    if left:
        raise trailing(path)


def _not_readable(path: Path, found: str) -> DataError:
    return DataError(
        "This file is not of a kind that is read.",
        file=path,
        found=found,
        expected="one self-contained file of integers or floats, raw or gzip-compressed",
        remedy="Convert it to .nii.gz.",
    )
