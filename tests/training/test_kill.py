"""Killed with SIGKILL at random moments, a run ends with the very bytes of an undisturbed one."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

KILLS = int(os.environ.get("AUTOFUSE_KILLS", "3"))
"""In each precision; AUTOFUSE_KILLS=20 for the full promise. The moments differ each time, named by a seed."""


def test_killed_at_random_moments_nothing_is_lost(tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    script = Path(__file__).with_name("tiny_kills.py")
    command = [sys.executable, str(script), str(tmp_path), str(KILLS), str(seed), "fp32", "bf16"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120 + 30 * KILLS, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    for precision, finished in json.loads(done.stdout).items():
        whole, killed = tmp_path / precision / "whole", tmp_path / precision / "killed"
        assert finished, (seed, (tmp_path / precision / "stderr.txt").read_text()[-2000:])
        for name in ("run.json", "plan.json", "last.safetensors", "best.safetensors"):
            assert (whole / name).read_bytes() == (killed / name).read_bytes(), (precision, name, seed)
        assert untimed(whole) == untimed(killed), seed
        assert not list(killed.glob(".tmp-*"))


def untimed(folder: Path) -> list[dict[str, object]]:
    """The log without what the clock decides."""
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [
        {name: value for name, value in record.items() if name not in ("elapsed_s", "step_s", "memory_gib")}
        for record in records
    ]
