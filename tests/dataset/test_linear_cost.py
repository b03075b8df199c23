"""No step looks at a file, a folder or a case more often because there are more cases: counted, not timed."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autofuse.dataset.check import check_dataset
from autofuse.dataset.opening import open_dataset
from autofuse.fingerprint.measure import measure
from autofuse.foundation import console
from autofuse.foundation.workspace import Workspace

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from tiny_cases import write_tiny_cases

SIZES = (6, 12, 24)
CALLS = 1.05
"""Calls of functions may come in slightly larger numbers: sorting, blocks, progress."""

_seen: Counter[str] | None = None


def _hook(event: str, about: tuple[Any, ...]) -> None:
    # A handle that is wrapped in a stream was counted when it was opened.
    if _seen is not None and event in ("open", "os.listdir", "os.scandir") and not isinstance(about[0], int):
        _seen[event] += 1


sys.addaudithook(_hook)  # it stays as long as the process: nothing is counted without ``_seen``


def counted(work: Callable[[], object]) -> Counter[str]:
    """Files opened, folders listed and functions called by ``work``."""
    global _seen
    found: Counter[str] = Counter()

    def called(_frame: object, event: str, _argument: object) -> None:
        if event in ("call", "c_call"):
            found["calls"] += 1

    _seen = found
    sys.setprofile(called)
    try:
        work()
    finally:
        sys.setprofile(None)
        _seen = None
    return found


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """A set of tiny cases a size; the smallest first of all, to load what is loaded once."""
    folder = tmp_path_factory.mktemp("tiny")
    return {size: write_tiny_cases(folder / str(size), size) for size in (2, *SIZES)}


STEPS: dict[str, tuple[Callable[[Path, Path], object], int]] = {
    "open": (lambda raw, _: open_dataset(raw), 0),
    # Two images, the label, and the label's header before.
    "check": (lambda raw, _: check_dataset(raw, workers=0), 4),
    # Each file for its checksum and for its voxels; the record written, synced (with its folder) and read back.
    "measure": (lambda raw, out: measure(open_dataset(raw), Workspace(out, "tiny"), workers=0), 10),
}


@pytest.mark.parametrize("step", STEPS)
def test_twice_the_cases_cost_twice_as_much(step: str, sets: dict[int, Path], tmp_path: Path) -> None:
    console.configure(quiet=True)
    work, opened = STEPS[step]
    found = [counted(lambda size=size: work(sets[size], tmp_path / str(size))) for size in sets]
    _, few, some, many = found
    for event in ("os.listdir", "os.scandir"):
        assert few[event] == some[event] == many[event], "folders are listed once, however many cases they hold"
    assert many["open"] - some["open"] == 2 * (some["open"] - few["open"])
    assert (many["open"] - some["open"]) / (SIZES[2] - SIZES[1]) <= opened
    assert many["calls"] - some["calls"] <= CALLS * 2 * (some["calls"] - few["calls"])


def test_what_grows_with_the_square_is_seen(sets: dict[int, Path]) -> None:
    def pairs(size: int) -> int:
        return sum(any(other == case for other in range(size)) for case in range(size))

    few, some, many = (counted(lambda size=size: pairs(size))["calls"] for size in (20, 40, 80))
    assert many - some > CALLS * 2 * (some - few)
