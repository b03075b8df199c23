"""Fixtures that every room's tests share."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from autofuse.foundation import console

SHARED_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell script's background job ignores Ctrl-C, and so would every command that a test starts and stops.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images beside the project; tests that need it are skipped where it is not."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the folder of real images (../shared/data) is not here")
    return SHARED_DATA


@pytest.fixture(autouse=True)
def talkative_again() -> Iterator[None]:
    """What a test silences, the next one in the same process hears again."""
    yield
    console.configure(quiet=False)
