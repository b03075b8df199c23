"""Commands that start together, in poor surroundings, or where nothing can be written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_road import Travelled, draw, tree_hash

from autofuse import road
from autofuse.road.places import workspace_of
from autofuse.road.runs import find_runs


def _start(*arguments: str | Path, cwd: Path, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "autofuse", *map(str, arguments)]
    return subprocess.Popen(
        command,
        cwd=cwd,
        env=dict(os.environ) if env is None else env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_folds_that_start_together_share_one_plan(tmp_path: Path) -> None:
    raw = draw(tmp_path)
    common = ["--workspace", "ws", "--steps", "2", "--workers", "0", "--device", "cpu"]
    folds = [_start("train", raw, "--fold", str(fold), *common, cwd=tmp_path) for fold in range(3)]
    for process in folds:
        _, told = process.communicate(timeout=570)
        assert process.returncode == 0, told
    place = workspace_of(raw, tmp_path / "ws")
    ((_, trained),) = find_runs(place).items()
    assert [fold.fold for fold in trained] == [0, 1, 2]
    assert len({fold.plan.plan_digest for fold in trained}) == 1
    assert all(fold.finished for fold in trained)


@pytest.mark.slow
def test_two_runs_on_one_output_wait_or_are_refused(tmp_path: Path) -> None:
    raw = draw(tmp_path)
    options = ["--workspace", "ws", "--steps", "4", "--workers", "0", "--device", "cpu", "--memory", "0.5GiB"]
    both = [_start("run", raw, *options, cwd=tmp_path) for _ in range(2)]
    told = [process.communicate(timeout=570)[1] for process in both]
    codes = sorted(process.returncode for process in both)
    assert codes in ([0, 0], [0, 5]), told
    for process, text in zip(both, told, strict=True):
        if process.returncode == 5:
            assert "Another process is at work" in text
            assert str(both[1 - both.index(process)].pid) in text
    again = road.run(raw, workspace=tmp_path / "ws", steps=4, device="cpu", workers=0, memory_gib=0.5)
    assert again.folds[0].steps == 4


@pytest.mark.slow
def test_run_with_json_without_home_or_terminal(tmp_path: Path) -> None:
    raw = draw(tmp_path)
    before = tree_hash(raw)
    poor = {"PATH": os.environ["PATH"], "LANG": "C", "LC_ALL": "C"}
    options = ["--workspace", "ws", "--steps", "1", "--device", "cpu", "--memory", "0.5GiB", "--json"]
    process = _start("run", raw, *options, cwd=tmp_path, env=poor)
    result, told = process.communicate(timeout=570)
    assert process.returncode == 0, told
    assert told == ""
    content = json.loads(result)
    assert content["verb"] == "run"
    report = content["result"]
    assert Path(report["workspace"]) == tmp_path / "ws" / raw.name
    assert (tmp_path / "ws" / raw.name / report["predictions"]).is_dir()
    assert tree_hash(raw) == before


def test_an_output_that_cannot_be_written_is_a_resource_error(travelled: Travelled, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for verb in ("fingerprint", "plan", "preprocess", "train", "run"):
        process = _start(verb, travelled.raw, "--workspace", tmp_path / "file", "--workers", "0", cwd=tmp_path)
        _, told = process.communicate(timeout=120)
        assert process.returncode == 5, (verb, told)
        assert str(tmp_path / "file") in told
        assert "Traceback" not in told
