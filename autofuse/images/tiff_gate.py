"""TIFF files judged before SimpleITK sees them: only layouts that it is known to read right.

ITK converts what it does not handle itself (tiles, palettes, one-bit masks) to colours without a word. Source: TIFF 6.0
(Adobe) and BigTIFF. TIFF has no checksum: damage inside uncompressed voxels cannot be noticed.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from autofuse.foundation.errors import DataError
from autofuse.images.bytestream import damaged

_WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_ORIENTATION, _SAMPLES, _PLANAR, _TILE_WIDTH, _FORMAT = 274, 277, 284, 322, 339
_DEFAULTS = {_BITS: (1,), _COMPRESSION: (1,), _ORIENTATION: (1,), _SAMPLES: (1,), _PLANAR: (1,), _FORMAT: (1,)}
_ALLOWED = {
    _COMPRESSION: ((1, 5, 8, 32773, 32946), "compression (raw, LZW, deflate and PackBits are read)"),
    _PHOTOMETRIC: ((1, 2), "colour model (grey with black as 0, and RGB are read)"),
    _ORIENTATION: ((1,), "orientation (rows from the top are read)"),
    _SAMPLES: ((1, 3, 4), "number of components"),
    _PLANAR: ((1,), "arrangement of components"),
}
_TYPE_SIZES = {1: ("B", 1), 3: ("H", 2), 4: ("I", 4), 16: ("Q", 8)}
_KINDS = {(8, 1), (16, 1), (32, 1), (8, 2), (16, 2), (32, 2), (32, 3)}
"""(bits, sample format: 1 unsigned, 2 signed, 3 float) that are read."""
_MOST_PAGES = 1 << 16
_MOST_TAGS = 1 << 10

_Tags = dict[int, tuple[int, ...]]


def tiff_sizes(stream: BinaryIO, path: Path) -> tuple[int, ...]:
    """Width, length, components and pages.

    Raises:
        DataError: if the file is damaged, its pages differ, or its layout is not one that is read.
    """
    order, big, position = _start(stream, path)
    seen: set[int] = set()
    first: tuple[int, ...] | None = None
    while position:
        if position in seen or len(seen) >= _MOST_PAGES:
            raise damaged(path, "its pages run in a circle")
        seen.add(position)
        tags, position = _page(stream, order, big, position, path)
        sizes = _judged(tags, path)
        if first is not None and sizes != first:
            raise _refused(path, "pages of different sizes")
        first = sizes
    if first is None:
        raise damaged(path, "it has no page")
    return (*first, len(seen))


def _start(stream: BinaryIO, path: Path) -> tuple[str, bool, int]:
    """Byte order, whether it is BigTIFF, and where the first page's tags stand."""
    head = stream.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2], "")
    if len(head) < 16 or not order:
        raise _refused(path, "a file that does not begin like a TIFF")
    version = struct.unpack_from(order + "H", head, 2)[0]
    if version == 42:
        return order, False, struct.unpack_from(order + "I", head, 4)[0]
    if version == 43 and struct.unpack_from(order + "HH", head, 4) == (8, 0):
        return order, True, struct.unpack_from(order + "Q", head, 8)[0]
    raise _refused(path, "a file that does not begin like a TIFF")


def _page(stream: BinaryIO, order: str, big: bool, position: int, path: Path) -> tuple[_Tags, int]:
    """The whole-number tags of a page (first values only), and where the next page's tags stand."""
    count_form, entry_bytes, value_offset, next_form = ("Q", 20, 12, "Q") if big else ("H", 12, 8, "I")
    (count,) = _numbers(stream, order + count_form, position, path)
    position += struct.calcsize(count_form)
    if not 0 < count <= _MOST_TAGS:
        raise damaged(path, f"a page has {count} tags")
    tags: _Tags = {}
    for start in range(position, position + count * entry_bytes, entry_bytes):
        tag, kind, length = _numbers(stream, order + ("HHQ" if big else "HHI"), start, path)
        if kind not in _TYPE_SIZES or not length:
            continue
        form, size = _TYPE_SIZES[kind]
        length = min(length, 4)
        place = start + value_offset
        if length * size > entry_bytes - value_offset:
            (place,) = _numbers(stream, order + next_form, place, path)
        if tag in _DEFAULTS or tag in (_WIDTH, _LENGTH, _PHOTOMETRIC, _TILE_WIDTH):
            tags[tag] = _numbers(stream, f"{order}{length}{form}", place, path)
    (following,) = _numbers(stream, order + next_form, position + count * entry_bytes, path)
    return tags, following


def _judged(tags: _Tags, path: Path) -> tuple[int, ...]:
    """Width, length and components of a page whose layout is read."""
    tags = {**_DEFAULTS, **tags}
    if not {_WIDTH, _LENGTH, _PHOTOMETRIC} <= set(tags):
        raise damaged(path, "a page does not say its size")
    if _TILE_WIDTH in tags:
        raise _refused(path, "voxels in tiles")
    for tag, (allowed, what) in _ALLOWED.items():
        if tags[tag][0] not in allowed:
            raise _refused(path, f"{what}: code {tags[tag][0]}")
    kinds = {(bits, tags[_FORMAT][0]) for bits in tags[_BITS]}
    if len(kinds) != 1 or not kinds <= _KINDS:
        raise _refused(path, f"voxels of {tags[_BITS]} bits, sample format {tags[_FORMAT][0]}")
    return tags[_WIDTH][0], tags[_LENGTH][0], tags[_SAMPLES][0]


def _numbers(stream: BinaryIO, form: str, position: int, path: Path) -> tuple[int, ...]:
    size = struct.calcsize(form)
    if position < 1 << 62:
        stream.seek(position)
        content = stream.read(size)
        if len(content) == size:
            return struct.unpack(form, content)
    raise damaged(path, "its tags point behind its end")


def _refused(path: Path, found: str) -> DataError:
    return DataError(
        "This TIFF is of a kind that is not read.",
        file=path,
        found=found,
        expected="8- to 32-bit integers or float32, grey or RGB, in strips",
        remedy="Save it as a plain TIFF, PNG or .nii.gz.",
    )
