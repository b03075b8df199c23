"""The end of a zip file (PKWARE's APPNOTE 6.3, sections 4.3.14 to 4.3.16): how many entries there are, before any is
listed. zipfile reads the whole list first, however long it is."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_LARGE_END = struct.Struct("<4sQ2H2L4Q")
_END_SIGN, _LOCATOR_SIGN, _LARGE_END_SIGN = b"PK\x05\x06", b"PK\x06\x07", b"PK\x06\x06"


@dataclass(frozen=True)
class EndRecord:
    """What a zip file says at its end.

    Attributes:
        entries: how many it lists.
        listing_bytes: of the list.
        surplus_bytes: that stand before the first entry, or between list and end; 0 in a plain archive.
    """

    entries: int
    listing_bytes: int
    surplus_bytes: int


def read_end_record(path: Path) -> EndRecord | None:
    """The end record; None where the file does not end with one (truncated, followed by anything, no zip file)."""
    size = path.stat().st_size
    tail_bytes = _END.size + _LOCATOR.size + _LARGE_END.size
    with path.open("rb") as stream:
        stream.seek(max(0, size - tail_bytes))
        tail = stream.read(tail_bytes)
    if len(tail) < _END.size:
        return None
    sign, _, _, here, entries, listing, start, comment = _END.unpack(tail[-_END.size :])
    if sign != _END_SIGN or comment or here != entries:
        return None
    end = size - _END.size
    if tail[-_END.size - _LOCATOR.size :][:4] == _LOCATOR_SIGN:
        found = _large(tail[: -_END.size - _LOCATOR.size])
        if found is None:
            return None
        entries, listing, start = found
        end -= _LOCATOR.size + _LARGE_END.size
    return EndRecord(entries, listing, abs(end - listing - start))


def _large(tail: bytes) -> tuple[int, int, int] | None:
    """Entries, bytes of the list and its place, from the record of archives over 4 GiB."""
    if len(tail) < _LARGE_END.size:
        return None
    sign, _, _, _, _, _, here, entries, listing, start = _LARGE_END.unpack(tail[-_LARGE_END.size :])
    return (entries, listing, start) if sign == _LARGE_END_SIGN and here == entries else None
