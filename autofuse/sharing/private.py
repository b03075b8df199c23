"""What must not leave with a model: names of cases and subjects, and paths of the machine."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from autofuse.foundation.errors import ModelError

SHORTEST_WORD = 3
SHORTEST_NUMBER = 5
"""Shorter ids ("7", "001") say nothing of anybody, and stand in any text."""
_PATH = re.compile(r"(?:^|[\s'\"(=])(?:/[\w.+-]+){2,}|(?:^|[\s'\"(=])(?:~/|[A-Za-z]:\\)\w")


class Secrets:
    """Words that a bundle must not hold.

    Args:
        ids: of cases and subjects.
        paths: folders of this machine that the model has to do with.
        public: words that the bundle holds anyway (the model's name, modalities, classes); an id that is one of them
            gives nothing away.
    """

    def __init__(self, ids: Iterable[str] = (), paths: Iterable[Path] = (), public: Iterable[str] = ()) -> None:
        known = {word.casefold() for word in public}
        wanted = sorted({word for word in ids if _tells(word) and word.casefold() not in known}, key=len, reverse=True)
        self._ids = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, wanted))})(?!\w)", re.I) if wanted else None
        self._paths = tuple(sorted({str(path) for path in paths if len(path.parts) > 1}))

    def found_in(self, text: str) -> str | None:
        """What ``text`` gives away, in words; None if nothing."""
        if self._ids is not None and (hit := self._ids.search(text)):
            return f"the case or subject {hit.group()!r}"
        for path in self._paths:
            if path in text:
                return f"the path {path}"
        hit = _PATH.search(text)
        return f"the path {hit.group().strip()!r}" if hit else None

    def found_in_value(self, content: Any) -> str | None:
        """The same for JSON: every text and every key in it; numbers are nobody's name."""
        return next((found for text in texts_of(content) if (found := self.found_in(text)) is not None), None)

    def require_absent(self, entry: str, content: bytes) -> None:
        """Nothing, if the bytes of the text file ``entry`` give nothing away.

        Raises:
            ModelError: otherwise, saying what.
        """
        text = content.decode()
        found = self.found_in_value(json.loads(text)) if entry.endswith(".json") else self.found_in(text)
        if found is not None:
            raise ModelError(
                "The bundle would give away what must not leave with a model; nothing was written.",
                file=entry,
                found=found,
                expected="no name of a case or subject, no path",
                remedy="Name the model with --name; if it stands in the plan, it is the planner that must not write it "
                "there.",
            )


def _tells(word: str) -> bool:
    return len(word) >= (SHORTEST_NUMBER if word.isdigit() else SHORTEST_WORD)


def texts_of(content: Any) -> Iterator[str]:
    """Every text in JSON, keys too."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, Mapping):
        for key, value in content.items():
            yield str(key)
            yield from texts_of(value)
    elif isinstance(content, list | tuple):
        for value in content:
            yield from texts_of(value)
