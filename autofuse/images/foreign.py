"""Images in formats other than NIfTI, read by SimpleITK in a process that may fail without harm.

One such process serves this one; it is started when first needed (importing SimpleITK takes 0.7 s), started anew when
it dies or takes too long, and ends with us.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autofuse.foundation.errors import DataError
from autofuse.images.bytestream import LARGEST_RATIO
from autofuse.images.room import room_for

_ENDED_WITH_THREAD = -signal.SIGUSR1
"""Return code of a reader whose parent thread ended (Linux ties it to the thread, not to the process)."""
_ANSWER_BYTES = 1 << 16
_WAIT_FOR_END_S = 2.0


class _Reader:
    """The reading process, and one question and answer at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def ask(
        self, request: dict[str, Any], limit_s: float, room: Callable[[dict[str, Any]], NDArray[Any] | None]
    ) -> tuple[dict[str, Any], NDArray[Any] | None]:
        """The answer to ``request`` and the voxels, read into the array that ``room`` makes for the answer.

        Raises:
            TimeoutError: if it takes longer than ``limit_s``.
            EOFError: if the process dies; the message says how.
        """
        with self._lock:
            for _ in range(2):
                try:
                    return self._exchange(request, time.monotonic() + limit_s, room)
                except EOFError:
                    code = self.stop(_WAIT_FOR_END_S)
                    if code != _ENDED_WITH_THREAD:
                        raise EOFError(_death(code)) from None
                except BaseException:
                    self.stop()  # the conversation is out of step
                    raise
            raise EOFError(_death(_ENDED_WITH_THREAD))

    def stop(self, patience_s: float = 0.05) -> int:
        """End the process, if there is one; its return code."""
        process, self._process = self._process, None
        if process is None:
            return 0
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()
        try:
            return process.wait(patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait(_WAIT_FOR_END_S)

    def forget(self) -> None:
        """After a fork: the process belongs to the parent; only its pipes must not be kept open here."""
        self._lock = threading.Lock()
        process, self._process = self._process, None
        if process is not None:
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    if pipe is not None:
                        pipe.close()
            process.returncode = 0  # not ours to wait for

    def _exchange(
        self, request: dict[str, Any], deadline: float, room: Callable[[dict[str, Any]], NDArray[Any] | None]
    ) -> tuple[dict[str, Any], NDArray[Any] | None]:
        process = self._running()
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write((json.dumps(request) + "\n").encode())
        except BrokenPipeError:
            raise EOFError from None
        handle = process.stdout.fileno()
        line, rest = _line(handle, deadline)
        answer: dict[str, Any] = json.loads(line)
        voxels = None if "error" in answer else room(answer)
        if voxels is not None:
            view = voxels.reshape(-1).view(np.uint8).data
            view[: len(rest)] = rest
            _fill(handle, view[len(rest) :], deadline)
        return answer, voxels

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is not None:
            self.stop()
        if self._process is None:
            script = str(Path(__file__).with_name("foreign_child.py"))
            # -P: the folder of the script must not be searched for modules; it has an io.py.
            self._process = subprocess.Popen(
                [sys.executable, "-P", script, str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
            )
        return self._process


def ask_reader(
    path: Path, reader: str, max_voxels: int, limit_s: float, *, voxels: bool
) -> tuple[dict[str, Any], NDArray[Any] | None]:
    """What SimpleITK's ``reader`` says of the file, and its voxels (as stored, slowest axis first, components last).

    Raises:
        DataError: if SimpleITK refuses the file, dies of it, or takes longer than ``limit_s``.
        ResourceError: if the memory does not suffice.
    """
    request = {
        "path": str(path.absolute()),
        "reader": reader,
        "voxels": voxels,
        "max_voxels": max_voxels,
        "max_bytes": LARGEST_RATIO * path.stat().st_size,
        "limit_s": limit_s,
    }

    def room(answer: dict[str, Any]) -> NDArray[Any] | None:
        if not voxels:
            return None
        shape = (*reversed(answer["size"]), *((answer["components"],) if answer["components"] > 1 else ()))
        return room_for(int(np.prod(shape, dtype=np.int64)), np.dtype(answer["dtype"]), path).reshape(shape)

    try:
        answer, content = _READER.ask(request, limit_s, room)
    except (TimeoutError, EOFError) as error:
        raise _refused(path, reader, str(error)) from None
    if "error" in answer:
        raise _refused(path, reader, answer["error"])
    return answer, content


def _refused(path: Path, reader: str, found: str) -> DataError:
    return DataError(
        f"This file cannot be read ({reader.removesuffix('IO')}).",
        file=path,
        found=found,
        expected="an undamaged image of integers or floats",
        remedy="Copy the file again from its source, or convert it to .nii.gz.",
    )


def _death(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"the reading process was ended by {signal.Signals(-code).name}"
    return f"the reading process ended with code {code}"


def _line(handle: int, deadline: float) -> tuple[bytes, bytes]:
    """The bytes up to a line's end, and those that came with them."""
    content = b""
    while b"\n" not in content:
        _wait(handle, deadline)
        piece = os.read(handle, _ANSWER_BYTES)
        content += piece
        if not piece or len(content) > 2 * _ANSWER_BYTES:
            raise EOFError
    line, _, rest = content.partition(b"\n")
    return line, rest


def _fill(handle: int, view: memoryview, deadline: float) -> None:
    while view:
        _wait(handle, deadline)
        count = os.readv(handle, [view])
        if not count:
            raise EOFError
        view = view[count:]


def _wait(handle: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise TimeoutError("reading takes too long")


_READER = _Reader()
atexit.register(_READER.stop)
os.register_at_fork(after_in_child=_READER.forget)
