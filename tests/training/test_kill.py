"""Killed with SIGKILL at random moments, a run ends with the very bytes of an undisturbed one."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

KILLS = int(os.environ.get("AUTOFUSE_KILLS", "4"))
"""AUTOFUSE_KILLS=20 for the full promise; the moments differ from run to run and are named by a seed."""


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_killed_at_random_moments_nothing_is_lost(tmp_path: Path, precision: str) -> None:
    seed = random.randrange(10**6)
    script = Path(__file__).with_name("tiny_kills.py")
    command = [sys.executable, str(script), str(tmp_path), str(KILLS), str(seed), precision]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60 + 20 * KILLS, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    what = json.loads(done.stdout)
    assert what["finished"], (seed, (tmp_path / "stderr.txt").read_text()[-2000:])
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for name in ("run.json", "plan.json", "last.safetensors", "best.safetensors"):
        assert (whole / name).read_bytes() == (killed / name).read_bytes(), (name, seed)
    assert untimed(whole) == untimed(killed), seed
    assert not list(killed.glob(".tmp-*"))


def untimed(folder: Path) -> list[dict[str, object]]:
    """The log without what the clock decides."""
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [
        {name: value for name, value in record.items() if name not in ("elapsed_s", "step_s", "memory_gib")}
        for record in records
    ]
