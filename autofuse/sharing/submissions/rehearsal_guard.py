"""Watches a rehearsed program from inside: what it writes outside its folders, and whom it wants to talk to.

A copy of this file goes into the program's path as ``sitecustomize``, which Python loads by itself. It must need
nothing but the standard library. Each breach is refused, as the container would, and one line of JSON is noted for it:
so it is known even where the program passes over the refusal.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable
from typing import Any

WRITABLE, NOTES = "AUTOFUSE_REHEARSAL_WRITABLE", "AUTOFUSE_REHEARSAL_NOTES"
WRITES, TALKS = "writes", "talks"
_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_PATHS_WRITTEN = {
    "os.mkdir": ((0, 2),),
    "os.rmdir": ((0, 1),),
    "os.remove": ((0, 1),),
    "os.truncate": ((0, None),),
    "os.rename": ((0, 2), (1, 3)),
    "os.link": ((1, 3),),
    "os.symlink": ((1, 2),),
}
"""Audit events: positions of the paths that are written to, and of the descriptor of the folder that each starts in."""
_TALKING = {"socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"}


def breach(event: str, arguments: tuple[Any, ...], writable: tuple[str, ...]) -> tuple[str, str] | None:
    """What ``event`` does that a container may not: (kind, path or address); None for anything else."""
    if event == "open":
        path, _, flags = arguments[:3]
        if isinstance(flags, int) and flags & _FLAGS and isinstance(path, (str, bytes)):
            return _outside(path, writable)
    elif event in _PATHS_WRITTEN:
        for position, folder in _PATHS_WRITTEN[event]:
            path = arguments[position]
            if not isinstance(path, (str, bytes)):
                continue
            path = os.path.join(_start(arguments, folder), os.fsdecode(path))  # noqa: PTH118  (no import at each start)
            if event == "os.mkdir" and os.path.isdir(path):  # noqa: PTH112
                return None  # ends with "exists", whoever asks
            if (found := _outside(path, writable)) is not None:
                return found
    elif event in _TALKING and not _is_local(arguments):
        whom = arguments[:2] if event.startswith("socket.get") else arguments[1:]
        return TALKS, " ".join(str(part) for part in whom)[:200]
    return None


def install(writable: tuple[str, ...], note: Callable[[str], None]) -> None:
    """Refuse every breach from now on, for as long as this process lives; ``note`` gets a line for each."""

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" and event not in _PATHS_WRITTEN and event not in _TALKING:
            return
        found = breach(event, arguments, writable)
        if found is not None:
            note(json.dumps(found) + "\n")
            raise PermissionError(13, f"Refused in rehearsal: {found[0]}", found[1])

    sys.addaudithook(watch)


def _start(arguments: tuple[Any, ...], position: int | None) -> str:
    """The folder that a relative path starts in."""
    descriptor = -1 if position is None or position >= len(arguments) else arguments[position]
    return "" if not isinstance(descriptor, int) or descriptor < 0 else f"/proc/self/fd/{descriptor}"


def _outside(path: str | bytes, writable: tuple[str, ...]) -> tuple[str, str] | None:
    real = os.path.realpath(os.fsdecode(path))
    inside = any(real == folder or real.startswith(folder.rstrip("/") + "/") for folder in writable)
    return None if inside else (WRITES, real)


def _is_local(arguments: tuple[Any, ...]) -> bool:
    """Whether a socket is of this machine's processes alone."""
    return bool(arguments) and isinstance(arguments[0], socket.socket) and arguments[0].family == socket.AF_UNIX


if NOTES in os.environ:
    _descriptor = int(os.environ.pop(NOTES))

    def _note(line: str) -> None:
        os.write(_descriptor, line.encode())

    install(tuple(os.path.realpath(folder) for folder in os.environ[WRITABLE].split(":")), _note)
