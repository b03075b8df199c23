"""Files that are whole or absent: temp file in the same folder, flush, fsync, verify, rename.

A process killed at any moment leaves either the old file, the new file, or the old file and an orphan whose name
starts with ``.tmp-``; orphans are swept by whoever next owns the folder.
"""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from autofuse.foundation.errors import ResourceError

TEMP_PREFIX = ".tmp-"
_CHUNK_BYTES = 1 << 20


def temp_beside(path: Path) -> Path:
    """A name for a temporary file or folder in the same folder as ``path``; keeps the suffixes of its name."""
    return path.with_name(f"{TEMP_PREFIX}{os.getpid()}-{os.urandom(4).hex()}-{path.name}")


def write_bytes(path: Path, content: bytes) -> None:
    """Put ``content`` under ``path``, atomically.

    Raises:
        ResourceError: if the disk is full or the folder cannot be written; the old file is untouched.
    """

    def fill(temp: Path) -> None:
        temp.write_bytes(content)

    def verify(temp: Path) -> None:
        if temp.read_bytes() != content:
            raise OSError("what was read back is not what was written")

    write_atomically(path, fill, verify)


def write_atomically(path: Path, fill: Callable[[Path], None], verify: Callable[[Path], None] | None = None) -> None:
    """Let ``fill`` write a temporary file, check it with ``verify``, and give it its final name.

    Raises:
        ResourceError: if writing, syncing or verifying fails with an OSError.
    """
    temp = temp_beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fill(temp)
        sync(temp)
        if verify is not None:
            verify(temp)
        temp.replace(path)
        sync(path.parent)
    except OSError as error:
        raise ResourceError(
            "A file could not be written.",
            file=path,
            found=str(error),
            remedy="Check the free space and the permissions of the folder, then run the same command again.",
        ) from error
    finally:
        temp.unlink(missing_ok=True)


@contextmanager
def folder_atomically(path: Path) -> Iterator[Path]:
    """A temporary folder to fill, which takes the name ``path`` (replacing what is there) if the block succeeds."""
    temp = temp_beside(path)
    try:
        temp.mkdir(parents=True)
        yield temp
        for file in temp.iterdir():
            sync(file)
        sync(temp)
        if path.exists():
            old = temp_beside(path)
            path.replace(old)
            shutil.rmtree(old, ignore_errors=True)
        temp.replace(path)
        sync(path.parent)
    except OSError as error:
        raise ResourceError(
            "A folder could not be written.",
            file=path,
            found=str(error),
            remedy="Check the free space and the permissions of the folder, then run the same command again.",
        ) from error
    finally:
        shutil.rmtree(temp, ignore_errors=True)


def sync(path: Path) -> None:
    """Ask the operating system to put a file or folder on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def crc32_of_file(path: Path) -> int:
    """CRC-32 of a file's bytes, read in pieces of 1 MiB."""
    crc = 0
    with path.open("rb") as stream:
        while piece := stream.read(_CHUNK_BYTES):
            crc = zlib.crc32(piece, crc)
    return crc


def sweep_temps(folder: Path) -> int:
    """Remove what killed writers left in ``folder`` (not below it); returns how many. Call only as its owner."""
    count = 0
    for orphan in folder.glob(f"{TEMP_PREFIX}*") if folder.is_dir() else ():
        if _writer_lives(orphan):
            continue
        if orphan.is_dir() and not orphan.is_symlink():
            shutil.rmtree(orphan, ignore_errors=True)
        else:
            orphan.unlink(missing_ok=True)
        count += 1
    return count


def _writer_lives(orphan: Path) -> bool:
    pid = orphan.name.removeprefix(TEMP_PREFIX).split("-", 1)[0]
    return pid.isdigit() and int(pid) != os.getpid() and Path(f"/proc/{pid}").exists()
