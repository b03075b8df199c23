"""Wall time, CPU time and peak memory of a command and all its children."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

_SAMPLE_EVERY_S = 0.1
_KIB_PER_MIB = 1024


@dataclass(frozen=True)
class Usage:
    """What one command used.

    Attributes:
        wall_s, cpu_s: seconds; cpu_s is user + system time of the process and all children it waited for.
        peak_mib: largest proportional set size of the whole process tree (shared pages count once), sampled ten
            times a second.
        exit_status: of the command.
    """

    wall_s: float
    cpu_s: float
    peak_mib: float
    exit_status: int

    def as_dict(self) -> dict[str, float]:
        """The figures by name."""
        return asdict(self)


def measure(command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> Usage:
    """Usage of ``command``; what it prints is appended to ``log``.

    Raises:
        RuntimeError: if the command fails; the message names the log.
    """
    before = os.times()
    started = time.perf_counter()
    with log.open("ab") as stream:
        stream.write(f"\n$ {' '.join(command)}\n".encode())
        stream.flush()
        process = subprocess.Popen(
            command,
            stdout=stream,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(environment or {})},
        )
        sampler = _PeakSampler(process.pid)
        sampler.start()
        status = process.wait()
        wall_s = time.perf_counter() - started
        sampler.stop()
    after = os.times()
    if status != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {status}; see {log}")
    cpu_s = after.children_user - before.children_user + after.children_system - before.children_system
    return Usage(wall_s, cpu_s, sampler.peak_kib / _KIB_PER_MIB, status)


class _PeakSampler(threading.Thread):
    """Watches the memory of a process tree."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid = pid
        self.peak_kib = 0.0
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(_SAMPLE_EVERY_S):
            self.peak_kib = max(self.peak_kib, sum(_pss_kib(pid) for pid in _tree(self.pid)))

    def stop(self) -> None:
        self._ended.set()
        self.join()


def _tree(pid: int) -> list[int]:
    pids = [pid]
    for parent in pids:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                pids += [int(word) for word in task.read_text().split()]
            except OSError:
                continue
    return pids


def _pss_kib(pid: int) -> float:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return float(line.split()[1])
    except OSError:
        pass
    return 0.0
