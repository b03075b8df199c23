"""Checks with names, and what came out of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

Subject = TypeVar("Subject")
Check = Callable[[Subject], Iterable[str]]
"""Yields one sentence per defect: what is wrong, and what an author can do about it. Yields nothing if all is well."""


@dataclass(frozen=True)
class CheckResult:
    """What one check found.

    Attributes:
        check: its name.
        setting: what it was tried on, for people.
        defects: one sentence each; empty if it passed.
    """

    check: str
    setting: str
    defects: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing was found."""
        return not self.defects

    def __str__(self) -> str:
        return "\n".join(f"{self.check} ({self.setting}): {defect}" for defect in self.defects)


class ConformanceError(AssertionError):
    """Something registered does not keep the engine's rules; the message lists every defect found."""

    def __init__(self, subject: str, results: Iterable[CheckResult]) -> None:
        self.results = tuple(results)
        self.failed = tuple(result for result in self.results if not result.passed)
        super().__init__(
            f"{subject} fails {len(self.failed)} of {len(self.results)} checks:\n"
            + "\n".join(str(result) for result in self.failed)
        )


def run_checks(checks: Mapping[str, Check[Subject]], subject: Subject, setting: str) -> list[CheckResult]:
    """The result of every check on ``subject``; one that raises has failed, and the others still run."""
    results = []
    for name, check in checks.items():
        try:
            defects = tuple(check(subject))
        except Exception as error:
            # An author's code may raise anything; whatever it is belongs in the report beside the other findings.
            defects = (f"raised {type(error).__name__}: {error}",)
        results.append(CheckResult(name, setting, defects))
    return results
