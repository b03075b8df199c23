"""What a trainer watches of its networks stands in the journal, and people are told of it; resuming changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from tiny_training import Tiny, blob_loader, tiny_run, tiny_task
from torch import nn

from autofuse.training import run as run_module
from autofuse.training.journal import LOG_NAME, read_log
from autofuse.training.loop import fit


@dataclass(frozen=True)
class Watching(Tiny):
    """Watches the size of its weights, and remarks on the first number that it sees."""

    def watched(self, nets: nn.ModuleDict) -> Mapping[str, float]:
        return {"size": sum(float(weight.detach().abs().sum()) for weight in nets.parameters())}

    def remarks(self, before: Mapping[str, float], now: Mapping[str, float]) -> tuple[str, ...]:
        return () if before else ("its weights were weighed for the first time",)


def test_they_stand_in_the_log_and_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "load_registered", lambda group, name: Watching)
    task, trainer = tiny_task(), Watching()
    fit(task, trainer, None, tiny_run(task, trainer, steps=6), tmp_path, device="cpu", loader_factory=blob_loader())
    records, lost = read_log(tmp_path / LOG_NAME)
    assert not lost and len(records) > 1 and all(record.watched["size"] > 0 for record in records)
    assert records[0].remarks == ("its weights were weighed for the first time",)
    assert all(not record.remarks for record in records[1:])
    assert "weighed for the first time" in capsys.readouterr().err


def test_a_trainer_that_watches_nothing_leaves_lines_as_they_were(tmp_path: Path) -> None:
    task, trainer = tiny_task(), Tiny()
    fit(task, trainer, None, tiny_run(task, trainer, steps=4), tmp_path, device="cpu", loader_factory=blob_loader())
    text = (tmp_path / LOG_NAME).read_text()
    assert "watched" not in text and "remarks" not in text
