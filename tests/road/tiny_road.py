"""A phantom so small that the whole road on it takes seconds."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from autofuse import road
from autofuse.foundation.workspace import Workspace
from autofuse.phantom.options import PhantomOptions
from autofuse.phantom.write import write_phantom

STEPS = 4
MEMORY_GIB = 0.5


@dataclass(frozen=True)
class Travelled:
    """A data set and its finished road."""

    raw: Path
    workspace: Workspace
    report: road.RunReport
    tree_before: str


def tree_hash(folder: Path) -> str:
    """Hash over names, sizes, times and bytes of everything in ``folder``."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        status = path.stat()
        digest.update(f"{path.relative_to(folder)} {status.st_size} {status.st_mtime_ns} {status.st_mode}".encode())
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def copy_of(travelled: Travelled, folder: Path) -> tuple[Path, Workspace]:
    """The data set and its workspace in ``folder``, to be changed."""
    raw = folder / travelled.raw.name
    shutil.copytree(travelled.raw, raw, copy_function=shutil.copy2)
    shutil.copytree(travelled.workspace.root, folder / "ws", copy_function=shutil.copy2)
    return raw, Workspace(folder / "ws", raw.name)


def draw(folder: Path, **options: object) -> Path:
    """A tiny phantom data set in ``folder``."""
    recipe = PhantomOptions(**({"cases": 5, "test_cases": 2, "shape": (16, 20, 20)} | options))  # type: ignore[arg-type]
    return write_phantom(folder / "Dataset001_Phantom", recipe)
