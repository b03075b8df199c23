"""The verbs of work units as they are given, and what cannot be meant."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from autofuse.cli import tables
from autofuse.cli.main import main
from autofuse.cli.parser import parse
from autofuse.cli.units_answer import in_units, order_of
from autofuse.foundation.workspace import Workspace
from autofuse.road.results import OtherRun, RunReport
from autofuse.road.run_order import RunOrder
from autofuse.units.claims import claimed
from autofuse.units.ledger import Ledger
from autofuse.units.shape import Graph, Unit


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Thirty units: the ground is done, one share of the cases failed, the others are ready, and one training waits."""
    made = Ledger(Workspace(tmp_path / "ws", "D").folder)
    shares = [Unit(name=f"prepare.{n:02}-of-28", kind="prepare", work="w", after=("ground",)) for n in range(1, 29)]
    last = Unit(name="train.planned.fold_0", kind="train", work="w", after=tuple(unit.name for unit in shares))
    graph = Graph(units=(Unit(name="ground", kind="ground", work="w"), *shares, last))
    graph.save(made.graph_file)
    made.finish(graph.units[0], {}, [], 3.0)
    made.fail(shares[4], 3, "The image is damaged.\n  file: a.nii.gz")
    return made


def _status(ledger: Ledger, *words: str) -> int:
    return main(["status", "D", "--workspace", str(ledger.folder.parent), *words])


def test_a_status_counts_what_is_alike_and_names_what_failed(
    ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    with claimed(ledger.claim_file("prepare.02-of-28"), "prepare.02-of-28"):
        assert _status(ledger) == 0
    told = capsys.readouterr().out
    assert "30 units: 1 done, 1 running, 26 ready, 1 waiting, 1 failed" in told
    assert "26 × prepare" in told  # noqa: RUF001
    assert "prepare.02-of-28" in told
    assert "prepare.05-of-28 failed with exit code 3" in told
    assert "The image is damaged." in told
    assert f"again: autofuse unit D --workspace {ledger.folder.parent} prepare.05-of-28" in told


def test_a_status_for_programs(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    assert _status(ledger, "--json", "--only", "failed") == 0
    content = json.loads(capsys.readouterr().out)
    (unit,) = content["result"]["units"]
    assert (unit["name"], unit["state"], unit["exit_code"]) == ("prepare.05-of-28", "failed", 3)


def test_a_status_needs_no_torch_and_no_data_set(ledger: Ledger) -> None:
    script = "import sys\nfrom autofuse.cli.main import main\ncode = main(sys.argv[1:])\n"
    script += "print(code, 'torch' in sys.modules, 'SimpleITK' in sys.modules, file=sys.stderr)"
    words = ["status", "D", "--workspace", str(ledger.folder.parent)]
    ended = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=True)
    assert ended.stderr.splitlines()[-1] == "0 False False"


def test_a_damaged_graph_is_named(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    ledger.graph_file.write_text(ledger.graph_file.read_text().replace("ground", "grind", 1))
    assert _status(ledger) == 4
    assert str(ledger.graph_file) in capsys.readouterr().err


def test_without_units_a_status_says_how_to_get_some(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "D", "--workspace", str(tmp_path)]) == 4
    assert "autofuse run DATASET --executor local" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["worker", "D", "--shard", "0/4"], "write it like 1/4"),
        (["worker", "D", "--shard", "5/4"], "write it like 1/4"),
        (["worker", "D", "--minutes", "5"], "--fold-minutes"),
        (["run", "D", "--executor", "local", "--minutes", "5"], "--fold-minutes"),
        (["run", "D", "--executor", "local", "-t", "partial", "--trainers", "supervised"], "Trainers are named twice"),
        (["run", "D", "--executor", "everywhere"], "--executor"),
        (["run", "D", "--jobs", "0"], "at least 1"),
        (["unit", "ground"], "folder is missing"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_meant_is_a_usage_error(
    words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("option", "divided"),
    [
        ("--executor local", True),
        ("--trainers partial", True),
        ("--jobs 2", True),
        ("--fold-minutes 3", True),
        ("--cases-per-unit 9", True),
        ("--trainer partial", False),
        ("--steps 3", False),
    ],
)
def test_any_option_of_units_divides_a_run(option: str, divided: bool) -> None:
    assert in_units(parse(["run", "D", *option.split()])) == divided


def test_other_trainers_are_named_in_the_end(tmp_path: Path) -> None:
    other = OtherRun(run="3d-partial-1", configuration="3d", trainer="partial", folds=(), held_out_dice=0.5)
    run = {"dataset": "D", "run": "3d-supervised-2", "configuration": "3d", "trainer": "supervised", "folds": ()}
    report = RunReport(**run, others=(other,), minutes=1.0)
    console = Console(width=200)
    with console.capture() as told:
        console.print(tables.report(report, tmp_path, tmp_path / "report.html"))
    assert "3d-partial-1, Dice 0.500 on held-out cases" in told.get()


def test_a_run_and_a_worker_with_the_same_options_ask_for_the_same() -> None:
    words = ["D", "--folds", "all", "--trainers", "supervised,partial", "--steps", "9", "--cases-per-unit", "4"]
    words += ["--set", "learning_rate=0.1", "--memory", "4GiB", "--device", "cpu", "--expect-missing"]
    order = order_of(parse(["run", *words, "--executor", "local"]))
    assert order == order_of(parse(["worker", *words]))
    assert order.trainers == ("supervised", "partial")
    assert (order.folds, order.settings, order.cases_a_unit) == (None, {"learning_rate": 0.1}, 4)
    assert order_of(parse(["worker", "D"])) == RunOrder()


def test_the_memory_of_a_gpu_is_part_of_the_order() -> None:
    order = order_of(parse(["run", "D", "--executor", "slurm", "--device", "cuda", "--vram", "11GiB"]))
    assert (order.vram_gib, order.memory_gib) == (11.0, None)
