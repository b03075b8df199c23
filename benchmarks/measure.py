"""Wall time, CPU time and peak memory of a command and all its children."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

_FIRST_SAMPLE_S, _SLOWEST_SAMPLE_S = 0.05, 1.0
"""Samples of shared pages come less often as a command runs on: each makes the kernel walk all of them."""
_KIB_PER_MIB = 1024


@dataclass(frozen=True)
class Usage:
    """What one command used.

    Attributes:
        wall_s, cpu_s: seconds; cpu_s is user + system time of the process and all children it waited for.
        peak_mib: largest proportional set size of the whole process tree (shared pages count once), from samples that
            come less often the longer it runs; at least the largest resident size of any one process, as the kernel
            has kept it (``ru_maxrss`` would be that of whoever started the command, if that is larger).
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
        _, wait_status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - started
        sampler.stop()
    status = process.returncode = os.waitstatus_to_exitcode(wait_status)
    if status != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {status}; see {log}")
    return Usage(wall_s, usage.ru_utime + usage.ru_stime, sampler.peak_kib / _KIB_PER_MIB, status)


class _PeakSampler(threading.Thread):
    """Watches the memory of a process tree."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid = pid
        self.peak_kib = 0.0
        self._ended = threading.Event()

    def run(self) -> None:
        pause_s = waited_s = _FIRST_SAMPLE_S
        while not self._ended.wait(_FIRST_SAMPLE_S):
            tree = _tree(self.pid)
            alone = max(_kib(pid, "status", "VmHWM:") for pid in tree)
            waited_s += _FIRST_SAMPLE_S
            together = 0.0
            if waited_s >= pause_s:
                together = sum(_kib(pid, "smaps_rollup", "Pss:") for pid in tree)
                pause_s, waited_s = min(1.2 * pause_s, _SLOWEST_SAMPLE_S), 0.0
            self.peak_kib = max(self.peak_kib, alone, together)

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


def _kib(pid: int, file: str, field: str) -> float:
    """A figure that the kernel keeps of a process, 0 where it has ended."""
    try:
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            if line.startswith(field):
                return float(line.split()[1])
    except OSError:
        pass
    return 0.0
