"""The tiny trainers stand in the registry, and torch uses one thread."""

from __future__ import annotations

import pytest
import torch
from tiny_training import Pair, Tiny

from autofuse.training import run as run_module
from autofuse.training.journal import Journal

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def tiny_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """``tiny`` and ``pair`` are registered; other names are looked up as ever."""
    real = run_module.load_registered
    ours = {"tiny": Tiny, "pair": Pair}
    monkeypatch.setattr(run_module, "load_registered", lambda group, name: ours.get(name) or real(group, name))


@pytest.fixture
def pictures() -> None:
    """Ask for this where progress.png and TensorBoard's events are looked at."""


@pytest.fixture(autouse=True)
def no_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than the tiny trainings; where nobody looks, it is left out."""
    if "pictures" not in request.fixturenames:
        monkeypatch.setattr(Journal, "draw", lambda *_: None)
        monkeypatch.setattr(Journal, "_add_events", lambda *_: None)
