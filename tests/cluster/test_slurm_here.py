"""The SLURM that the other tests of this folder use is a real one: it runs jobs, gives out GPUs, takes jobs away."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.cluster


def test_an_array_runs_on_the_virtual_nodes_with_a_gpu_each(slurm_environment: dict[str, str], tmp_path: Path) -> None:
    command = 'echo "$SLURM_ARRAY_TASK_ID on $SLURMD_NODENAME with GPU ${CUDA_VISIBLE_DEVICES:-none}"'
    options = ["--array=0-3", "--gres=gpu:1", "--mem=100", f"--output={tmp_path}/%a"]
    _sbatch(slurm_environment, *options, "--wait", f"--wrap={command}")
    lines = [(tmp_path / str(index)).read_text().split() for index in range(4)]
    assert [line[0] for line in lines] == ["0", "1", "2", "3"]
    assert {line[2] for line in lines} <= {"n1", "n2"}
    assert {line[5] for line in lines} <= {"0", "1"}


def test_what_stands_on_a_failed_job_never_starts(slurm_environment: dict[str, str], tmp_path: Path) -> None:
    failing = _sbatch(slurm_environment, "--mem=100", f"--output={tmp_path}/first", "--wrap=exit 3")
    mark = tmp_path / "started"
    dependent = _sbatch(slurm_environment, "--mem=100", f"--dependency=afterok:{failing}", f"--wrap=touch {mark}")
    deadline = time.monotonic() + 60
    while "DependencyNeverSatisfied" not in (reason := _reason(slurm_environment, dependent)):
        assert time.monotonic() < deadline, reason
        time.sleep(0.5)
    subprocess.run(["scancel", dependent], env=slurm_environment, check=True)
    assert not mark.exists()


def _sbatch(environment: dict[str, str], *options: str) -> str:
    asked = ["sbatch", "--parsable", "--chdir=/tmp", *options]
    done = subprocess.run(asked, env=environment, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout.strip()


def _reason(environment: dict[str, str], job: str) -> str:
    asked = ["squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T %r"]
    return subprocess.run(asked, env=environment, capture_output=True, text=True, timeout=60, check=True).stdout
