"""Trainings in one and in several processes, and whether they came to the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file

DROPS: dict[str, Any] = {"dropout_start": 0.0, "dropout_ramp": 0.0, "whole_samples": 0.3}
"""Modalities are dropped from the first step on."""
TOLERANCE = 1e-4
"""Of float32 sums that are added up in another order, after a few steps."""


class Done(NamedTuple):
    """Where the trainings are, and how each rank of each attempt ended."""

    place: Path
    ended: dict[str, list[list[int]]]

    def log(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.place / name / "log.jsonl").read_text().splitlines()]

    def told(self, name: str) -> str:
        return "\n".join(path.read_text()[-1500:] for path in sorted(self.place.glob(f"{name}_*.txt")))


def trained(place: Path, scenarios: tuple[dict[str, Any], ...]) -> Done:
    """Trainings of ``scenarios`` in forks of one process."""
    script = Path(__file__).with_name("ranks_trained.py")
    command = [sys.executable, str(script), str(place), json.dumps(scenarios)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return Done(place, json.loads(done.stdout))


def assert_alike(done: Done, alone: str, shared: str) -> None:
    """Losses, terms and gradients of both, epoch by epoch, up to rounding; weights equal on all ranks."""
    assert done.ended[shared][-1] and set(done.ended[shared][-1]) == {0}, done.told(shared)
    for one, both in zip(done.log(alone), done.log(shared), strict=True):
        for name in ("loss", "gradient_norm", "dice"):
            assert both[name] == pytest.approx(one[name], rel=TOLERANCE, abs=1e-5), name
        assert both["terms"] == pytest.approx(one["terms"], rel=TOLERANCE, abs=1e-5)
        assert both["skipped_steps"] == one["skipped_steps"] == 0
    assert len({path.read_text() for path in (done.place / shared).glob("weights_*")}) == 1
    expected = load_file(done.place / alone / "last.safetensors")
    found = load_file(done.place / shared / "last.safetensors")
    for name, weights in expected.items():
        torch.testing.assert_close(found[name], weights, rtol=TOLERANCE, atol=1e-5)
