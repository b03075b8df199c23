"""The child side of :mod:`autofuse.road.together`: takes its share from a socket, trains, and says how it ended."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from multiprocessing.connection import Connection

from autofuse.foundation import console
from autofuse.foundation.worker_process import end_with_parent


class _ToParent(logging.Handler):
    """Passes lines on to the parent, which has the log."""

    def __init__(self, connection: Connection, level: int) -> None:
        super().__init__(level)
        self.connection = connection

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.connection.send(("log", (record.levelno, "%s", self.format(record))))
        except OSError:
            return


def main(descriptor: int, parent_pid: int) -> int:
    """Train; the exit status."""
    end_with_parent(parent_pid)
    connection = Connection(descriptor)
    sys.path[:] = connection.recv()
    share = connection.recv()
    first = share.seat.rank == 0
    console.configure(quiet=share.quiet or not first)
    logger = console.log()
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(_ToParent(connection, logging.INFO if first else logging.WARNING))
    try:
        from autofuse.road.together import take_part

        take_part(share)
    except BaseException as error:
        _tell(connection, error)
        return 1
    connection.send(("done", None))
    return 0


def _tell(connection: Connection, error: BaseException) -> None:
    """Pass ``error`` on to the parent, its traceback to the log."""
    from autofuse.sampling.ranks import RankLost
    from autofuse.training.signals import Interrupted

    if not isinstance(error, (Interrupted, RankLost)):
        console.log().error("".join(traceback.format_exception(error)))
    try:
        connection.send(("failed", error))
    except Exception:  # it holds something that cannot travel
        connection.send(("failed", RuntimeError(f"{type(error).__name__}: {error}")))


if __name__ == "__main__":
    status = main(int(sys.argv[1]), int(sys.argv[2]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # what other processes still hold open (a GPU's queue) must not keep this one
