"""Exactly as many bytes as were asked for, from plain, gzip or zlib data, with every checksum checked.

zlib verifies CRC-32 and length of each gzip member (Adler-32 of a zlib stream) only if the stream is read to its end;
``finish`` insists on that, and on nothing coming after it.
"""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from autofuse.foundation.errors import DataError

GZIP_MAGIC = b"\x1f\x8b"
GZIP, AUTOMATIC = 31, 47
"""Values of zlib's ``wbits``: a gzip member; a gzip member or a zlib stream, whichever it begins like."""
LARGEST_RATIO = 1032
"""Deflate cannot expand a byte further than this (zlib.net/zlib_tech.html)."""
BOMB_RATIO, BOMB_BYTES = 1000, 1 << 30
"""More than 1 GiB, all of it practically one value: no image, whatever its header says."""
EMPTY_MEMBERS = 16
"""Gzip members without content that are believed; BGZF ends with one."""
_READ_BYTES = 1 << 16
_PIECE_BYTES = 1 << 19


@contextmanager
def regular_file(path: Path) -> Iterator[BinaryIO]:
    """The file opened for reading, if it is a regular, non-empty file; a pipe or device is refused without waiting.

    Raises:
        DataError: if it is missing, something else, empty, or cannot be read.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        problem = "This file does not exist." if isinstance(error, FileNotFoundError) else "This file cannot be opened."
        raise DataError(problem, file=path, found=str(error), remedy="Check the path and its permissions.") from None
    facts = os.fstat(handle)
    if not stat.S_ISREG(facts.st_mode):
        os.close(handle)
        raise DataError("This is not a regular file.", file=path, expected="an image file")
    with os.fdopen(handle, "rb", buffering=0) as stream:
        if facts.st_size == 0:
            raise DataError("This file is empty.", file=path, remedy="Copy the file again from its source.")
        try:
            yield stream
        except OSError as error:
            raise DataError("This file cannot be read.", file=path, found=str(error)) from error


class PlainBytes:
    """Uncompressed bytes from where ``stream`` stands to the end of the file."""

    def __init__(self, stream: BinaryIO, path: Path) -> None:
        self._stream = stream
        self._path = path

    def fill(self, view: memoryview) -> int:
        """Put the next bytes into ``view``; returns how many there were, fewer only at the end of the file."""
        filled = 0
        while filled < len(view) and (count := self._stream.readinto(view[filled:])):  # type: ignore[attr-defined]
            filled += count
        return filled

    def finish(self) -> None:
        """Insist that nothing follows.

        Raises:
            DataError: if there are more bytes.
        """
        if self._stream.read(1):
            raise trailing(self._path)


class InflatedBytes:
    """Decompressed bytes of a gzip file (one or several members) or a zlib stream; never more than is asked for."""

    def __init__(self, stream: BinaryIO, path: Path, container: int = GZIP) -> None:
        self._stream = stream
        self._path = path
        self._container = container
        self._engine = zlib.decompressobj(container)
        self._pending = b""
        self._member_bytes = 0
        self._empty_members = 0

    def fill(self, view: memoryview) -> int:
        """Put the next decompressed bytes into ``view``; returns how many, fewer only at the end of the data.

        Raises:
            DataError: if the data are damaged or cut off.
        """
        filled = 0
        while filled < len(view):
            piece = self._next(min(len(view) - filled, _PIECE_BYTES))
            if not piece:
                break
            view[filled : filled + len(piece)] = piece
            filled += len(piece)
        return filled

    def finish(self) -> None:
        """Read to the end of the stream, so that its checksum is checked, and insist that nothing follows.

        Raises:
            DataError: if the checksum is wrong, or there are more bytes.
        """
        if self._next(1):
            raise trailing(self._path)

    def _next(self, limit: int) -> bytes:
        """Up to ``limit`` decompressed bytes; none only at the end of the last member."""
        while True:
            if self._engine.eof and not self._next_member():
                return b""
            if not self._pending:
                self._pending = self._stream.read(_READ_BYTES)
            try:
                piece = self._engine.decompress(self._pending, limit)
            except zlib.error as error:
                raise damaged(self._path, str(error)) from None
            ended = not self._pending and not piece and not self._engine.eof
            self._pending = self._engine.unused_data if self._engine.eof else self._engine.unconsumed_tail
            if ended:
                raise damaged(self._path, "it ends in the middle of the compressed data")
            self._member_bytes += len(piece)
            if piece:
                return piece

    def _next_member(self) -> bool:
        """Begin the next gzip member if there is one; the end of the file otherwise."""
        if len(self._pending) < 2:
            self._pending += self._stream.read(_READ_BYTES)
        if not self._pending:
            return False
        self._empty_members += self._member_bytes == 0
        if self._pending[:2] != GZIP_MAGIC or self._empty_members > EMPTY_MEMBERS:
            raise trailing(self._path)
        self._engine = zlib.decompressobj(self._container)
        self._member_bytes = 0
        return True


def check_ratio(compressed: int, declared: int, path: Path) -> None:
    """Refuse, before reading, data that cannot be whole or are a decompression bomb.

    Raises:
        DataError: if ``compressed`` bytes cannot or should not become ``declared`` bytes.
    """
    ratio = declared / max(compressed, 1)
    found = f"{compressed} compressed bytes for {declared} bytes of voxels"
    if ratio > LARGEST_RATIO:
        raise damaged(path, f"{found}, more than compression can do")
    if declared > BOMB_BYTES and ratio > BOMB_RATIO:
        raise DataError(
            "This file expands like a decompression bomb.",
            file=path,
            found=found,
            expected=f"at most {BOMB_RATIO} : 1 for more than {BOMB_BYTES >> 20} MiB",
            remedy="If this really is an image, crop away its empty margin or save it uncompressed.",
        )


def damaged(path: Path, found: str) -> DataError:
    """The error for data that are damaged or cut off."""
    return DataError(
        "This file is damaged or cut off.",
        file=path,
        found=found,
        expected="as many bytes as its header declares, with the right checksum",
        remedy="Copy the file again from its source.",
    )


def trailing(path: Path) -> DataError:
    """The error for data that go on behind the last voxel."""
    return DataError(
        "This file goes on behind the last voxel that its header declares.",
        file=path,
        expected="exactly as many bytes as the header declares",
        remedy="The header or the data are damaged: copy the file again from its source, or convert it anew.",
    )
