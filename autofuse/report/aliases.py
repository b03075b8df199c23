"""Names of cases as a report shows them: as they are, or numbers in their place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from pydantic import JsonValue

from autofuse.evaluation.types import Scores
from autofuse.fingerprint.types import Fingerprint

SHORTEST_IN_TEXT = 4
"""A shorter id is not looked for in sentences: it may as well be a number of theirs."""
UNKNOWN = "a case"


@dataclass(frozen=True)
class Aliases:
    """What cases are called; without ``names`` by their ids."""

    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def hide(self) -> bool:
        """Whether ids are hidden."""
        return bool(self.names)

    def of(self, case: str) -> str:
        """What a case is called."""
        return self.names.get(case, UNKNOWN) if self.hide else case

    def text(self, words: str) -> str:
        """The words with every id in them replaced, as far as an id can be told from other words."""
        if self._ids is None:
            return words
        return self._ids.sub(lambda found: self.names[found.group()], words)

    @cached_property
    def _ids(self) -> re.Pattern[str] | None:
        """Every id that can be told from other words, longer ones first."""
        ids = sorted((case for case in self.names if len(case) >= SHORTEST_IN_TEXT), key=len, reverse=True)
        return re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, ids)) + r")(?!\w)") if ids else None

    def within(self, value: JsonValue) -> JsonValue:
        """The same for every text in a value, however deep, and for the keys of its mappings."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.within(item) for item in value]
        if isinstance(value, dict):
            return {self.text(key): self.within(item) for key, item in value.items()}
        return value

    def fingerprint(self, value: Fingerprint) -> Fingerprint:
        """The same measurements under these names; subjects are numbered too."""
        if not self.hide:
            return value
        subjects = {name: f"subject {number}" for number, name in enumerate(_subjects(value), start=1)}
        cases = [
            case.model_copy(update={"id": self.of(case.id), "subject": subjects[case.subject]}) for case in value.cases
        ]
        trials = [item.model_copy(update={"case": self.of(item.case)}) for item in value.registrations]
        return value.model_copy(update={"cases": tuple(cases), "registrations": tuple(trials)})

    def scores(self, value: Scores) -> Scores:
        """The same scores under these names."""
        if not self.hide:
            return value
        cases = [case.model_copy(update={"case": self.of(case.case)}) for case in value.cases]
        failed = [item.model_copy(update={"case": self.of(item.case), "problem": ""}) for item in value.failed]
        return value.model_copy(update={"cases": tuple(cases), "failed": tuple(failed)})


def numbered(cases: Iterable[str]) -> Aliases:
    """Aliases "case 1", "case 2" ... in the order of the cases; each case once."""
    return Aliases({case: f"case {number}" for number, case in enumerate(dict.fromkeys(cases), start=1)})


def without_folders(words: str, folders: Iterable[str]) -> str:
    """The words with paths relative to ``folders``; of any other absolute path only the last part is left."""
    for folder in folders:
        words = words.replace(f"{folder.rstrip('/')}/", "")
    return re.sub(r"(?<![\w.…/])/(?:[^\s/]+/)+([^\s/]+)", r"…/\1", words)


def _subjects(value: Fingerprint) -> list[str]:
    return list(dict.fromkeys(case.subject for case in value.cases))
