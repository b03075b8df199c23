"""A tiny road for clusters: a planner of somebody else, installed beside the package, and units done in one process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

FOLDS, TRAINERS = 5, ("supervised", "partial")
STEPS = int(os.environ.get("AUTOFUSE_CLUSTER_STEPS", "60"))
"""Of each fold: long enough to be disturbed in the middle. Where the machine is busy, fewer are."""
ROOM = Path(__file__).resolve().parent
_ENTRY_POINTS = "[autofuse.planners]\ntiny = tiny_planner:Teaching\n"
_METADATA = "Metadata-Version: 2.1\nName: autofuse-tiny-planner\nVersion: 1\n"


def install_planner(folder: Path) -> str:
    """The PYTHONPATH with which every process finds the planner ``tiny``: a package's metadata, as pip leaves it."""
    record = folder / "autofuse_tiny_planner-1.dist-info"
    record.mkdir(parents=True)
    (record / "entry_points.txt").write_text(_ENTRY_POINTS)
    (record / "METADATA").write_text(_METADATA)
    # Where the package is not installed but found by way of the path, the processes find it so too.
    own = [entry for entry in sys.path if entry and (Path(entry) / "autofuse" / "cli").is_dir()]
    return os.pathsep.join([str(folder), str(ROOM.parent / "road"), *own])


def options(workspace: Path) -> list[str]:
    """What every run of these tests is asked for."""
    method = ["--planner", "tiny", "--folds", "all", "--trainers", ",".join(TRAINERS), "--steps", str(STEPS)]
    return ["--workspace", str(workspace), *method, "--device", "cpu", "--memory", "0.5GiB", "--workers", "0"]


def autofuse(*arguments: str | Path) -> list[str]:
    """A command line."""
    return [sys.executable, "-m", "autofuse", *map(str, arguments)]


def quiet_run(raw: Path, options: list[str], workspace: Path, environment: dict[str, str]) -> dict[str, bytes]:
    """What an undisturbed run leaves, all its units done by one process."""
    command = [sys.executable, str(Path(__file__).resolve()), str(raw), *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=3600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return products(workspace)


def products(workspace: Path) -> dict[str, bytes]:
    """Everything that a run makes and that tells neither time nor place."""
    kept = ("last.safetensors", "best.safetensors", "plan.json", "splits.json", "fingerprint.json", "run.json")
    (folder,) = (path for path in workspace.iterdir() if path.is_dir())
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.name in (*kept, "ensemble.json") or path.name.endswith((".nii.gz", "scores.json", "scores.csv"))
    }


def _do_all(arguments: list[str]) -> None:
    from autofuse.cli.parser import parse
    from autofuse.cli.units_answer import order_of
    from autofuse.road.run_graph import settle_graph
    from autofuse.road.steps import open_both
    from autofuse.road.unit_work import do_unit

    given = parse(["run", *arguments])
    opened, place = open_both(given.dataset, given.workspace)
    for unit in settle_graph(order_of(given), opened, place).units:
        do_unit(given.dataset, unit.name, workspace=given.workspace, workers=given.workers)


if __name__ == "__main__":
    _do_all(sys.argv[1:])
