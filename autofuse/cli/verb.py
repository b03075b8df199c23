"""What a verb of the command line is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Verb:
    """One verb.

    Attributes:
        summary: one line for the list of verbs.
        description: a paragraph for the verb's own help.
        examples: commands with a remark each.
    """

    name: str
    summary: str
    description: str
    examples: tuple[tuple[str, str], ...]
