"""Tables of rules: each row says when it holds, what it chooses and why; the first that holds decides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

F = TypeVar("F")


@dataclass(frozen=True)
class Finding:
    """Whether a condition holds, and the numbers that say so, in words."""

    holds: bool
    why: str


@dataclass(frozen=True)
class Row(Generic[F]):
    """One rule.

    Attributes:
        when: the condition in words; ``finds``: the same as a function of the facts.
        chosen: name of what it chooses; ``because``: why that.
    """

    when: str
    chosen: str
    because: str
    finds: Callable[[F], Finding]


@dataclass(frozen=True)
class Verdict(Generic[F]):
    """The row that decides, what it found, and every other row with the reason why it does not decide."""

    row: Row[F]
    finding: Finding
    passed_over: tuple[str, ...]

    @property
    def rule(self) -> str:
        """The row as a sentence."""
        return f"{self.row.when} ({self.finding.why}): {self.row.because}"


def first_match(table: Sequence[Row[F]], facts: F) -> Verdict[F]:
    """The first row of ``table`` that holds for ``facts``.

    Raises:
        LookupError: if none holds: a table must end with a row that does.
    """
    found = [(row, row.finds(facts)) for row in table]
    chosen = next((index for index, (_, finding) in enumerate(found) if finding.holds), None)
    if chosen is None:
        raise LookupError("no row of the table holds: " + "; ".join(f"{row.when}: {item.why}" for row, item in found))
    row, finding = found[chosen]
    passed = tuple(_passed_over(other, item) for index, (other, item) in enumerate(found) if index != chosen)
    return Verdict(row, finding, passed)


def _passed_over(row: Row[F], finding: Finding) -> str:
    if finding.holds:
        return f"{row.chosen} (if {row.when}): true as well, but an earlier rule decides"
    return f"{row.chosen} (if {row.when}): no; {finding.why}"
