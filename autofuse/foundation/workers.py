"""Work units in supervised processes: a unit that fails, hangs or is killed becomes an error of its own, named.

Workers are fresh interpreters joined by a socket, so neither the caller's threads nor an unguarded script can hurt
them. They end with their parent: the kernel tells them, and so does the closed socket.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from autofuse.foundation.console import log, progress
from autofuse.foundation.errors import AutofuseError, ResourceError
from autofuse.foundation.machine import available_memory_gib, cpu_threads

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")
R = TypeVar("R")

POOL_START_S = 4.0
"""What starting workers costs (a fresh interpreter and its imports); a pool must win more than this."""
_TRIAL_S = 1.5
_POLL_S = 1.0


@dataclass(frozen=True)
class Outcome(Generic[R]):
    """What became of one unit: a value, or an error."""

    name: str
    value: R | None
    error: AutofuseError | None
    seconds: float


def run_units(
    function: Callable[[T], R],
    items: Sequence[tuple[str, T]],
    *,
    label: str,
    workers: int | None = None,
    timeout_s: float | None = None,
    uses_torch: bool = False,
    memory_gib_each: float | None = None,
) -> list[Outcome[R]]:
    """One outcome per item, in the order of ``items``; no failure of one stops the others.

    Args:
        function: importable (module level, or a partial of such), called with each item's payload.
        items: (name, payload) pairs; payloads and results are pickled between processes, never to a file.
        label: what the progress bar says.
        workers: processes; 0 works in this process; None starts here and opens a pool only if that pays.
        timeout_s: a unit that takes longer is killed (in a pool only).
        uses_torch: hold torch to one thread in this process too, so that results do not depend on where a unit ran.
        memory_gib_each: what one unit needs at its peak; fewer workers run where that would not fit.
    """
    outcomes: dict[int, Outcome[R]] = {}
    with progress(label, len(items)) as advance:

        def finish(index: int, outcome: Outcome[R]) -> None:
            outcomes[index] = outcome
            if outcome.error is not None:
                log().error("%s: %s: %s", label, outcome.name, outcome.error)
            advance(1, note=outcome.name)

        wanted = cpu_threads() if workers is None else workers
        if memory_gib_each:
            wanted = min(wanted, max(1, int(available_memory_gib() / memory_gib_each))) if wanted else wanted
        start = 0
        if workers is None or wanted == 0:
            with _one_thread(uses_torch):
                start = _run_here(function, items, finish, patient=wanted < 2 or workers == 0)
        rest = list(range(start, len(items)))
        if rest:
            _Pool(function, items, min(wanted, len(rest)), timeout_s, finish).run(rest)
    return [outcomes[index] for index in range(len(items))]


def _run_here(
    function: Callable[[T], R],
    items: Sequence[tuple[str, T]],
    finish: Callable[[int, Outcome[R]], None],
    patient: bool,
) -> int:
    """Work in this process; returns how many items are done, all unless the rest is better left to a pool."""
    started = time.monotonic()
    for index, (name, payload) in enumerate(items):
        finish(index, _attempt(function, name, payload))
        spent = time.monotonic() - started
        left = spent / (index + 1) * (len(items) - index - 1)
        if not patient and spent > _TRIAL_S and left / 2 > POOL_START_S:
            return index + 1
    return len(items)


def _attempt(function: Callable[[T], R], name: str, payload: T) -> Outcome[R]:
    started = time.monotonic()
    try:
        value = function(payload)
    except AutofuseError as error:
        return Outcome(name, None, error, time.monotonic() - started)
    except MemoryError:
        short = ResourceError("There is not enough memory for this case.", case=name, remedy="Use fewer --workers.")
        return Outcome(name, None, short, time.monotonic() - started)
    except Exception as problem:
        log().exception("%s failed", name)
        bug = AutofuseError(f"{type(problem).__name__}: {problem}", case=name, remedy="See the log; please report it.")
        return Outcome(name, None, bug, time.monotonic() - started)
    return Outcome(name, value, None, time.monotonic() - started)


class _Worker:
    """One child process and the unit that it is at."""

    def __init__(self, function: Callable[..., Any]) -> None:
        ours, theirs = socket.socketpair()
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "BLOSC_NTHREADS": "1"}
        command = [sys.executable, "-m", "autofuse.foundation.worker_process", str(theirs.fileno()), str(os.getpid())]
        talk = talk_descriptor()
        self.process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], env=environment, stdin=subprocess.DEVNULL, stdout=talk, stderr=talk
        )
        theirs.close()
        self.connection = Connection(ours.detach())
        self.connection.send(list(sys.path))
        self.connection.send_bytes(pickle.dumps(function))
        self.index: int | None = None
        self.since = 0.0

    def give(self, index: int, item: tuple[str, Any]) -> None:
        self.index, self.since = index, time.monotonic()
        self.connection.send((index, *item))

    def end(self) -> int:
        """Kill the process if it still runs; its exit status."""
        self.connection.close()
        self.process.kill()
        return self.process.wait()


def talk_descriptor() -> int:
    """Where children print: stderr, since stdout belongs to results; nowhere if this process has none."""
    return sys.stderr.fileno() if _has_fileno(sys.stderr) else subprocess.DEVNULL


def _has_fileno(stream: Any) -> bool:
    try:
        return isinstance(stream.fileno(), int)
    except (AttributeError, OSError, ValueError):
        return False


class _Pool(Generic[T, R]):
    """Hands out units to worker processes, watches them, and replaces those that die."""

    def __init__(
        self,
        function: Callable[[T], R],
        items: Sequence[tuple[str, T]],
        size: int,
        timeout_s: float | None,
        finish: Callable[[int, Outcome[R]], None],
    ) -> None:
        self.function, self.items, self.size = function, items, size
        self.timeout_s, self.finish = timeout_s, finish
        self.workers: list[_Worker] = []

    def run(self, waiting: list[int]) -> None:
        """Work through the items with these indices."""
        waiting = waiting[::-1]
        try:
            while waiting or any(worker.index is not None for worker in self.workers):
                self._hand_out(waiting)
                busy = {worker.connection: worker for worker in self.workers if worker.index is not None}
                for ready in wait(list(busy), timeout=_POLL_S):
                    self._receive(busy[ready])  # type: ignore[index]
                self._stop_overdue()
        finally:
            for worker in self.workers:
                worker.end()

    def _hand_out(self, waiting: list[int]) -> None:
        while waiting and len(self.workers) < self.size and all(worker.index is not None for worker in self.workers):
            self.workers.append(_Worker(self.function))
            self._give(self.workers[-1], waiting)
        for worker in [idle for idle in self.workers if idle.index is None]:
            if waiting:
                self._give(worker, waiting)

    def _give(self, worker: _Worker, waiting: list[int]) -> None:
        index = waiting.pop()
        try:
            worker.give(index, self.items[index])
        except OSError:
            self._lost(worker, "died before it could take the case")

    def _receive(self, worker: _Worker) -> None:
        try:
            index, outcome = worker.connection.recv()
        except (EOFError, OSError):
            self._lost(worker, None)
            return
        worker.index = None
        self.finish(index, outcome)

    def _stop_overdue(self) -> None:
        for worker in list(self.workers):
            overdue = self.timeout_s is not None and time.monotonic() - worker.since > self.timeout_s
            if worker.index is not None and overdue:
                self._lost(worker, f"took longer than {self.timeout_s:g} s and was stopped")

    def _lost(self, worker: _Worker, why: str | None) -> None:
        self.workers.remove(worker)
        if why is None:
            # A clean look at the exit status needs the process to have ended by itself.
            with suppress(subprocess.TimeoutExpired):
                worker.process.wait(timeout=5)
        status = worker.end()
        if worker.index is None:
            return
        name = self.items[worker.index][0]
        error = ResourceError(
            "The process that worked on this case " + (why or f"ended with {status_name(status)}") + ".",
            case=name,
            remedy="If memory ran out, use fewer --workers; then run the same command again.",
        )
        self.finish(worker.index, Outcome(name, None, error, time.monotonic() - worker.since))


def status_name(status: int) -> str:
    """The exit status of a process in words; below zero it is the signal that ended it."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"signal {signal.Signals(-status).name}"
    except ValueError:
        return f"signal {-status}"


@contextmanager
def _one_thread(uses_torch: bool) -> Iterator[None]:
    if not uses_torch:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
