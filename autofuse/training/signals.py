"""A polite stop: the first SIGTERM or SIGINT lets the step finish and the state be saved, the second ends at once."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import ClassVar, TypeVar

from autofuse.foundation.errors import AutofuseError

T = TypeVar("T")

_CAUGHT = (signal.SIGTERM, signal.SIGINT)
ONE_STOP_S = 5.0
"""A cluster sends SIGTERM to every process of a job, and those that started others pass it on: within this time several
are one and the same stop."""


class Interrupted(AutofuseError):  # noqa: N818
    """Training was stopped by Ctrl-C; the state is saved and the same command goes on from it."""

    exit_code: ClassVar[int] = 128 + signal.SIGINT


class Terminated(Interrupted):
    """Training was stopped by SIGTERM (a cluster, a shutdown); the state is saved and the same command goes on."""

    exit_code: ClassVar[int] = 128 + signal.SIGTERM


class Stop(BaseException):
    """Ends what may be ended in the middle; never leaves this room."""


class Stopping:
    """Whether a stop was asked for."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._since = 0.0
        self._abortable = False

    def receive(self, number: int, _frame: FrameType | None) -> None:
        """The signal handler: remember the first signal and give the second its usual effect."""
        self.signal, self._since = number, time.monotonic()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, self._end)
        if self._abortable:
            raise Stop

    def _end(self, number: int, _frame: FrameType | None) -> None:
        """The handler of a SIGTERM after the first signal: end at once, unless it tells of the same stop."""
        if self.signal == number and time.monotonic() - self._since < ONE_STOP_S:
            return
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    def unless_stopped(self, work: Callable[[], T]) -> T | None:
        """What ``work`` gives; None where a stop is asked for (see ``signal``), which ends it in the middle."""
        self._abortable = True
        try:
            return work() if self.signal is None else None
        except Stop:
            return None
        finally:
            self._abortable = False

    def error(self, step: int, folder: str) -> Interrupted:
        """What to raise once the state is saved."""
        kind = Terminated if self.signal == signal.SIGTERM else Interrupted
        return kind(
            f"Training was stopped after step {step}; its state is saved.",
            file=folder,
            remedy="Run the same command again to go on from there.",
        )


@contextmanager
def caught_signals() -> Iterator[Stopping]:
    """Polite stopping for the length of the block; only in the main thread, elsewhere nothing is caught."""
    stopping = Stopping()
    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return
    before = {number: signal.getsignal(number) for number in _CAUGHT}
    for number in _CAUGHT:
        signal.signal(number, stopping.receive)
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
