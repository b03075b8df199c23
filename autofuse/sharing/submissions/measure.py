"""Time and memory of a program and everything that it starts, which is stopped where it takes more than it may."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_EVERY_S = 0.1
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Measured:
    """How a program went.

    Attributes:
        exit_code: negative for a signal.
        seconds: from its start to its end.
        peak_bytes: largest resident size of all of its processes together, looked at every 0.1 s; at least the largest
            that any one process had, which the kernel notes without looking.
        stopped: what it took too much of.
    """

    exit_code: int
    seconds: float
    peak_bytes: int
    stopped: Literal["time", "memory"] | None


def watch(process: subprocess.Popen[bytes], limit_s: float, limit_bytes: float) -> Measured:
    """Wait for ``process``, the leader of a session of its own; kill all of the session where it exceeds a limit."""
    started, peak = time.monotonic(), 0
    stopped: Literal["time", "memory"] | None = None
    try:
        while process.poll() is None:
            peak = max(peak, _resident_bytes(process.pid))
            seconds = time.monotonic() - started
            stopped = "time" if seconds > limit_s else "memory" if peak > limit_bytes else None
            if stopped is not None:
                break
            time.sleep(_EVERY_S)
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return Measured(process.returncode, time.monotonic() - started, peak, stopped)


def _resident_bytes(leader: int) -> int:
    together, largest = 0, 0
    for pid in _descendants(leader):
        with suppress(OSError, ValueError, IndexError):
            together += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
            largest = max(largest, _high_water_bytes(pid))
    return max(together, largest)


def _high_water_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _descendants(leader: int) -> Iterator[int]:
    """``leader`` and every process below it."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError, ValueError, IndexError):
                # The name of the program stands in parentheses and may hold anything.
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(folder.name))
    waiting = [leader]
    while waiting:
        pid = waiting.pop()
        yield pid
        waiting += children.get(pid, [])
