"""`autofuse report` at every stage of a workspace: it tells what is there, and changes nothing but its page."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from page_checks import ReadPage, read_page
from tiny_road import MEMORY_GIB, Travelled, draw, tree_hash

from autofuse import road
from autofuse.cli import main as command
from autofuse.dataset.opening import open_dataset
from autofuse.foundation.errors import DataError, ModelError, UsageError
from autofuse.foundation.workspace import Workspace
from autofuse.road.page import PAGE_FILE, add_page
from autofuse.road.page_sources import gather_sources
from autofuse.road.prediction import predict_into
from autofuse.road.runs import FINISHED_FILE, RUN_FILE, choose_run
from autofuse.training.journal import LOG_NAME

ALL_SECTIONS = (
    "The data",
    "What was decided, and why",
    "Training",
    "Scores",
    "Best, median and worst case",
    "Calibration",
    "Where it comes from",
)
LARGEST_MIB = 1.0
"""Of the page on a tiny data set."""


@pytest.fixture
def copied(travelled: Travelled, tmp_path: Path) -> Travelled:
    """The same, in a folder that a test may change."""
    raw = tmp_path / travelled.raw.name
    shutil.copytree(travelled.raw, raw, copy_function=shutil.copy2)
    shutil.copytree(travelled.workspace.root, tmp_path / "ws", copy_function=shutil.copy2)
    return replace(travelled, raw=raw, workspace=Workspace(tmp_path / "ws", raw.name))


def report(made: Travelled, **options: object) -> tuple[road.WrittenPage, ReadPage]:
    """The page of a workspace, written and read."""
    written = road.report(made.raw, workspace=made.workspace.root, **options)  # type: ignore[arg-type]
    return written, read_page(Path(written.path).read_text("utf-8"))


def test_a_run_ends_with_its_page(travelled: Travelled) -> None:
    page = read_page((travelled.workspace.report / PAGE_FILE).read_text("utf-8"))
    assert f"{travelled.report.held_out_dice:.3f}" in page.text
    assert travelled.report.run in page.text


def test_everything_is_told_and_nothing_else_changed(copied: Travelled) -> None:
    raw, before = tree_hash(copied.raw), tree_hash(copied.workspace.folder)
    written, page = report(copied, out=copied.workspace.root / "elsewhere" / "page.html")
    assert written.sections == ALL_SECTIONS
    assert written.size_bytes < LARGEST_MIB * 2**20
    assert (tree_hash(copied.raw), tree_hash(copied.workspace.folder)) == (raw, before)
    for words in (
        "organ",
        "The reason",
        "The only one: phantom_",
        "slice ",
        "line: prediction",
        "autofuse train",
        "torch 2",
    ):
        assert words in page.text, words
    assert "No probabilities of held-out cases are kept" in page.text
    assert str(copied.raw.parent) not in page.text, "paths are relative"
    drawn = [item["aria-label"] or "" for item in page.all("svg")]
    assert [label for label in drawn if label.startswith("Loss of")]


def test_a_data_set_that_was_never_measured_is_refused(tmp_path: Path) -> None:
    raw = draw(tmp_path, cases=2, test_cases=0)
    with pytest.raises(DataError, match="never measured") as caught:
        road.report(raw, workspace=tmp_path / "ws")
    assert "autofuse fingerprint" in (caught.value.remedy or "")
    assert not (tmp_path / "ws").exists()


def test_stages_before_training(tmp_path: Path) -> None:
    raw = draw(tmp_path, cases=4, test_cases=0, scribbles=0.1)
    place = {"workspace": tmp_path / "ws", "workers": 0}
    road.fingerprint(raw, **place)  # type: ignore[arg-type]
    measured = road.report(raw, workspace=tmp_path / "ws")
    assert measured.sections == ("The data", "Training", "Scores", "Where it comes from")
    page = read_page(Path(measured.path).read_text("utf-8"))
    assert "4 cases of 4 subjects" in page.text and "strokes; " in page.text
    road.plan(raw, memory_gib=MEMORY_GIB, device="cpu", **place)  # type: ignore[arg-type]
    planned = road.report(raw, workspace=tmp_path / "ws", pictures=False)
    assert planned.sections[1] == "What was decided, and why"
    page = read_page(Path(planned.path).read_text("utf-8"))
    assert "4 cases of 4 patients" in page.text and not page.all("img")
    assert "--memory 0.5GiB" in page.text


def test_images_laid_over_each_other_are_taken_where_they_were_drawn(copied: Travelled) -> None:
    without, _ = report(copied)
    assert any("autofuse explain" in why for why in without.left_out)
    road.explain(copied.raw, workspace=copied.workspace.root, workers=0)
    written, page = report(copied)
    assert not written.left_out
    assert [item for item in page.all("img") if "checkerboard" in (item["alt"] or "")]


def test_half_trained_and_damaged_is_told(copied: Travelled) -> None:
    (fold,) = choose_run(copied.workspace)
    lines = (fold.folder / LOG_NAME).read_bytes()
    (fold.folder / LOG_NAME).write_bytes(lines[: len(lines) // 2] + b"\n\xff\x00garbage\n")
    (fold.folder / FINISHED_FILE).unlink()
    shutil.rmtree(fold.held_out_scores)
    other = copied.workspace.run("3d-other-00000000", 0)
    other.mkdir(parents=True)
    (other / RUN_FILE).write_text("{")
    (copied.workspace.scores / fold.run / "test" / "scores.json").write_text("{")
    _, page = report(copied)
    assert "not finished" in page.text and "0 of 1 folds trained" in page.text
    assert "journal of fold 0 could not be read" in page.text
    assert "runs/3d-other-00000000/fold_0 cannot be read" in page.text
    assert "test/scores.json is left out" in page.text
    (fold.folder / LOG_NAME).unlink()
    copied.workspace.plan.write_text(copied.workspace.plan.read_text("utf-8").replace('"steps"', '"stps"', 1))
    _, page = report(copied)
    assert "No epoch is written down yet." in page.text
    assert "plan.json is left out" in page.text


def test_a_damaged_measurement_or_a_run_that_is_not_there_is_refused(copied: Travelled) -> None:
    with pytest.raises(ModelError, match="no finished run called 'nope'"):
        report(copied, run="nope")
    with pytest.raises(UsageError, match="is a folder"):
        report(copied, out=copied.workspace.root)
    copied.workspace.fingerprint.write_text("{")
    with pytest.raises(ModelError, match="cannot be read as JSON"):
        report(copied)


def test_damaged_and_missing_images_cost_their_pictures_only(copied: Travelled) -> None:
    first = sorted((copied.raw / "imagesTr").glob("phantom_001_*"))
    for path in first:
        path.write_bytes(path.read_bytes()[:100])
    written, page = report(copied)
    assert any("phantom_001" in why and "imagesTr" in why for why in written.left_out)
    assert page.all("img") and str(copied.raw) not in page.text, "paths are relative, those of errors too"
    shutil.rmtree(copied.raw)
    written, page = report(copied)
    assert "Best, median and worst case" not in written.sections
    assert any("cannot be opened" in why for why in written.left_out)


def test_no_name_is_left_where_names_are_hidden(copied: Travelled) -> None:
    road.explain(copied.raw, workspace=copied.workspace.root, workers=0)
    broken = next((copied.raw / "imagesTr").glob("phantom_001_*"))
    broken.write_bytes(b"no image")
    written, page = report(copied, anonymous=True)
    html = Path(written.path).read_text("utf-8")
    assert "phantom_0" not in html and "test_0" not in html
    assert "case 1" in page.text
    assert not any("phantom_0" in why for why in written.left_out)


def test_names_that_look_like_markup_stay_names(tmp_path: Path) -> None:
    raw = draw(tmp_path, cases=3, test_cases=0)
    odd = "<script>x<b onload=y>"
    for path in sorted(raw.rglob("phantom_001*")):
        path.rename(path.with_name(path.name.replace("phantom_001", odd)))
    description = json.loads((raw / "dataset.json").read_text("utf-8"))
    description["labels"] = {
        f"</style>{name}" if value else name: value for name, value in description["labels"].items()
    }
    description["channel_names"] = {key: f"<i>{name}&amp;" for key, name in description["channel_names"].items()}
    description.pop("dataset", None)
    (raw / "dataset.json").write_text(json.dumps(description), "utf-8")
    road.plan(raw, workspace=tmp_path / "ws", memory_gib=MEMORY_GIB, device="cpu", workers=0)
    written = road.report(raw, workspace=tmp_path / "ws")
    page = read_page(Path(written.path).read_text("utf-8"))
    assert odd in page.text and "</style>organ" in page.text and "<i>T1&amp;" in page.text


def test_calibration_is_measured_where_probabilities_are_kept(copied: Travelled) -> None:
    dataset, (fold,) = open_dataset(copied.raw), choose_run(copied.workspace)
    held_out = [case for case in dataset.cases if case.id in fold.plan.held_out]
    predict_into(dataset, [fold], held_out, fold.held_out, probabilities=True, device="cpu", workers=0, strict=True)
    _, page = report(copied)
    assert "Expected calibration error" in page.text
    assert [item for item in page.all("svg") if "Reliability curves" in (item["aria-label"] or "")]
    for path in fold.held_out.glob("*.b2nd"):
        path.write_bytes(path.read_bytes()[:-9])
    _, page = report(copied)
    assert "The probabilities of 1 held-out case could not be read." in page.text


def test_a_page_that_fails_costs_no_run(copied: Travelled, capfd: pytest.CaptureFixture[str]) -> None:
    copied.workspace.fingerprint.write_text("{")
    assert add_page(copied.workspace, copied.raw, copied.report.run) is None
    assert "The report was not written" in capfd.readouterr().err


def test_the_command_answers_with_the_path(copied: Travelled, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["report", str(copied.raw), "--workspace", str(copied.workspace.root)]
    assert command.main([*arguments, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)["result"]
    assert tuple(result["sections"]) == ALL_SECTIONS
    assert Path(result["path"]).stat().st_size == result["size_bytes"]
    assert command.main([*arguments, "--no-pictures", "-o", str(copied.raw.parent / "x.html")]) == 0
    assert "x.html" in capsys.readouterr().out


def test_sources_tell_the_stage(copied: Travelled) -> None:
    sources = gather_sources(copied.workspace, copied.raw, run=None, anonymous=False, pictures=False)
    told = dict(sources.facts())
    assert told["stage"] == "1 of 1 folds trained" and told["run"] == copied.report.run
    assert told["test Dice"] == f"{copied.report.test_dice:.3f}"
