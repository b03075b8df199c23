"""Which files a bundle may hold, how large they may be, and how each is stored."""

from __future__ import annotations

import re

from autofuse.sharing.types import NAME_PATTERN

MANIFEST, MODEL, CARD = "manifest.json", "model.json", "README.md"
SUMMARY, ENSEMBLE = "data_summary.json", "ensemble.json"
WEIGHTS, RUN, PLAN, FINISHED = "last.safetensors", "run.json", "plan.json", "finished.json"
MEMBER_FILES = (FINISHED, WEIGHTS, PLAN, RUN)
BUNDLE_ENDING = ".autofuse.zip"

MOST_ENTRIES = 1000
LARGEST_LISTING_BYTES = 1 << 20
"""Of the archive's own directory of its entries."""
LARGEST_TEXT_BYTES = 8 << 20
MOST_TEXT_BYTES = 64 << 20
"""Of all text entries together, unpacked."""
LARGEST_RATIO = 100.0
"""Unpacked over packed size of a text entry; plans reach about 12. Weights are stored as they are, ratio 1."""

_PART = NAME_PATTERN.strip("^$")
_MEMBER = re.compile(rf"runs/{_PART}/fold_(0|[1-9][0-9]{{0,3}})/({'|'.join(map(re.escape, MEMBER_FILES))})")
_TOP = frozenset({MANIFEST, MODEL, CARD, SUMMARY, ENSEMBLE})


def is_expected(path: str) -> bool:
    """Whether a bundle may hold a file of this name; none with a root, a drive, "..", a backslash or a link in it."""
    return path in _TOP or _MEMBER.fullmatch(path) is not None


def is_weights(path: str) -> bool:
    """Whether the entry holds tensors; all others are text."""
    return path.endswith(f"/{WEIGHTS}")
