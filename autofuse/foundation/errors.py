"""Errors that a user can act on: what, where, what was found, what was expected, how to mend it, and an exit code.

Exit codes: 0 good · 1 a bug of ours · 2 usage · 3 bad data · 4 bad, foreign or unsafe model or plan ·
5 resources (disk, memory, lock) · 6 partial success · 130 / 143 interrupted, state saved.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import ClassVar


class AutofuseError(Exception):
    """A problem that autofuse understands; printed as one message, never as a traceback.

    Args:
        problem: one sentence that says what is wrong.
        case: id of the case concerned.
        file: path of the file concerned.
        found: what was found there.
        expected: what was expected instead.
        remedy: what the user can do, as a command where there is one.
    """

    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        problem: str,
        *,
        case: str | None = None,
        file: str | Path | None = None,
        found: str | None = None,
        expected: str | None = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.case = case
        self.file = None if file is None else str(file)
        self.found = found
        self.expected = expected
        self.remedy = remedy

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process boundaries; keyword-only fields need help to survive the journey.
        return _rebuild, (type(self), self.problem, self.fields())

    def fields(self) -> dict[str, str | None]:
        """The named parts besides the problem, as a flat mapping for JSON output."""
        return {
            "case": self.case,
            "file": self.file,
            "found": self.found,
            "expected": self.expected,
            "remedy": self.remedy,
        }

    def __str__(self) -> str:
        parts = [self.problem]
        parts += [f"  {name}: {value}" for name, value in self.fields().items() if value is not None]
        return "\n".join(parts)


def _rebuild(kind: type[AutofuseError], problem: str, fields: dict[str, str | None]) -> AutofuseError:
    return kind(problem, **fields)


class UsageError(AutofuseError):
    """A command or call that cannot be meant as it was given."""

    exit_code = 2


class DataError(AutofuseError):
    """Images, labels or a data set description that cannot be used."""

    exit_code = 3


class ModelError(AutofuseError):
    """A plan, checkpoint or bundle that is broken, foreign or unsafe."""

    exit_code = 4


class ResourceError(AutofuseError):
    """Too little disk or memory, or something else holds the lock."""

    exit_code = 5


class PartialError(AutofuseError):
    """Some cases succeeded and some failed; the results of the others are kept."""

    exit_code = 6


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


def understood(error: BaseException) -> AutofuseError | None:
    """``error`` as a message that a person can act on; None where it is a bug of ours."""
    if isinstance(error, AutofuseError):
        return error
    if _is_out_of_memory(error):
        return ResourceError(
            "There is not enough memory.",
            found=one_line(error),
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


def one_line(error: BaseException) -> str:
    """The kind of an error and its message, without line breaks."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:300] if text else type(error).__name__
