"""The command ``autofuse``: reads the command line, calls one function of the road, shows the answer.

Every way to end is decided here: exit codes as in ``autofuse.foundation.errors``, one message per mistake, no traceback
unless it is asked for, and quiet where nobody reads the output any more.
"""

from __future__ import annotations

import os
import signal
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from autofuse.cli.failure import Terminated, print_json, report

if TYPE_CHECKING:
    from autofuse.cli.answers import Answer


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command line; returns its exit code."""
    _mend_streams()
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _carry_out(given)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Whoever read our output (head, less) has seen enough; the work itself was done.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _carry_out(given: list[str]) -> int:
    verb: str | None = None
    as_json, debug = "--json" in given, "--debug" in given
    log_file: Path | None = None
    try:
        from autofuse.cli.parser import parse

        options = parse(given)
        verb = options.verb
        signal.signal(signal.SIGTERM, _on_sigterm)
        log_file = _prepare(options)
        return _show(options, _answer(options))
    except BrokenPipeError:
        raise
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    except BaseException as error:
        return report(error, verb, as_json=as_json, debug=debug, log_file=log_file)


def _answer(options: Namespace) -> Answer:
    from autofuse.cli.actions import act

    return act(options)


def _speaks_for_all() -> bool:
    """Whether this process tells results: of several that torchrun started, the first."""
    from autofuse.foundation.seat import started_seat

    seat = started_seat()
    return seat is None or seat.rank == 0


def _show(options: Namespace, answer: Answer) -> int:
    if not _speaks_for_all():
        return answer.exit_code
    if options.json:
        print_json({"verb": options.verb, "exit_code": answer.exit_code, "result": answer.content()})
    else:
        from autofuse.foundation.console import out

        answer.show(out())
    return answer.exit_code


def _prepare(options: Namespace) -> Path | None:
    """Set how we talk, and have the log written beside what is made; the log's path if the verb has a workspace."""
    from autofuse.foundation.console import configure

    configure(quiet=options.quiet or options.json or not _speaks_for_all())
    from autofuse.cli.logs import attach_log

    return attach_log(options)


def _on_sigterm(_number: int, _frame: FrameType | None) -> None:
    raise Terminated


def _mend_streams() -> None:
    """Give closed standard streams a place to go, and let no character that the terminal lacks stop the work."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # A closed descriptor would be taken by the next file that is opened, and prints would land in it.
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


if __name__ == "__main__":
    sys.exit(main())
