"""What no program on this machine can beat: how fast memory is copied, and the disk of a folder written and read."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

_BYTES = 256 << 20
_PIECE = 8 << 20
_REPEATS = 3
_MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """MiB a second of one thread.

    Attributes:
        memory_copy: from array to array.
        disk_write: into a new file until it is on the disk; disk_read: of a file that is not in the memory any more, as
            far as the kernel can be asked to forget it.
    """

    memory_copy: float
    disk_write: float
    disk_read: float

    def as_dict(self) -> dict[str, float]:
        """The figures by name."""
        return {f"{name}_mib_per_s": value for name, value in asdict(self).items()}


def measure_limits(folder: Path, size: int = _BYTES) -> Limits:
    """The limits of this machine and of the disk of ``folder``: medians of three."""
    source = np.random.default_rng(0).integers(0, 255, size, dtype=np.uint8)
    target = np.empty_like(source)
    path = folder / "limits.bin"
    try:
        copied = _rate(lambda: np.copyto(target, source), size)
        written = _rate(lambda: _write(path, source), size)
        read = _rate(lambda: _read(path, target), size, before=lambda: _forget(path))
    finally:
        path.unlink(missing_ok=True)
    return Limits(copied, written, read)


def _rate(work: Callable[[], object], size: int, before: Callable[[], object] | None = None) -> float:
    seconds = []
    for _ in range(_REPEATS):
        if before is not None:
            before()
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return size / _MIB / statistics.median(seconds)


def _write(path: Path, content: np.ndarray) -> None:
    with path.open("wb") as stream:
        for start in range(0, len(content), _PIECE):
            stream.write(content[start : start + _PIECE].data)
        stream.flush()
        os.fsync(stream.fileno())


def _read(path: Path, into: np.ndarray) -> None:
    with path.open("rb", buffering=0) as stream:
        for start in range(0, len(into), _PIECE):
            stream.readinto(into[start : start + _PIECE].data)


def _forget(path: Path) -> None:
    with path.open("rb") as stream:
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
