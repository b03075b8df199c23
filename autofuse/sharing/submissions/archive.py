"""Files in a zip, the same bytes for the same files: sorted, of one time, deflated alike."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path

from autofuse.foundation.files import write_atomically

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip file can name."""
_REGULAR_FILE = 0o100644 << 16
_UNIX = 3


def write_zip(path: Path, files: Mapping[str, Path | bytes]) -> None:
    """Put ``files`` (by their name in the archive) into a zip, atomically, and read it back.

    Raises:
        ResourceError: if the disk is full or the folder cannot be written; an older file is untouched.
    """

    def fill(temp: Path) -> None:
        with zipfile.ZipFile(temp, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in sorted(files):
                _add(archive, name, files[name])

    def verify(temp: Path) -> None:
        with zipfile.ZipFile(temp) as archive:
            broken = archive.testzip()
            if broken is not None or archive.namelist() != sorted(files):
                raise OSError(f"what was read back is not what was written: {broken or 'other names'}")

    write_atomically(path, fill, verify)


def hashes_below(path: Path) -> dict[str, str]:
    """SHA-256 of a file, or of every file in a folder, by the name inside; a file stands under its own name."""
    files = {path.name: path} if path.is_file() else {}
    if path.is_dir():
        files = {item.relative_to(path).as_posix(): item for item in sorted(path.rglob("*")) if item.is_file()}
    return {name: _sha256(file) for name, file in files.items()}


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _add(archive: zipfile.ZipFile, name: str, source: Path | bytes) -> None:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.external_attr, info.create_system, info.compress_type = _REGULAR_FILE, _UNIX, zipfile.ZIP_DEFLATED
    with archive.open(info, "w", force_zip64=True) as sink:
        if isinstance(source, bytes):
            sink.write(source)
        else:
            with source.open("rb") as stream:
                shutil.copyfileobj(stream, sink)
