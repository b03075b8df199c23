"""The tiny trainers stand in the registry, and torch uses one thread."""

from __future__ import annotations

import pytest
import torch
from tiny_training import Pair, Tiny

from autofuse.training import run as run_module

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def tiny_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """``tiny`` and ``pair`` are registered; other names are looked up as ever."""
    real = run_module.load_registered
    ours = {"tiny": Tiny, "pair": Pair}
    monkeypatch.setattr(run_module, "load_registered", lambda group, name: ours.get(name) or real(group, name))
