"""The child side of :mod:`autofuse.foundation.workers`: takes units from a socket until it closes."""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import sys
from multiprocessing.connection import Connection
from types import FrameType

_PR_SET_PDEATHSIG = 1


def end_with_parent(parent_pid: int, how: signal.Signals = signal.SIGKILL) -> None:
    """Ask the kernel to send this process a signal when its parent ends; leave at once if that has happened already."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, how)
    if os.getppid() != parent_pid:
        os._exit(1)


def stop_with_parent(parent_pid: int) -> None:
    """Have this process get one SIGTERM, as a polite stop, when its parent ends; leave at once if it has ended already.

    One, for the kernel sends its signal once for each thread of the parent that had this process for a while, and a
    second SIGTERM ends a training without its state being saved.
    """
    told = False

    def tell(_number: int, _frame: FrameType | None) -> None:
        nonlocal told
        if not told:
            told = True
            signal.raise_signal(signal.SIGTERM)

    signal.signal(signal.SIGUSR2, tell)
    end_with_parent(parent_pid, signal.SIGUSR2)


def main(descriptor: int, parent_pid: int) -> None:
    """Answer units until the socket closes."""
    from autofuse.foundation.workers import _attempt

    end_with_parent(parent_pid)
    # An interrupt from the terminal reaches the whole group; the parent decides what becomes of the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = Connection(descriptor)
    sys.path[:] = connection.recv()
    # The bytes come from our own parent over a private socket, never from a file.
    function = pickle.loads(connection.recv_bytes())  # noqa: S301
    while True:
        try:
            index, name, payload = connection.recv()
        except EOFError:
            return
        connection.send((index, _attempt(function, name, payload)))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
