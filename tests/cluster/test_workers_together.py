"""Workers that start together on a fresh data set, one of them killed: they leave what one process leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autofuse.phantom.options import PhantomOptions
from autofuse.phantom.write import write_phantom
from autofuse.units.claims import Claim
from autofuse.units.ledger import Ledger

STEPS = int(os.environ.get("AUTOFUSE_CLUSTER_STEPS", "20"))
TOGETHER = 3
PLANNERS = ("Teaching", "Cascade")
LONGEST_S = 1800.0
ROAD = Path(__file__).resolve().parents[1] / "road"
KEPT = ("last.safetensors", "plan.json", "splits.json", "fingerprint.json", "run.json", "ensemble.json")

pytestmark = pytest.mark.cluster


def _environment(folder: Path) -> dict[str, str]:
    """One in which every process finds the tiny planner of the road's tests, as if it were installed."""
    record = folder / "planner" / "tiny_units_planner-1.dist-info"
    record.mkdir(parents=True)
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-units-planner\nVersion: 1\n")
    points = "".join(f"{name} = tiny_planner:{name}\n" for name in PLANNERS)
    (record / "entry_points.txt").write_text(f"[autofuse.planners]\n{points}")
    paths = [str(record.parent), str(ROAD), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def _start(folder: Path, environment: dict[str, str], planner: str, *words: str) -> subprocess.Popen[str]:
    asked = ["--folds", "0,1", "--steps", str(STEPS), "--planner", planner, "--memory", "0.5GiB", "--device", "cpu"]
    command = [sys.executable, "-m", "autofuse", *words, *asked, "--workers", "0"]
    return subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)


def _products(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.name in KEPT or path.name.endswith((".nii.gz", "scores.json"))
    }


def _training(ledger: Ledger, workers: list[subprocess.Popen[str]]) -> Claim:
    """The claim of the first training that is under way."""
    until = time.monotonic() + LONGEST_S
    while time.monotonic() < until:
        assert all(worker.poll() is None for worker in workers)
        states = ledger.states(ledger.graph()).values() if ledger.graph_file.exists() else ()
        for state in states:
            if state.unit.kind in ("train", "first_stage") and state.claim is not None:
                return state.claim
        time.sleep(0.2)
    raise AssertionError("no training began")


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.parametrize("planner", PLANNERS)
def test_workers_that_start_together_and_one_that_is_killed(planner: str, tmp_path: Path) -> None:
    raw = write_phantom(tmp_path / "Dataset001_Phantom", PhantomOptions(cases=4, test_cases=2, shape=(16, 20, 20)))
    environment = _environment(tmp_path)
    words = (str(raw), "--workspace", "together", "--cases-per-unit", "1")
    workers = [_start(tmp_path, environment, planner, "worker", *words) for _ in range(TOGETHER)]
    ledger = Ledger(tmp_path / "together" / raw.name)
    try:
        claim = _training(ledger, workers)
        killed = next(worker for worker in workers if worker.pid == _parent(claim.place.pid))
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
        for worker in workers:
            _, told = worker.communicate(timeout=LONGEST_S)
            assert worker.returncode == (-signal.SIGKILL if worker is killed else 0), told
    finally:
        for worker in workers:
            worker.kill()
    assert not Path(f"/proc/{claim.place.pid}").exists()
    assert {state.state for state in ledger.states(ledger.graph()).values()} == {"done"}
    alone = _start(tmp_path, environment, planner, "run", str(raw), "--workspace", "alone")
    _, told = alone.communicate(timeout=LONGEST_S)
    assert alone.returncode == 0, told
    expected, found = _products(tmp_path / "alone" / raw.name), _products(tmp_path / "together" / raw.name)
    assert found.keys() == expected.keys()
    assert {name for name in expected if expected[name] != found[name]} == set()
