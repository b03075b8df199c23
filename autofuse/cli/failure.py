"""How anything that goes wrong becomes an exit code, one message, and a traceback in the log; in one place."""

from __future__ import annotations

import sys
import time
import traceback
from pathlib import Path
from typing import Any

from autofuse.foundation.errors import AutofuseError, one_line, understood

USAGE, INTERRUPTED, TERMINATED = 2, 130, 143


class Terminated(BaseException):
    """SIGTERM, raised on the main thread so that everything on the way out is closed properly."""


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
    bug = AutofuseError(f"A bug in autofuse: {one_line(error)}; {where}.")
    _tell(bug, verb, 1, as_json=as_json)
    return 1


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
