"""Rules of the house that no linter knows."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(file for folder in ("autofuse", "planners", "trainers") for file in (ROOT / folder).rglob("*.py"))
IDS = [str(file.relative_to(ROOT)) for file in SOURCES]
MOST_LINES = 400
HEAVY = {
    "torch",
    "SimpleITK",
    "blosc2",
    "skimage",
    "scipy",
    "matplotlib",
    "batchgenerators",
    "pandas",
    "sklearn",
    "cc3d",
}
LIGHT_ROOMS = ("foundation", "images", "dataset", "road", "cli", "report")
LIGHT_FILES = ("fingerprint/types.py", "plan/types.py", "plan/explain.py")
NEVER = {"torchvision", "timm", "pickle", "nnunetv2", "dynamic_network_architectures", "monai"}
MAY_PICKLE = {"foundation/workers.py", "foundation/worker_process.py"}


def _imports(nodes: list[ast.stmt]) -> set[str]:
    """Packages that these statements import when the module is loaded."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
        elif isinstance(node, ast.Try):
            found |= _imports(node.body)
    return found


@pytest.mark.parametrize("file", SOURCES, ids=IDS)
def test_file_is_short_and_says_what_it_is(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.count("\n") <= MOST_LINES
    assert ast.get_docstring(ast.parse(text)), "a module begins with what it is for"


@pytest.mark.parametrize("file", SOURCES, ids=IDS)
def test_names_come_from_the_field(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    names = {node.name for node in ast.walk(tree) if isinstance(node, (ast.ClassDef, ast.FunctionDef))} | {file.stem}
    assert not [name for name in names if re.search(r"(?i)(manager|helper|utils?$)", name)]


@pytest.mark.parametrize("file", SOURCES, ids=IDS)
def test_every_public_thing_has_a_docstring(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    public = [node for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))]
    assert not [node.name for node in public if not node.name.startswith("_") and not ast.get_docstring(node)]


@pytest.mark.parametrize("file", SOURCES, ids=IDS)
def test_heavy_imports_wait_until_they_are_needed(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    inside = file.relative_to(ROOT).as_posix().removeprefix("autofuse/")
    everywhere = _imports([node for node in ast.walk(tree) if isinstance(node, ast.stmt)])
    assert not everywhere & (NEVER - ({"pickle"} if inside in MAY_PICKLE else set()))
    if inside.startswith(tuple(f"{room}/" for room in LIGHT_ROOMS)) or inside in LIGHT_FILES:
        assert not _imports(tree.body) & HEAVY


def test_modules_of_tests_have_names_of_their_own() -> None:
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name not in {"conftest.py", "__init__.py"}]
    assert sorted(names) == sorted(set(names)), "pytest imports them by name alone"


def test_version_is_told_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    from autofuse import __version__

    assert project["version"] == __version__
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_exported_name_is_there() -> None:
    import autofuse

    for name in autofuse.__all__:
        assert getattr(autofuse, name) is not None
    assert set(autofuse.__all__) == {*autofuse._HOMES, "__version__"}


def test_constraints_pin_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    pinned = re.findall(
        r"^([A-Za-z0-9_.\-]+)==[0-9][^+\s]*$", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE
    )

    def plain(name: str) -> str:
        return re.sub(r"[-_.]+", "-", name).lower()

    missing = {plain(re.split(r"[<>=!\[ ]", name)[0]) for name in wanted} - {plain(name) for name in pinned}
    assert not missing


def test_continuous_integration_runs_what_a_developer_runs() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert "make test" in script.read_text(encoding="utf-8")
