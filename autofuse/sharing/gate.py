"""The way into a bundle: everything about the archive is checked before any of it is unpacked.

Checked are the end record (so that an archive of a million entries is refused before its list is read), every name
against the list of those that a bundle may hold, links, duplicates, encryption, the sizes that are declared, packed
sizes against the file's, and the manifest. Reading then never yields more bytes than declared, and compares hashes.
"""

from __future__ import annotations

import hashlib
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from autofuse.foundation.errors import ModelError
from autofuse.sharing import layout
from autofuse.sharing.end_record import read_end_record
from autofuse.sharing.types import Entry, Manifest

REMEDY = "Ask whoever made the bundle for it again; nothing of this file was kept."
_PIECE_BYTES = 1 << 20
_SHOWN = 80
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    OverflowError,
    NotImplementedError,
    RuntimeError,  # zipfile's word for an entry that needs a password
    OSError,
)


class Bundle:
    """An archive whose list of entries was found good, with its manifest."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path, self._archive = path, archive
        self._infos = _checked_listing(path, archive)
        self.manifest = Manifest.parse(self._read(layout.MANIFEST), path)
        self._require_listed()

    def verified(self) -> Iterator[tuple[Entry, Iterator[bytes]]]:
        """Each entry of the manifest with its bytes in pieces.

        Raises:
            ModelError: while the pieces are read, if they are damaged or another size or hash than listed.
        """
        for entry in self.manifest.entries:
            pieces = self._pieces(entry)
            yield entry, pieces
            for _ in pieces:  # whatever was not read is verified all the same
                pass

    def _pieces(self, entry: Entry) -> Iterator[bytes]:
        digest = hashlib.sha256()
        try:
            with self._archive.open(self._infos[entry.path]) as stream:
                while piece := stream.read(_PIECE_BYTES):
                    digest.update(piece)
                    yield piece
        except _BROKEN as error:
            raise refused(self.path, "An entry of the bundle is damaged.", f"{entry.path}: {error}") from None
        if digest.hexdigest() != entry.sha256:
            raise refused(
                self.path,
                f"{entry.path} is not what the manifest says.",
                f"SHA-256 {digest.hexdigest()[:12]}",
                f"SHA-256 {entry.sha256[:12]}",
            )

    def _read(self, name: str) -> bytes:
        try:
            return self._archive.read(self._infos[name])
        except _BROKEN as error:
            raise refused(self.path, f"The bundle's {name} is damaged.", str(error)) from None

    def _require_listed(self) -> None:
        """The manifest and the archive name the same files, of the same sizes."""
        listed = {entry.path: entry.bytes for entry in self.manifest.entries}
        there = {name: info.file_size for name, info in self._infos.items() if name != layout.MANIFEST}
        if len(listed) != len(self.manifest.entries) or layout.MANIFEST in listed:
            raise refused(self.path, "The manifest names a file twice, or itself.", f"{len(listed)} different files")
        if listed != there:
            wrong = sorted({name for name, _ in listed.items() ^ there.items()})
            raise refused(
                self.path,
                "The bundle holds other files than its manifest lists.",
                ", ".join(wrong)[:200],
                "the files of the manifest, of the sizes listed there",
            )


@contextmanager
def open_bundle(path: Path) -> Iterator[Bundle]:
    """The bundle in ``path``, its list and its manifest checked; no entry but the manifest is read.

    Raises:
        ModelError: naming what is wrong.
    """
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file" if not path.exists() else "no regular file"
        raise ModelError("There is no bundle here.", file=path, found=found, expected=f"a *{layout.BUNDLE_ENDING}")
    _require_small_listing(path)
    try:
        archive = zipfile.ZipFile(path)
    except _BROKEN as error:
        raise refused(path, "The bundle's list of entries is damaged.", str(error)) from None
    with archive:
        yield Bundle(path, archive)


def refused(path: Path, problem: str, found: str, expected: str | None = None) -> ModelError:
    """The error for a bundle that cannot be trusted."""
    return ModelError(problem, file=path, found=plain(found[:200]), expected=expected, remedy=REMEDY)


def plain(text: str) -> str:
    """``text`` without characters that a terminal would obey instead of showing them."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _require_small_listing(path: Path) -> None:
    try:
        end = read_end_record(path)
    except (OSError, struct.error) as error:
        raise refused(path, "This file cannot be read.", str(error)) from None
    if end is None:
        raise refused(
            path,
            "This is no bundle, or its end is missing.",
            f"{path.stat().st_size} bytes without the end of a zip file",
            f"a file made by `autofuse export` (*{layout.BUNDLE_ENDING})",
        )
    if end.entries > layout.MOST_ENTRIES or end.listing_bytes > layout.LARGEST_LISTING_BYTES:
        raise refused(
            path,
            "The bundle has too many entries.",
            f"{end.entries} entries, listed in {end.listing_bytes} bytes",
            f"at most {layout.MOST_ENTRIES}",
        )
    if end.surplus_bytes:
        raise refused(
            path, "Something stands before or between the parts of the archive.", f"{end.surplus_bytes} bytes"
        )


