"""Killed at random moments and given again, the command ends with the bytes of an undisturbed run."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_road import draw

KILLS = int(os.environ.get("AUTOFUSE_KILLS", "20"))
STEPS = 10
SEED = int(os.environ.get("AUTOFUSE_KILL_SEED", str(random.SystemRandom().randrange(10**6))))


STARTING_S = 3.0
"""What a command that is given again takes until it works, about: Python and torch are read."""
TAUGHT = ("-t", "self_training", "--set", "least_dice=0", "--set", "confidence=0.4")
"""Teachers, who label cases, before the training that counts."""


def _start(raw: Path, workspace: Path, method: tuple[str, ...]) -> subprocess.Popen[bytes]:
    options = ["--workspace", str(workspace), "--steps", str(STEPS), "--memory", "0.5GiB", "--device", "cpu"]
    command = [sys.executable, "-m", "autofuse", "run", str(raw), *options, *method, "--workers", "0", "--quiet"]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True, cwd=workspace.parent
    )


def _finish(raw: Path, workspace: Path, method: tuple[str, ...]) -> float:
    """Seconds that the command took to its good end."""
    started = time.monotonic()
    process = _start(raw, workspace, method)
    _, told = process.communicate(timeout=570)
    assert process.returncode == 0, told.decode()
    return time.monotonic() - started


def _products(workspace: Path) -> dict[str, bytes]:
    """Everything that a run makes and that does not tell the time."""
    kept = ("last.safetensors", "best.safetensors", "plan.json", "splits.json", "fingerprint.json", "run.json")
    folder = next(path for path in workspace.iterdir() if path.is_dir())
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.name in kept or path.name.endswith((".nii.gz", "scores.json", "scores.csv"))
    }


def _orphans(workspace: Path) -> list[Path]:
    return [path for path in workspace.rglob(".tmp-*") if "for_next_stage" not in path.parts]


def _killed(raw: Path, workspace: Path, method: tuple[str, ...], after_s: float) -> bool:
    """Whether the command was still at work when it was killed; it must not have failed by itself."""
    process = _start(raw, workspace, method)
    time.sleep(after_s)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    _, told = process.communicate(timeout=60)
    assert process.returncode in (0, -signal.SIGKILL), told.decode()
    return process.returncode != 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "unlabelled", "kills"), [((), 0, KILLS), (TAUGHT, 2, -(-KILLS // 20))], ids=["supervised", "taught"]
)
def test_kills_change_nothing(tmp_path: Path, method: tuple[str, ...], unlabelled: int, kills: int) -> None:
    """Only kills of a process at work count; a road that ends between them is compared, and another one begun."""
    raw = draw(tmp_path, cases=5 + unlabelled, unlabelled=unlabelled)
    whole_s = _finish(raw, tmp_path / "undisturbed", method)
    expected = _products(tmp_path / "undisturbed")
    assert any(name.endswith("last.safetensors") for name in expected)
    generator = random.Random(SEED)
    killed = roads = 0
    while killed < kills:
        workspace, ended, left_s = tmp_path / f"killed_{roads}", False, whole_s
        while killed < kills and not ended:
            # What is left of a road is shorter than the whole; kills that come too late would take time and count not.
            after_s = generator.uniform(0.1, left_s)
            ended = not _killed(raw, workspace, method, after_s)
            if not ended:
                killed, left_s = killed + 1, min(whole_s, max(left_s - after_s, 1.0) + STARTING_S)
            elif left_s == whole_s:  # this machine is less busy than it was
                whole_s = min(whole_s, after_s)
        if not ended:
            _finish(raw, workspace, method)
        found = _products(workspace)
        assert found.keys() == expected.keys(), f"seed {SEED}, road {roads}"
        assert {name for name in expected if expected[name] != found[name]} == set(), f"seed {SEED}, road {roads}"
        assert _orphans(workspace) == []
        roads += 1
