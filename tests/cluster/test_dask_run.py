"""A run on a Dask cluster one of whose workers is killed while it trains: the bytes of a quiet run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_road import autofuse, install_planner, products, quiet_run
from tiny_road import draw

pytestmark = pytest.mark.cluster
WAIT_S = 3000.0
UNIT = "train.planned.fold_1"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """In which every process finds the tiny planner, and computes with one thread."""
    pytest.importorskip("distributed", reason="Dask is not installed: pip install 'autofuse[dask]'")
    return {**os.environ, "PYTHONPATH": install_planner(tmp_path / "plugin"), "OMP_NUM_THREADS": "1"}


@pytest.fixture
def scheduler(tmp_path: Path, environment: dict[str, str]) -> Iterator[str]:
    """The address of a cluster of three workers, each a command of its own, as on three machines."""
    address = tmp_path / "scheduler.json"
    python = (sys.executable, "-m", "distributed.cli.dask_scheduler")
    commands = [[*python, "--scheduler-file", str(address), "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]]
    worker = (sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", str(address), "--no-dashboard")
    commands += [[*worker, "--nthreads", "1", "--no-nanny", "--host", "127.0.0.1", "--memory-limit", "0"]] * 3
    log = (tmp_path / "dask.txt").open("ab")
    started = [subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=log, stderr=log) for command in commands]
    try:
        deadline = time.monotonic() + 120
        while not address.exists():
            assert time.monotonic() < deadline, (tmp_path / "dask.txt").read_text()
            time.sleep(0.2)
        yield json.loads(address.read_text())["address"]
    finally:
        for process in reversed(started):
            process.kill()
            process.wait()
        log.close()


def test_a_killed_worker_changes_nothing(tmp_path: Path, environment: dict[str, str], scheduler: str) -> None:
    raw = draw(tmp_path)
    order = [*("--planner", "tiny", "--folds", "0,1", "--steps", os.environ.get("AUTOFUSE_CLUSTER_STEPS", "60"))]
    order += ["--device", "cpu", "--memory", "0.5GiB", "--workers", "0"]
    words = (tmp_path / "said.txt").open("ab")
    run = subprocess.Popen(
        autofuse("run", raw, "--workspace", tmp_path / "ws", *order, "--executor", "dask", "--scheduler", scheduler),
        env=environment,
        cwd=tmp_path,
        stdout=words,
        stderr=words,
    )
    killed = _kill_worker_at(tmp_path, raw.name, run)
    assert run.wait(WAIT_S) == 0, (tmp_path / "said.txt").read_text()
    log = (tmp_path / "ws" / raw.name / "units" / "logs" / f"{UNIT}.txt").read_text()
    assert "Going on from step" in log, "the unit ended with its worker, and went on elsewhere"
    assert not Path(f"/proc/{killed}").exists() or _is_zombie(killed)
    expected = quiet_run(raw, ["--workspace", str(tmp_path / "quiet"), *order], tmp_path / "quiet", environment)
    found = products(tmp_path / "ws")
    assert found.keys() == expected.keys()
    assert {name for name in expected if expected[name] != found[name]} == set()


def _kill_worker_at(folder: Path, dataset: str, run: subprocess.Popen[bytes]) -> int:
    """Kill the worker that trains ``UNIT``, in the middle of it; its number."""
    deadline = time.monotonic() + WAIT_S
    fold = UNIT.rpartition(".")[2]
    while not any(path.read_text() for path in (folder / "ws" / dataset).glob(f"runs/*/{fold}/log.jsonl")):
        assert run.poll() is None, (folder / "said.txt").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.2)
    pid = _process_of(UNIT)
    worker = _parent_of(pid)
    assert "dask_worker" in Path(f"/proc/{worker}/cmdline").read_text()
    os.kill(worker, signal.SIGKILL)
    return worker


def _process_of(unit: str) -> int:
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"unit" in words and unit.encode() in words:
                return int(entry.name)
    raise AssertionError(f"nobody is at {unit}")


def _parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _is_zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