def _checked_listing(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    infos = archive.infolist()
    if len(infos) > layout.MOST_ENTRIES:
        raise refused(path, "The bundle has too many entries.", f"{len(infos)}", f"at most {layout.MOST_ENTRIES}")
    for info in infos:
        _require_plain(path, info)
    names = [info.filename for info in infos]
    _require_unique(path, names)
    packed, size = sum(info.compress_size for info in infos), path.stat().st_size
    if packed > size:
        raise refused(path, "Entries of the archive overlap.", f"{packed} packed bytes in a file of {size}")
    text = sum(info.file_size for info in infos if not layout.is_weights(info.filename))
    if text > layout.MOST_TEXT_BYTES:
        raise refused(path, "The bundle's text is too long.", f"{text} bytes", f"at most {layout.MOST_TEXT_BYTES}")
    if layout.MANIFEST not in names:
        raise refused(path, "The bundle has no manifest.", ", ".join(names[:5]) or "no entry", layout.MANIFEST)
    return {info.filename: info for info in infos}


def _require_plain(path: Path, info: zipfile.ZipInfo) -> None:
    """A regular file of an expected name and size, neither encrypted nor packed beyond reason."""
    name = info.orig_filename
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise refused(path, "The bundle holds a link, a folder or a device.", _shown(name), "regular files")
    if name != info.filename or not layout.is_expected(name):
        raise refused(
            path,
            "The bundle holds a file that does not belong into one.",
            _shown(name),
            "values (JSON), weights (safetensors) and README.md under the names that `autofuse export` gives",
        )
    if info.flag_bits & 0x1:
        raise refused(path, "An entry of the bundle is encrypted.", name)
    allowed = (zipfile.ZIP_STORED,) if layout.is_weights(name) else (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    if info.compress_type not in allowed:
        raise refused(path, "An entry of the bundle is packed in a way that bundles are not.", name)
    _require_size(path, info)


def _require_size(path: Path, info: zipfile.ZipInfo) -> None:
    name, unpacked, packed = info.filename, info.file_size, info.compress_size
    if layout.is_weights(name):
        if unpacked != packed:
            raise refused(path, "An entry's sizes contradict each other.", f"{name}: {packed} and {unpacked} bytes")
        return
    if unpacked > layout.LARGEST_TEXT_BYTES:
        limit = f"at most {layout.LARGEST_TEXT_BYTES} bytes"
        raise refused(path, "An entry of the bundle is too large.", f"{name}: {unpacked} bytes", limit)
    if unpacked > layout.LARGEST_RATIO * packed:
        raise refused(
            path,
            "An entry of the bundle unpacks to far more than it is.",
            f"{name}: {packed} bytes become {unpacked}",
            f"at most {layout.LARGEST_RATIO:g} times as many",
        )


def _require_unique(path: Path, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name.casefold() in seen:
            raise refused(path, "The bundle holds two files of one name.", _shown(name))
        seen.add(name.casefold())


def _shown(name: str) -> str:
    return repr(name if len(name) <= _SHOWN else name[:_SHOWN] + "...")
