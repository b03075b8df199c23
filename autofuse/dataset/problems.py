"""What is wrong with a data set, collected instead of raised, so that one run lists everything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from autofuse.foundation.errors import AutofuseError, DataError
from autofuse.foundation.values import Value

Severity = Literal["error", "warning"]


class Problem(Value):
    """One thing that is wrong or odd, where it is, and how to mend it.

    Attributes:
        severity: an "error" keeps the data set from being used; a "warning" is for a person to judge.
        rule: short name of the rule that found it; equal problems are told together.
        cause: one sentence that says what is wrong.
        remedy: what the user can do.
        case: id of the case concerned, if one is.
        file: file concerned, relative to the data set's folder, if one is.
        found, expected: details, where there are some.
    """

    severity: Severity
    rule: str
    cause: str
    remedy: str
    case: str | None = None
    file: str | None = None
    found: str | None = None
    expected: str | None = None

    def as_error(self) -> DataError:
        """The same problem as an exception."""
        return DataError(
            self.cause, case=self.case, file=self.file, found=self.found, expected=self.expected, remedy=self.remedy
        )


class Findings:
    """Problems in the order in which they were met; every rule adds to it and goes on."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.problems: list[Problem] = []

    def error(
        self,
        rule: str,
        cause: str,
        *,
        remedy: str,
        case: str | None = None,
        file: str | Path | None = None,
        found: str | None = None,
        expected: str | None = None,
    ) -> None:
        """Note something that keeps the data set from being used."""
        self._add("error", rule, cause, remedy, case, file, found, expected)

    def warn(
        self,
        rule: str,
        cause: str,
        *,
        remedy: str,
        case: str | None = None,
        file: str | Path | None = None,
        found: str | None = None,
        expected: str | None = None,
    ) -> None:
        """Note something odd that a person should look at."""
        self._add("warning", rule, cause, remedy, case, file, found, expected)

    @contextmanager
    def caught(self, rule: str, *, case: str | None = None, file: str | None = None) -> Iterator[None]:
        """Turn an error that the block raises into a finding, and go on."""
        try:
            yield
        except AutofuseError as error:
            self.error(
                rule,
                error.problem,
                case=error.case or case,
                file=error.file or file,
                found=error.found,
                expected=error.expected,
                remedy=error.remedy or "Replace or repair this file.",
            )

    @property
    def errors(self) -> list[Problem]:
        """Those that keep the data set from being used."""
        return [problem for problem in self.problems if problem.severity == "error"]

    def raise_first(self) -> None:
        """Raise the first error, saying how many more there are.

        Raises:
            DataError: if there is any error.
        """
        errors = self.errors
        if not errors:
            return
        first = errors[0].as_error()
        if len(errors) > 1:
            first.remedy = f"{first.remedy} ({len(errors) - 1} more; `autofuse check {self.root}` lists all.)"
        raise first

    def _add(
        self,
        severity: Severity,
        rule: str,
        cause: str,
        remedy: str,
        case: str | None,
        file: str | Path | None,
        found: str | None,
        expected: str | None,
    ) -> None:
        place = None if file is None else printable(relative_to(self.root, str(file)))
        self.problems.append(
            Problem(
                severity=severity,
                rule=rule,
                cause=printable(cause),
                remedy=printable(remedy),
                case=None if case is None else printable(case),
                file=place,
                found=None if found is None else printable(found),
                expected=None if expected is None else printable(expected),
            )
        )


def relative_to(root: Path, file: str) -> str:
    """``file`` seen from ``root`` where it lies inside, else as it is."""
    try:
        return Path(file).relative_to(root).as_posix()
    except ValueError:
        return file


def printable(text: str) -> str:
    """``text`` with bytes that are not UTF-8 (they reach us as surrogates) written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()
