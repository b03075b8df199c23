"""What is installed, what this machine has, and what a workspace holds."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import ClassVar

from autofuse.foundation.machine import available_memory_gib, cpu_threads, default_precision, free_disk_gib
from autofuse.foundation.registry import PLANNERS, SUBMISSIONS, TRAINERS, registered
from autofuse.foundation.values import StoredValue, Value
from autofuse.foundation.workspace import Workspace

PACKAGES = ("torch", "numpy", "SimpleITK", "scikit-image", "scipy", "blosc2", "pydantic", "safetensors")


class RunState(Value):
    """One fold of one run: ``steps`` that its finished training took, None while it is not finished."""

    run: str
    fold: int
    steps: int | None
    dice: float | None


class WorkspaceState(Value):
    """What exists in a data set's workspace; counts of finished cases where a step works case by case."""

    folder: str
    fingerprint: bool
    plan: bool
    splits: bool
    measured_cases: int
    prepared_cases: dict[str, int]
    runs: tuple[RunState, ...]
    predictions: dict[str, int]
    scores: tuple[str, ...]


class Inventory(StoredValue):
    """This installation, this machine, and a workspace if one was asked about.

    Attributes:
        planners, trainers, submissions: registered names and what each stands for; nothing is imported.
        precision: what the CPU computes in natively.
    """

    kind: ClassVar[str] = "inventory"

    autofuse: str
    python: str
    packages: dict[str, str]
    platform: str
    threads: int
    memory_gib: float
    disk_gib: float
    gpu: str | None
    precision: str
    planners: dict[str, str]
    trainers: dict[str, str]
    submissions: dict[str, str]
    workspace: WorkspaceState | None = None


def take_inventory(workspace: Workspace | None = None) -> Inventory:
    """The inventory; reads no image and imports no torch."""
    from autofuse import __version__

    return Inventory(
        autofuse=__version__,
        python=platform.python_version(),
        packages=installed_packages(),
        platform=f"{platform.system()} {platform.machine()}",
        threads=cpu_threads(),
        memory_gib=round(available_memory_gib(), 2),
        disk_gib=round(free_disk_gib(workspace.folder if workspace else Path.cwd()), 2),
        gpu=_gpu(),
        precision=default_precision("cpu"),
        planners={name: point.value for name, point in registered(PLANNERS).items()},
        trainers={name: point.value for name, point in registered(TRAINERS).items()},
        submissions={name: point.value for name, point in registered(SUBMISSIONS).items()},
        workspace=None if workspace is None else look_into(workspace),
    )


def look_into(workspace: Workspace) -> WorkspaceState:
    """What exists in ``workspace``."""
    from autofuse.road.runs import find_runs

    folds = [fold for folds in find_runs(workspace).values() for fold in folds]
    return WorkspaceState(
        folder=str(workspace.folder),
        fingerprint=workspace.fingerprint.exists(),
        plan=workspace.plan.exists(),
        splits=workspace.splits.exists(),
        measured_cases=_count(workspace.fingerprint_cases, "*.json"),
        prepared_cases={path.name: _count(path, "*/case.json") for path in _folders(workspace.folder / "prepared")},
        runs=tuple(
            RunState(
                run=fold.run,
                fold=fold.fold,
                steps=fold.finished.steps if fold.finished else None,
                dice=fold.finished.dice if fold.finished else None,
            )
            for fold in folds
        ),
        predictions={path.name: _count(path, "*.*") for path in _folders(workspace.folder / "predictions")},
        scores=tuple(
            path.parent.relative_to(workspace.scores).as_posix()
            for path in sorted(workspace.scores.rglob("scores.json"))
        ),
    )


def installed_packages() -> dict[str, str]:
    """Versions of the packages that results depend on, as far as they are installed."""
    return {name: found for name in PACKAGES if (found := _version(name)) is not None}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _gpu() -> str | None:
    """Name of the first NVIDIA GPU as its driver tells it, without loading torch."""
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        for line in lines:
            if line.startswith("Model:"):
                return line.split(":", 1)[1].strip()
    return None


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.is_dir() and not path.name.startswith("."))


def _count(folder: Path, pattern: str) -> int:
    return sum(1 for path in folder.glob(pattern) if not path.name.startswith("."))
