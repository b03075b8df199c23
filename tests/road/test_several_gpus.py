"""``--gpus``: the loop in processes of its own, on the CPU here, with the command around it as ever."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_planner import register_all
from tiny_road import draw

from autofuse import road
from autofuse.foundation.errors import ResourceError, UsageError
from autofuse.road.places import workspace_of
from autofuse.road.runs import TrainedFold
from autofuse.road.together import require_gpus


def log_of(fold: TrainedFold) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (fold.folder / "log.jsonl").read_text().splitlines()]


def test_two_processes_train_what_one_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register_all(monkeypatch)
    raw = draw(tmp_path)
    found = []
    for gpus in (1, 2):
        place = tmp_path / f"ws_{gpus}"
        road.plan(raw, workspace=place, planner="Teaching", memory_gib=0.5, device="cpu", workers=0)
        found.append(road.train(raw, workspace=place, steps=3, precision="fp32", gpus=gpus, device="cpu", workers=0))
    alone, both = found
    assert (alone.plan.ranks, both.plan.ranks) == (1, 2)
    assert alone.run == both.run
    for one, two in zip(log_of(alone), log_of(both), strict=True):
        for name in ("loss", "gradient_norm", "dice"):
            assert two[name] == pytest.approx(one[name], rel=1e-3, abs=1e-3), name
    again = road.train(raw, workspace=tmp_path / "ws_2", steps=3, precision="fp32", workers=0)
    assert again.finished == both.finished  # it is done, however many did it


def test_more_gpus_than_there_are_cannot_be_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UsageError, match="not as many GPUs") as caught:
        require_gpus("cuda", 2)
    assert caught.value.found == "1 GPUs"
    with pytest.raises(UsageError, match="not as many GPUs"):
        require_gpus("auto", 2)
    require_gpus("cuda", 1)
    require_gpus("cpu", 2)


def test_processes_are_not_asked_for_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
    for name, value in started.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="asked for twice"):
        road.train(tmp_path, gpus=2)
    with pytest.raises(UsageError, match="only once"):
        road.run(tmp_path)


def started(raw: Path, workspace: Path, *before: str, gpus: int | None = 2) -> subprocess.Popen[str]:
    """The command, at work; ``before`` goes between Python and the module's name."""
    options = ["--workspace", str(workspace), "--steps", "40", "--device", "cpu", "--precision", "fp32", "--json"]
    several = [] if gpus is None else ["--gpus", str(gpus)]
    return subprocess.Popen(
        [sys.executable, *before, "-m", "autofuse", "train", str(raw), *options, *several, "--workers", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    out, told = process.communicate(timeout=570)
    return process.returncode, out + told


def ranks_of(process: subprocess.Popen[str]) -> list[int]:
    """Ids of its children that train."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rsplit(")", 1)[1].split()[1])
            words = (path.parent / "cmdline").read_text()
        except (OSError, IndexError, ValueError):
            continue
        if parent == process.pid and "rank_process" in words:
            found.append(int(path.parent.name))
    return sorted(found)


def after_an_epoch(process: subprocess.Popen[str], raw: Path, workspace: Path, epochs: int) -> None:
    """Wait until so many lines stand in the log of the run."""
    for _ in range(3000):
        logs = list(workspace_of(raw, workspace).runs.glob("*/fold_0/log.jsonl"))
        if logs and len(logs[0].read_text().splitlines()) >= epochs:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    raise AssertionError("no epoch was finished")


def products(raw: Path, workspace: Path) -> dict[str, bytes]:
    (folder,) = workspace_of(raw, workspace).runs.glob("*/fold_0")
    return {name: (folder / name).read_bytes() for name in ("run.json", "last.safetensors", "best.safetensors")}


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A phantom and the workspace of an undisturbed training of two processes."""
    folder = tmp_path_factory.mktemp("gpus")
    raw = draw(folder)
    road.plan(raw, workspace=folder / "ws", memory_gib=0.5, device="cpu", workers=0)
    code, told = ended(started(raw, folder / "ws"))
    assert code == 0, told
    return raw, folder / "ws"


def copied(raw: Path, workspace: Path, place: Path) -> Path:
    """The workspace before it was trained in."""
    shutil.copytree(workspace, place)
    shutil.rmtree(workspace_of(raw, place).runs)
    return place


@pytest.mark.distributed
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the processes in /proc")
def test_stopped_and_killed_the_same_command_ends_with_the_same_bytes(
    planned: tuple[Path, Path], tmp_path: Path
) -> None:
    raw, whole = planned
    place = copied(raw, whole, tmp_path / "ws")

    stopped = started(raw, place)
    after_an_epoch(stopped, raw, place, 1)
    children = ranks_of(stopped)
    assert len(children) == 2
    stopped.send_signal(signal.SIGTERM)
    code, told = ended(stopped)
    assert code == 143, told
    assert "its state is saved" in told
    assert not any(Path(f"/proc/{child}").exists() for child in children)

    killed = started(raw, place)
    after_an_epoch(killed, raw, place, 2)
    children = ranks_of(killed)
    os.kill(children[1], signal.SIGKILL)
    code, told = ended(killed)
    assert code == ResourceError.exit_code, told
    assert "ended with signal SIGKILL" in told
    assert not any(Path(f"/proc/{child}").exists() for child in children)

    beheaded = started(raw, place)
    after_an_epoch(beheaded, raw, place, 3)
    children = ranks_of(beheaded)
    beheaded.kill()
    beheaded.communicate()
    for _ in range(100):
        if not any(Path(f"/proc/{child}").exists() for child in children):
            break
        time.sleep(0.1)
    assert not any(Path(f"/proc/{child}").exists() for child in children)

    code, told = ended(started(raw, place, gpus=1))
    assert code == 4, told
    assert "--gpus 2" in told
    code, told = ended(started(raw, place))
    assert code == 0, told
    assert products(raw, place) == products(raw, whole)


@pytest.mark.distributed
def test_torchrun_can_start_the_processes(planned: tuple[Path, Path], tmp_path: Path) -> None:
    raw, whole = planned
    place = copied(raw, whole, tmp_path / "ws")
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    code, told = ended(started(raw, place, *launcher, gpus=None))
    assert code == 0, told
    assert told.count('"verb": "train"') == 1  # the first alone tells the result
    assert products(raw, place) == products(raw, whole)
