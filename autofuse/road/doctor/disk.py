"""How fast the disk of the workspace is, and what it is."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from autofuse.foundation.machine import free_disk_gib
from autofuse.road.doctor.types import DiskRate

MIB = 1 << 20
_TRIED_MIB = 64
_PIECE_MIB = 4
_PATIENCE_S = 2.0
"""For writing; a disk that is slower than this writes fewer pieces."""
NETWORK = (
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "lustre",
    "gpfs",
    "beegfs",
    "ceph",
    "glusterfs",
    "afs",
    "9p",
)
_FUSE_NETWORK = ("sshfs", "s3fs", "gcsfuse", "rclone", "goofys", "glusterfs", "cvmfs", "blobfuse", "juicefs")


def time_disk(folder: Path) -> DiskRate:
    """What a file is written and read at in ``folder``, or in its nearest parent that exists; nothing is left there."""
    folder = folder.absolute()
    while not folder.is_dir():
        folder = folder.parent
    kind = file_system(folder, _mounts())
    found = DiskRate(folder=str(folder), kind=kind, network=is_network(kind), free_gib=round(free_disk_gib(folder), 2))
    try:
        with tempfile.TemporaryDirectory(prefix=".autofuse-doctor-", dir=folder) as trial:
            return found.model_copy(update=_tried(Path(trial) / "trial.bin"))
    except OSError as error:
        return found.model_copy(update={"problem": error.strerror or str(error)})


def is_network(kind: str) -> bool:
    """Whether a file system of this type lies on another machine."""
    name, _, inner = kind.partition(".")
    return name in NETWORK or (name == "fuse" and inner in _FUSE_NETWORK)


def file_system(folder: Path, mounts: str) -> str:
    """Type of the file system of ``folder``, from the text of /proc/mounts; "unknown" where that does not tell."""
    best, kind = "", "unknown"
    for line in mounts.splitlines():
        words = line.split()
        if len(words) < 3:
            continue
        place = words[1].replace("\\040", " ")
        inside = place == "/" or str(folder) == place or str(folder).startswith(place + "/")
        if inside and len(place) >= len(best):
            best, kind = place, words[2]
    return kind


def _mounts() -> str:
    try:
        return Path("/proc/mounts").read_text(errors="replace")
    except OSError:
        return ""


def _tried(path: Path) -> dict[str, float | int]:
    """Rates of one file of bytes that cannot be compressed; the cache is emptied in between where the system obeys."""
    piece = os.urandom(_PIECE_MIB * MIB)
    written, started = 0, time.perf_counter()
    with path.open("wb") as file:
        while written < _TRIED_MIB and time.perf_counter() - started < _PATIENCE_S:
            file.write(piece)
            written += _PIECE_MIB
        file.flush()
        os.fsync(file.fileno())
    write_s = time.perf_counter() - started
    with path.open("rb") as file:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        started = time.perf_counter()
        while file.read(_PIECE_MIB * MIB):
            pass
    read_s = time.perf_counter() - started
    return {
        "tried_mib": written,
        "write_mib_per_s": round(written / write_s, 1),
        "read_mib_per_s": round(written / max(read_s, 1e-9), 1),
    }
