"""What the road made of a tiny phantom, travelled once for all tests."""

from __future__ import annotations

import pytest
from tiny_road import MEMORY_GIB, STEPS, Travelled, draw, tree_hash

from autofuse import road
from autofuse.foundation.workspace import Workspace


@pytest.fixture(scope="session")
def travelled(tmp_path_factory: pytest.TempPathFactory) -> Travelled:
    """The whole road, travelled once."""
    folder = tmp_path_factory.mktemp("road")
    raw = draw(folder)
    before = tree_hash(raw)
    report = road.run(raw, workspace=folder / "ws", steps=STEPS, memory_gib=MEMORY_GIB, device="cpu", workers=0)
    return Travelled(raw, Workspace(folder / "ws", raw.name), report, before)
