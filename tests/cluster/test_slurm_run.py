"""A run over five folds and two trainers on a real SLURM: a job killed, one pre-empted; the bytes of a quiet run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster_road import FOLDS, TRAINERS, autofuse, install_planner, options, products, quiet_run
from tiny_road import draw

pytestmark = pytest.mark.cluster
WAIT_S = 3000.0
PREEMPTED, KILLED = "train.supervised.fold_1", "train.partial.fold_1"


class Cluster:
    """A data set, a workspace, and commands in the surroundings of a SLURM."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.raw, self.workspace = folder, draw(folder), folder / "ws"
        path = install_planner(folder / "plugin")
        self.environment = {**environment, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        self.log = (folder / "commands.txt").open("ab")

    @property
    def place(self) -> Path:
        """The data set's folder in the workspace."""
        return self.workspace / self.raw.name

    def start(self, *more: str) -> subprocess.Popen[bytes]:
        """`autofuse run --executor slurm`, under way."""
        command = autofuse(
            "run", self.raw, *options(self.workspace), "--executor", "slurm", "--slurm", "mem=900", *more
        )
        return subprocess.Popen(
            command, env=self.environment, cwd=self.folder, stdout=self.log, stderr=self.log, start_new_session=True
        )

    def asked(self, *command: str | Path) -> str:
        """What a command answers."""
        done = subprocess.run(
            [*map(str, command)], env=self.environment, capture_output=True, text=True, timeout=300, check=True
        )
        return done.stdout

    def status(self) -> dict[str, dict[str, Any]]:
        """`autofuse status`, by unit."""
        answer = self.asked(*autofuse("status", self.raw, "--workspace", self.workspace, "--json"))
        return {unit["name"]: unit for unit in json.loads(answer)["result"]["units"]}

    def is_training(self, unit: str) -> bool:
        """Whether the unit has trained for some steps, so that there is something to lose."""
        trainer, fold = unit.split(".")[1:]
        lines = [
            line
            for log in self.place.glob(f"runs/*-{trainer}-*/{fold}/log.jsonl")
            if not (log.parent / "finished.json").exists()
            for line in log.read_text().splitlines()
        ]
        return bool(lines)

    def jobs(self) -> dict[str, tuple[str, int]]:
        """Job and number by unit, of the last submission."""
        folder = max((self.place / "units" / "slurm").glob("*/jobs.txt")).parent
        jobs = dict(line.split() for line in (folder / "jobs.txt").read_text().splitlines())
        arrays = json.loads((folder / "arrays.json").read_text())["value"]["arrays"]
        return {unit: (jobs[name], int(number)) for name, units in arrays.items() for number, unit in units.items()}

    def told(self, unit: str) -> str:
        """What the unit's processes said."""
        log = self.place / "units" / "logs" / f"{unit}.txt"
        return log.read_text() if log.exists() else ""

    def words(self) -> str:
        """What the commands said."""
        return (self.folder / "commands.txt").read_text()


@pytest.fixture(scope="module")
def cluster(slurm_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("slurm_run"), slurm_environment)
    yield made
    made.log.close()


def _wait_for(ready: Callable[[], object], running: subprocess.Popen[bytes] | None, told: Callable[[], str]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not ready():
        assert running is None or running.poll() is None, told()
        assert time.monotonic() < deadline, told()
        time.sleep(0.3)


def test_disturbed_jobs_leave_the_bytes_of_a_quiet_run(cluster: Cluster) -> None:
    run = cluster.start()
    _wait_for(lambda: cluster.is_training(PREEMPTED), run, cluster.words)
    _preempt(cluster)
    _wait_for(lambda: _seen(cluster, "running", "running on n"), run, cluster.words)
    assert _seen(cluster, "waiting", "pending (Dependency)")
    _wait_for(lambda: cluster.is_training(KILLED), run, cluster.words)
    _kill(cluster, KILLED)
    assert run.wait(WAIT_S) == 5, cluster.words()

    status = cluster.status()
    assert status[KILLED]["state"] == "failed"
    assert "without a word of autofuse's own" in status[KILLED]["problem"]
    assert " failed" in status[KILLED]["problem"]
    assert status[PREEMPTED]["state"] == "done"
    assert "its state is saved" in cluster.told(PREEMPTED)
    others = {f"score.{trainer}.fold_{fold}" for trainer in TRAINERS for fold in range(FOLDS)}
    others -= {KILLED.replace("train", "score")}
    assert {status[name]["state"] for name in others} == {"done"}, "what does not stand on the killed one went on"
    assert status["select"]["state"] == "waiting"

    again = cluster.start()
    assert again.wait(WAIT_S) == 0, cluster.words()
    quiet = cluster.folder / "quiet"
    expected = quiet_run(cluster.raw, options(quiet), quiet, cluster.environment)
    found = products(cluster.workspace)
    assert found.keys() == expected.keys()
    assert len([name for name in expected if name.endswith("last.safetensors")]) == FOLDS * len(TRAINERS)
    assert {name for name in expected if expected[name] != found[name]} == set()


def _seen(cluster: Cluster, state: str, scheduler: str) -> bool:
    return any(unit["state"] == state and scheduler in unit["scheduler"] for unit in cluster.status().values())


def _kill(cluster: Cluster, unit: str) -> None:
    """As when memory runs out: no time to say anything."""
    claim = json.loads((cluster.place / "units" / "claims" / f"{unit}.json").read_text())
    os.kill(claim["value"]["place"]["pid"], signal.SIGKILL)


def _preempt(cluster: Cluster) -> None:
    """Jobs of the partition that comes before ours take both nodes, for a moment."""
    cluster.asked(
        *("sbatch", "--wait", "--partition=urgent", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 1")
    )


def test_a_command_that_is_stopped_finds_its_jobs_again(slurm_environment: dict[str, str], tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, slurm_environment)
    blocker = cluster.asked(
        *("sbatch", "--parsable", "--partition=urgent", "--nodes=2", "--exclusive", "--output=/dev/null"),
        "--wrap=sleep 1000",
    ).strip()
    try:
        run = cluster.start()
        _wait_for(lambda: "submitted as jobs" in cluster.words(), run, cluster.words)
        os.killpg(run.pid, signal.SIGINT)
        assert run.wait(300) == 130
        assert "scancel " in cluster.words()
        jobs = cluster.jobs()
        assert cluster.status()["ground"]["scheduler"].endswith(")")  # pending, and why
        unattended = cluster.start("--no-wait")
        assert unattended.wait(300) == 0, cluster.words()
        assert cluster.jobs() == jobs, "nothing was submitted twice"
        other = subprocess.run(
            autofuse("run", cluster.raw, "--workspace", cluster.workspace, "--executor", "slurm", "--steps", "3"),
            env=cluster.environment, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert other.returncode == 5
        assert "another order" in other.stderr
    finally:
        cluster.asked("scancel", "--user=root")
    assert blocker


def test_a_job_whose_time_is_over_saves_its_state_and_goes_on(
    slurm_environment: dict[str, str], tmp_path: Path
) -> None:
    cluster = Cluster(tmp_path, slurm_environment)
    order = ["--planner", "tiny", "--steps", "100000", "--device", "cpu", "--memory", "0.5GiB", "--workers", "0"]
    command = autofuse("run", cluster.raw, "--workspace", cluster.workspace, *order, "--executor", "slurm", "--no-wait")
    subprocess.run(
        [*command, "--slurm", "mem=900", "--slurm", "train.time=4"], env=cluster.environment, check=True, timeout=300
    )
    unit = "train.planned.fold_0"
    try:
        _wait_for(lambda: "state is saved" in cluster.told(unit), None, cluster.words)
        _wait_for(lambda: "queued again" in _messages(cluster, "train.0"), None, cluster.words)
        job, number = cluster.jobs()[unit]
        _wait_for(
            lambda: "Restarts=1" in cluster.asked("scontrol", "show", "job", f"{job}_{number}"), None, cluster.words
        )
    finally:
        cluster.asked("scancel", "--user=root")


def _messages(cluster: Cluster, name: str) -> str:
    (path,) = cluster.place.glob(f"units/slurm/*/messages/{name}.txt")
    return path.read_text()
