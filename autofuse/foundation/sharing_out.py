"""Shares of many items, for processes that work side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

SHARES = ".shares"
"""Folder with the locks of those who write shares into the folder that it is in."""


def share_of(items: Sequence[T], number: int, of: int) -> list[T]:
    """The ``number``-th (from 1) of ``of`` shares, each without gaps and of a size that differs by one at most."""
    start, stop = ((number - 1) * len(items) // of, number * len(items) // of)
    return list(items[start:stop])
