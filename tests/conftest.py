"""Fixtures that every room's tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images beside the project; tests that need it are skipped where it is not."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the folder of real images (../shared/data) is not here")
    return SHARED_DATA
