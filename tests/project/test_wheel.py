"""The wheel, built and installed where no checkout is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("autofuse", "planners", "trainers", "setup.py", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy so that the checkout stays clean."""
    copy = tmp_path_factory.mktemp("source") / "autofuse"
    copy.mkdir()
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, copy / name)
    # Folders that a careless package list would sweep in.
    for stray in ("tests", "documentation", "benchmarks"):
        (copy / stray).mkdir()
        (copy / stray / "__init__.py").write_text("")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(copy.parent), str(copy)]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = copy.parent.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def elsewhere(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel installed, and the packages of this one underneath."""
    folder = tmp_path_factory.mktemp("elsewhere")
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    python = folder / "venv" / "bin" / "python"
    site = next((folder / "venv" / "lib").glob("python*/site-packages"))
    (site / "underneath.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = ["install", "--quiet", "--no-deps", "--no-index", "--ignore-installed", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(python), *install], check=True, capture_output=True)
    return folder


def _run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [str(folder / "venv" / "bin" / command[0]), *command[1:]],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_wheel_holds_the_three_packages_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/", 1)[0] for name in names if ".dist-info/" not in name}
    assert tops == {"autofuse", "autofuse_planners", "autofuse_trainers"}
    assert all(f"{package}/py.typed" in names for package in tops)
    assert "autofuse/report/page.html" in names
    assert not [name for name in names if "test_" in name or name.endswith((".md", ".nii.gz", ".pyc"))]


def test_wheel_holds_every_module_of_the_checkout(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for package, folder in (
        ("autofuse", "autofuse"),
        ("autofuse_planners", "planners"),
        ("autofuse_trainers", "trainers"),
    ):
        for file in (ROOT / folder).rglob("*.py"):
            assert f"{package}/{file.relative_to(ROOT / folder).as_posix()}" in names


def test_packages_import_from_the_wheel(elsewhere: Path) -> None:
    script = "import autofuse, autofuse_planners, autofuse_trainers as t; print(autofuse.__file__, t.__file__)"
    ended = _run(elsewhere, "python", "-c", script)
    assert ended.returncode == 0, ended.stderr
    assert all(str(elsewhere) in path for path in ended.stdout.split())


def test_command_runs_from_the_wheel(elsewhere: Path) -> None:
    ended = _run(elsewhere, "autofuse", "--help")
    assert ended.returncode == 0, ended.stderr
    assert "preprocess" in ended.stdout
    info = _run(elsewhere, "autofuse", "info", "--json")
    assert info.returncode == 0, info.stderr
    result = json.loads(info.stdout)["result"]
    assert "supervised" in result["trainers"]
    assert "default" in result["planners"]
