"""One writer a folder: the second waits or is refused, with the holder named."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from autofuse.foundation.errors import ResourceError

LOCK_NAME = ".lock"
_POLL_S = 0.2


@contextmanager
def lock(folder: Path, wait_s: float = 0.0) -> Iterator[None]:
    """Hold ``folder`` for the length of the block; the operating system lets go when the process ends, however it does.

    Raises:
        ResourceError: if somebody else still holds it after ``wait_s`` seconds, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / LOCK_NAME).open("a+")
    except OSError as error:
        raise ResourceError(
            "This folder cannot be written.",
            file=folder,
            found=str(error),
            remedy="Name a folder that you may write to, with --workspace or --out.",
        ) from error
    with stream:
        _acquire(stream, folder, time.monotonic() + wait_s)
        _sign(stream)
        yield


def _acquire(stream: IO[str], folder: Path, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise ResourceError(
                    "Another process is at work in this folder.",
                    file=folder,
                    found=_holder(stream),
                    remedy="Wait until it has finished, or stop it; nothing was changed.",
                ) from None
            time.sleep(_POLL_S)


def _sign(stream: IO[str]) -> None:
    # The lock holds without a signature, which is for people; a full disk must not undo it.
    with suppress(OSError):
        stream.seek(0)
        stream.truncate()
        json.dump({"pid": os.getpid(), "host": platform.node(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}, stream)
        stream.flush()


def _holder(stream: IO[str]) -> str:
    stream.seek(0)
    try:
        who = json.loads(stream.read())
        return f"process {who['pid']} on {who['host']}, since {who['since']}"
    except (ValueError, KeyError, TypeError):
        return "a process that did not leave its name"
