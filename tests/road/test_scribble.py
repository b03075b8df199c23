"""`autofuse scribble`: from a dense data set to one that everything else takes for a scribbled one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tiny_road import draw, tree_hash

from autofuse import ScribbleOptions, road
from autofuse.cli import main as command
from autofuse.foundation.errors import UsageError
from autofuse.scribbles.types import Scribbles


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom with dense labels."""
    return draw(tmp_path_factory.mktemp("dense"), shape=(20, 32, 32))


@pytest.fixture(scope="module")
def made(dense: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Scribbles, Path]:
    """What was drawn, and where."""
    out = tmp_path_factory.mktemp("scribbled") / "Dataset002_Scribbled"
    return road.scribble(dense, out, workers=0), out


def test_the_copy_is_checked_and_measured_as_sparse(made: tuple[Scribbles, Path], dense: Path, tmp_path: Path) -> None:
    scribbles, out = made
    report = road.check(out, workers=0)
    assert report.ok
    assert report.facts is not None
    assert (report.facts.sparse, report.facts.unlabelled, report.facts.judged) == (5, 0, 7)
    cases = road.fingerprint(out, workspace=tmp_path, workers=0).cases
    assert {case.annotation for case in cases} == {"sparse"}
    assert [case.labelled_fraction for case in cases] == pytest.approx(
        [case.share for case in scribbles.cases], abs=1e-5
    )
    assert road.fingerprint(dense, workspace=tmp_path, workers=0).cases[0].annotation == "dense"
    shares = [item.median_share for item in scribbles.totals]
    assert all(share is not None and 0 < share < 0.6 for share in shares)


def test_there_is_a_picture_and_again_changes_nothing(made: tuple[Scribbles, Path], dense: Path) -> None:
    scribbles, out = made
    assert (out / "scribbles.png").read_bytes().startswith(b"\x89PNG")
    stamps = {path.name: path.stat().st_mtime_ns for path in out.rglob("*") if path.name != ".lock"}
    before = tree_hash(dense)
    assert road.scribble(dense, out, workers=0) == scribbles
    assert {path.name: path.stat().st_mtime_ns for path in out.rglob("*") if path.name != ".lock"} == stamps
    assert tree_hash(dense) == before
    with pytest.raises(UsageError, match="other options"):
        road.scribble(dense, out, options=ScribbleOptions(seed=1))


def test_workers_change_nothing(made: tuple[Scribbles, Path], dense: Path, tmp_path: Path) -> None:
    assert road.scribble(dense, tmp_path / "out", workers=2) == made[0]


def test_the_command_says_it_for_people_and_programs(
    dense: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--every", "2", "--axis", "y", "--density", "0.4", "--no-background", "--seed", "3", "--workers", "0"]
    assert command.main(["scribble", str(dense), "--out", "out", *options]) == 0
    told = capsys.readouterr()
    assert all(word in told.out for word in ("lesion", "vessel", "autofuse run", "scribbles.png"))
    assert "Traceback" not in told.err
    assert command.main(["scribble", str(dense), "--out", "out", *options, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)["result"]
    assert result["options"] == {
        "every": 2,
        "density": 0.4,
        "interior": True,
        "boundary": True,
        "background": False,
        "axis": 1,
        "seed": 3,
    }
    assert [item["scribbled_voxels"] > 0 for item in result["totals"]] == [False, True, True, True]
    assert result["folder"] == str(tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_mistakes_end_in_one_message(dense: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree_hash(dense)
    bare = tmp_path / "Bare"
    shutil.copytree(dense / "imagesTr", bare / "imagesTr")
    shutil.copy(dense / "dataset.json", bare)
    (bare / "labelsTr").mkdir()
    for source, out, code, told in (
        ("nothing_here", "out", 3, "does not exist"),
        (bare, "out", 3, "No training case has a label"),
        (dense, dense / "inside", 2, "never written to"),
        (dense, bare, 2, "something else"),
    ):
        assert command.main(["scribble", str(source), "--out", str(tmp_path / out)]) == code
        shown = capsys.readouterr()
        assert told in shown.err.replace("\n", " ")
        assert "Traceback" not in shown.err
    for wrong in (["--density", "1.5"], ["--every", "0"], ["--axis", "t"], ["--no-interior", "--no-boundary"]):
        assert command.main(["scribble", str(dense), "--out", str(tmp_path / "out"), *wrong]) == 2
    assert not (tmp_path / "out").exists()
    assert tree_hash(dense) == before
