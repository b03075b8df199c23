"""A bundle file, the same bytes for the same model: entries in one order, of one time, stored or deflated alike."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path

from autofuse.foundation.errors import ModelError
from autofuse.foundation.files import temp_beside, write_atomically
from autofuse.sharing.gate import open_bundle
from autofuse.sharing.layout import MANIFEST, WEIGHTS, is_expected, is_weights
from autofuse.sharing.reduce import ReducedFold
from autofuse.sharing.types import Entry, Manifest
from autofuse.training.checkpoint import save_checkpoint

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip file can name."""
_REGULAR_FILE = 0o100644 << 16
_UNIX = 3
_COPIED_BYTES = 1 << 20


class Packing:
    """A bundle that is being written: text entries and weights one by one, the manifest last."""

    def __init__(self, archive: zipfile.ZipFile, scratch: Path) -> None:
        self._archive, self._scratch = archive, scratch
        self._entries: list[Entry] = []

    def add_text(self, path: str, text: str) -> None:
        """One text entry."""
        content = text.encode()
        with self._archive.open(_info(path, len(content)), "w") as sink:
            sink.write(content)
        self._note(path, len(content), hashlib.sha256(content).hexdigest())

    def add_fold(self, fold: ReducedFold) -> None:
        """The files of one member; its weights pass through a file, so that only one member's need room twice."""
        for name, text in sorted(fold.texts.items()):
            self.add_text(f"{fold.member.folder}/{name}", text)
        weights = temp_beside(self._scratch)
        try:
            save_checkpoint(weights, fold.tensors, fold.about)
            self._add_file(f"{fold.member.folder}/{WEIGHTS}", weights)
        finally:
            weights.unlink(missing_ok=True)

    def finish(self, name: str) -> Manifest:
        """Write the manifest of all that was added."""
        from autofuse import __version__

        entries = tuple(sorted(self._entries, key=lambda entry: entry.path))
        manifest = Manifest(name=name, autofuse_version=__version__, entries=entries)
        content = manifest.to_json().encode()
        with self._archive.open(_info(MANIFEST, len(content)), "w") as sink:
            sink.write(content)
        return manifest

    def _add_file(self, path: str, source: Path) -> None:
        digest = hashlib.sha256()
        size = source.stat().st_size
        with source.open("rb") as stream, self._archive.open(_info(path, size), "w") as sink:
            while piece := stream.read(_COPIED_BYTES):
                digest.update(piece)
                sink.write(piece)
        self._note(path, size, digest.hexdigest())

    def _note(self, path: str, size: int, digest: str) -> None:
        if not is_expected(path):
            raise ModelError(
                "This file's name cannot stand in a bundle.",
                found=path,
                expected="letters, digits, _, + and -, and single dots between them",
                remedy="Rename the configuration or the trainer in the program that made it, and train again.",
            )
        self._entries.append(Entry(path=path, bytes=size, sha256=digest))


def write_bundle(path: Path, name: str, fill: Callable[[Packing], None]) -> Manifest:
    """Let ``fill`` pack a bundle, check it as an importer would, and give it the name ``path``; what it holds.

    Raises:
        ModelError: if what ``fill`` adds cannot be shared.
        ResourceError: if the disk is full or the folder cannot be written; an older file is untouched.
    """
    made: list[Manifest] = []

    def pack(temp: Path) -> None:
        with zipfile.ZipFile(temp, "w", zipfile.ZIP_STORED) as archive:
            packing = Packing(archive, temp)
            fill(packing)
            made.append(packing.finish(name))

    def verify(temp: Path) -> None:
        with open_bundle(temp) as bundle:
            for _ in bundle.verified():
                pass

    write_atomically(path, pack, verify)
    return made[0]


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _info(path: str, size: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(path, _EPOCH)
    info.external_attr, info.create_system = _REGULAR_FILE, _UNIX
    info.compress_type = zipfile.ZIP_STORED if is_weights(path) else zipfile.ZIP_DEFLATED
    info.file_size = size
    return info
