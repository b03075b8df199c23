"""How anything that goes wrong becomes an exit code, one message, and a traceback in the log; in one place."""

from __future__ import annotations

import errno
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from autofuse.foundation.errors import AutofuseError, ResourceError

USAGE, INTERRUPTED, TERMINATED = 2, 130, 143

_RESOURCE_ERRNOS = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.EACCES,
        errno.EPERM,
        errno.ENOMEM,
        errno.EMFILE,
        errno.ENFILE,
        errno.EIO,
        errno.ENOTDIR,
        errno.EFBIG,
    }
)
"""What the operating system refuses for want of space, rights or handles; anything else is a bug of ours."""


class Terminated(BaseException):
    """SIGTERM, raised on the main thread so that everything on the way out is closed properly."""


def understood(error: BaseException) -> AutofuseError | None:
    """``error`` as a message that a person can act on; None where it is a bug of ours."""
    if isinstance(error, AutofuseError):
        return error
    if _is_out_of_memory(error):
        return ResourceError(
            "There is not enough memory.",
            found=_one_line(error),
            remedy="Plan for less with --memory, or use fewer --workers.",
        )
    if isinstance(error, OSError) and error.errno in _RESOURCE_ERRNOS:
        return ResourceError(
            "The operating system refused a file operation.",
            file=error.filename if isinstance(error.filename, str) else None,
            found=error.strerror,
            remedy="Check the free space and your rights there, then run the same command again.",
        )
    return None


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError):
        return True
    # torch is not imported for this: its error class has this name, and the CPU allocator raises a bare RuntimeError.
    if type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def report(error: BaseException, verb: str | None, *, as_json: bool, debug: bool, log_file: Path | None) -> int:
    """Log the traceback, tell the person or the program, and return the exit code."""
    trace = "".join(traceback.format_exception(error))
    logged = _log(trace, log_file)
    if debug:
        sys.stderr.write(trace)
    if isinstance(error, (KeyboardInterrupt, Terminated)):
        code = TERMINATED if isinstance(error, Terminated) else INTERRUPTED
        stopped = AutofuseError(
            "Stopped." if code == TERMINATED else "Interrupted.",
            remedy="What was finished is kept; the same command again goes on from there.",
        )
        _tell(stopped, verb, code, as_json=as_json)
        return code
    known = understood(error)
    if known is not None:
        _tell(known, verb, known.exit_code, as_json=as_json)
        return known.exit_code
    where = f"the traceback is in {logged}" if logged else "run it with --debug to see the traceback"
    bug = AutofuseError(f"A bug in autofuse: {_one_line(error)}; {where}.")
    _tell(bug, verb, 1, as_json=as_json)
    return 1


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:300] if text else type(error).__name__


def _log(trace: str, log_file: Path | None) -> Path | None:
    """Append ``trace`` to the log; the log's path if that worked. Makes no folder: bad input leaves nothing behind."""
    if log_file is None or not log_file.parent.is_dir():
        return None
    try:
        with log_file.open("a", encoding="utf-8") as stream:
            stream.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {' '.join(sys.argv)}\n{trace}")
    except OSError:
        return None
    return log_file


def _tell(error: AutofuseError, verb: str | None, code: int, *, as_json: bool) -> None:
    if as_json:
        print_json({"verb": verb, "exit_code": code, "error": error_content(error)})
        return
    if sys.stderr.isatty():
        _tell_terminal(error)
    else:
        sys.stderr.write(f"autofuse: {error}\n")


def _tell_terminal(error: AutofuseError) -> None:
    from rich.markup import escape
    from rich.panel import Panel

    from autofuse.foundation.console import console

    lines = [escape(error.problem)]
    lines += [f"[bold]{name}[/bold]  {escape(value)}" for name, value in error.fields().items() if value is not None]
    console().print(Panel("\n".join(lines), title=type(error).__name__, title_align="left", border_style="red"))


def error_content(error: AutofuseError) -> dict[str, Any]:
    """An error as a JSON-able mapping."""
    return {"kind": type(error).__name__, "problem": error.problem, **error.fields()}


def print_json(content: Any) -> None:
    """One JSON document on stdout."""
    import json

    sys.stdout.write(json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1) + "\n")
