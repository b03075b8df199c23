"""`autofuse run --executor slurm` as far as it goes without a cluster: scripts, and mistakes that are told at once."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from tiny_road import draw, tree_hash

from autofuse.cli.main import main
from autofuse.road.run_graph import KINDS
from autofuse.road.run_on_slurm import write_slurm_scripts
from autofuse.road.run_order import RunOrder
from autofuse.units.ledger import Ledger

ORDER = ["--folds", "all", "--trainers", "supervised,partial", "--steps", "4", "--device", "cuda"]


@pytest.fixture
def no_slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without SLURM's commands."""
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))


def _run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, dict[str, object]]:
    code = main(["run", *map(str, arguments), "--json"])
    content = json.loads(capsys.readouterr().out)
    return code, content.get("result") or content["error"]


@pytest.mark.usefixtures("no_slurm")
def test_a_dry_run_writes_what_would_be_submitted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = draw(tmp_path)
    before = tree_hash(raw)
    options = ["--workspace", tmp_path / "ws", "--executor", "slurm", "--slurm", "train.partition=gpu", "--dry-run"]
    code, result = _run(capsys, raw, *options, *ORDER)
    assert code == 0
    folder = Path(str(result["folder"]))
    assert folder.is_relative_to(tmp_path / "ws" / raw.name / "units" / "slurm")
    scripts = {path.name: path.read_text() for path in folder.glob("*.sbatch")}
    assert set(scripts) >= {f"{kind}.sbatch" for kind in ("ground", "prepare", "train", "score", "select", "report")}
    for path in folder.glob("*.s*"):
        subprocess.run(["/bin/bash", "-n", str(path)], check=True)
    trainings = "".join(text for name, text in scripts.items() if name.startswith("train"))
    for trainer in ("supervised", "partial"):
        assert all(f"unit=train.{trainer}.fold_{fold} ;;" in trainings for fold in range(5))
    assert "#SBATCH --partition=gpu" in trainings
    assert "#SBATCH --gres=gpu:1" in trainings
    assert "#SBATCH --partition" not in scripts["prepare.sbatch"]
    graph = Ledger(tmp_path / "ws" / raw.name).graph()
    assert {unit.kind for unit in graph.units} <= set(KINDS)
    assert sum(text.count(" ;;\n") for text in scripts.values()) == len(graph.units)
    assert tree_hash(raw) == before


@pytest.mark.usefixtures("no_slurm")
@pytest.mark.parametrize(
    ("options", "told", "remedy"),
    [
        (["--executor", "slurm"], "SLURM is not to be found", "--dry-run"),
        (["--dry-run"], "--dry-run is for --executor slurm", "Add --executor slurm"),
        (["--executor", "local", "--slurm", "mem=4G"], "--slurm is for --executor slurm", "--executor slurm"),
        (["--executor", "slurm", "--scheduler", "tcp://x:1"], "--scheduler is for --executor dask", "dask"),
        (["--executor", "slurm", "--slurm", "tiem=4", "--dry-run"], "no setting 'tiem'", "time=4"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_told_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], told: str, remedy: str
) -> None:
    raw = draw(tmp_path, cases=2, test_cases=0)
    code, error = _run(capsys, raw, "--workspace", tmp_path / "ws", *options)
    assert code == 2
    assert told in str(error["problem"])
    assert remedy in str(error["remedy"])
    assert not list((tmp_path / "ws").rglob("*.sbatch"))


def test_what_is_not_known_yet_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    raw = draw(tmp_path, cases=2, test_cases=0)
    write_slurm_scripts(raw, RunOrder(), [], tmp_path / "ws", None)
    told = capsys.readouterr().err
    assert "--device cuda" in told
    assert "--slurm mem=AMOUNT" in told
    write_slurm_scripts(raw, RunOrder(device="cpu"), ["mem=4G"], tmp_path / "other", None)
    assert "--device cuda" not in capsys.readouterr().err
