"""Comparing folders of masks and evaluating by given rules, as commands call it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_road import Travelled, draw, tree_hash

from autofuse import road
from autofuse.cli.actions import act
from autofuse.cli.parser import parse
from autofuse.dataset.types import LabelClass
from autofuse.evaluation.comparison_types import Comparison
from autofuse.evaluation.scoring import LESION_RULES, LesionRule, Scoring
from autofuse.evaluation.types import Scores
from autofuse.foundation import console
from autofuse.foundation.errors import DataError, UsageError
from autofuse.images import read_label_image, write_labels
from autofuse.road.comparing import named_folders

CASES = 7
REGION = Scoring(regions=(LabelClass(name="all", raw_values=(1, 2)),))


@pytest.fixture(autouse=True)
def quiet() -> None:
    console.configure(quiet=True)


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set, and beside it folders of its truth moved by nothing, by one and by two voxels."""
    folder = tmp_path_factory.mktemp("masks")
    raw = draw(folder, cases=CASES, test_cases=0)
    for steps, name in ((0, "exact"), (1, "near"), (2, "far")):
        for path in sorted((raw / "labelsTr").iterdir()):
            truth = read_label_image(path)
            write_labels(folder / name / path.name, np.roll(truth.voxels, steps, axis=2), truth.geometry)
    return folder


@pytest.fixture
def raw(masks: Path) -> Path:
    return masks / "Dataset001_Phantom"


def test_three_folders_are_ranked_and_told_apart(raw: Path, masks: Path, tmp_path: Path) -> None:
    before = tree_hash(raw)
    found, folder = road.compare(raw, [masks / "far", masks / "exact", masks / "near"], workspace=tmp_path, workers=0)
    assert [item.name for item in found.ranks] == ["exact", "near", "far"]
    assert found.ranks[0].places == (1.0, 0.0, 0.0)
    pair = next(item for item in found.pairs if (item.first, item.second, item.metric) == ("far", "exact", "dice"))
    assert (pair.better, pair.cases, pair.p) == (CASES, CASES, pytest.approx(2 / 2**CASES))
    assert pair.lower is not None and pair.lower > 0
    assert Comparison.load(folder / "comparison.json") == found
    assert {path.name for path in folder.iterdir()} == {
        "1-far",
        "2-exact",
        "3-near",
        "comparison.json",
        "comparison.csv",
        "comparison_cases.csv",
        "comparison.html",
    }
    assert folder == tmp_path / raw.name / "scores" / "compared" / "far-exact-near"
    assert tree_hash(raw) == before


def test_what_was_scored_is_taken_over_and_only_what_changed_is_scored_again(
    raw: Path, masks: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    for path in sorted((masks / "near").iterdir()):
        truth = read_label_image(path)
        write_labels(mine / path.name, truth.voxels, truth.geometry)
    out = tmp_path / "out"

    def compare(scoring: Scoring = REGION) -> tuple[Comparison, dict[str, int]]:
        found, _ = road.compare(raw, [mine, masks / "far"], out=out, workspace=tmp_path, scoring=scoring, workers=0)
        return found, {path.name: path.stat().st_mtime_ns for path in (out / "1-mine" / "cases").iterdir()}

    first, kept = compare()
    assert compare() == (first, kept)
    changed = sorted(mine.iterdir())[0]
    write_labels(changed, read_label_image(masks / "exact" / changed.name).voxels, read_label_image(changed).geometry)
    (out / "1-mine" / "cases" / sorted(kept)[1]).write_text("{")
    again, later = compare()
    assert {name for name in kept if kept[name] != later[name]} == set(sorted(kept)[:2])
    assert again != first
    _, other_rules = compare(REGION.model_copy(update={"tolerance_mm": 2.0}))
    assert all(other_rules[name] != later[name] for name in later)


def test_missing_and_unreadable_masks_count_as_worst_and_are_named(raw: Path, masks: Path, tmp_path: Path) -> None:
    lacking = tmp_path / "lacking"
    for path in sorted((masks / "exact").iterdir())[2:]:
        truth = read_label_image(path)
        write_labels(lacking / path.name, truth.voxels, truth.geometry)
    damaged = sorted(lacking.iterdir())[0]
    damaged.write_bytes(damaged.read_bytes()[:60])
    options = parse(["compare", str(raw), str(masks / "near"), str(lacking), "--workspace", str(tmp_path), "--json"])
    answer = act(options)
    content = json.loads(json.dumps(answer.content()))
    assert answer.exit_code == 6
    near, bad = content["folders"]
    assert near["missing"] == [] and len(bad["missing"]) == 3
    assert any("damaged" in item["problem"] for item in bad["missing"])
    dice = next(pair for pair in content["pairs"] if pair["metric"] == "dice")
    assert (dice["worse"], dice["better"]) == (3, CASES - 3)
    shared, _ = road.compare(
        raw, [masks / "near", lacking], common=True, out=tmp_path / "shared", workspace=tmp_path, workers=0
    )
    assert (shared.cases, len(shared.folders[1].missing)) == (CASES - 2, 1)


def test_folders_are_called_by_what_tells_them_apart(tmp_path: Path) -> None:
    paths = [tmp_path / "a" / "masks", tmp_path / "b" / "masks"]
    for path in paths:
        path.mkdir(parents=True)
    assert list(named_folders(paths, None)) == ["a/masks", "b/masks"]
    assert list(named_folders(paths, ["old", "new"])) == ["old", "new"]
    for names in (["old"], ["old", "old"], ["old", " "]):
        with pytest.raises(UsageError, match="name of its own"):
            named_folders(paths, names)
    with pytest.raises(UsageError, match="two or more"):
        named_folders([paths[0], tmp_path / "b" / ".." / "a" / "masks"], None)
    with pytest.raises(DataError, match="does not exist"):
        named_folders([paths[0], tmp_path / "c"], None)


def test_regions_and_lesions_are_scored_as_the_command_says(raw: Path, masks: Path, tmp_path: Path) -> None:
    command = ["evaluate", str(raw), "-i", str(masks / "near"), "-o", str(tmp_path / "out"), "--workers", "0", "--html"]
    command += ["--regions", "all=1,2", "one=1", "--tolerance", "2", "one=0.5"]
    command += ["--lesions", "brats-gli", "--lesion-volume", "10", "--lesion-distance", "image"]
    assert act(parse(command)).exit_code == 0
    scores = Scores.load(tmp_path / "out" / "scores.json")
    assert [item.name for item in scores.classes] == ["all", "one"]
    assert scores.tolerance_mm == {"all": 2.0, "one": 0.5}
    assert scores.lesions == LesionRule(name="brats-gli, changed", dilation=3, volume_mm3=10.0, distance_mm=None)
    united = scores.cases[0].classes[0]
    assert len((tmp_path / "out" / "lesions.csv").read_text().splitlines()) == 1 + sum(
        len(row.lesions) for case in scores.cases for row in case.classes
    )
    assert (tmp_path / "out" / "scores.html").is_file()
    act(parse(["evaluate", str(raw), "-i", str(masks / "near"), "-o", str(tmp_path / "out"), "--workers", "0"]))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"scores.json", "scores.csv", "cases"}
    whole = Scores.load(_plain(raw, masks, tmp_path)).cases[0].classes
    assert united.tp + united.fn == sum(row.tp + row.fn for row in whole[:2])


def _plain(raw: Path, masks: Path, folder: Path) -> Path:
    _, where = road.evaluate(raw, workspace=folder, predictions=masks / "near", workers=0)
    return where / "scores.json"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--regions", "all=1,77"], "does not declare"),
        (["--regions", "all=0,1"], "does not declare"),
        (["--regions", "a=1", "a=2"], "same name"),
        (["--tolerance", "nothing=2"], "not scored"),
        (["--lesion-dilation", "2"], "lesions are not scored"),
        (["--lesions", "plain", "--lesion-dilation", "51"], "at most 50"),
        (["--lesions", "plain", "--lesion-distance", "inf"], "more than zero"),
        (["--regions", "all"], "is not a region"),
        (["--regions", "=1"], "is not a region"),
        (["--tolerance", "x=-1"], "is not a tolerance"),
        (["--tolerance", "nan"], "is not a tolerance"),
        (["--lesions", "brats"], "invalid choice"),
    ],
    ids=" ".join,
)
def test_rules_that_cannot_be_meant_are_refused(
    raw: Path, masks: Path, tmp_path: Path, arguments: list[str], told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        act(parse(["evaluate", str(raw), "-i", str(masks / "near"), "-o", str(tmp_path / "out"), *arguments]))
    assert not any(tmp_path.iterdir())


def test_rules_of_the_command_line_are_the_known_ones() -> None:
    assert parse(["evaluate", "x"]).lesions is None
    for name in LESION_RULES:
        assert parse(["evaluate", "x", "--lesions", name]).lesions == name


def test_held_out_cases_are_scored_anew_by_other_rules_and_the_usual_scores_stay(
    travelled: Travelled, tmp_path: Path
) -> None:
    usual, _ = road.evaluate(travelled.raw, workspace=travelled.workspace.root, out=tmp_path / "usual", workers=0)
    rules = Scoring(lesions=LESION_RULES["plain"], tolerance_mm=3.0)
    scores, folder = road.evaluate(
        travelled.raw, workspace=travelled.workspace.root, out=tmp_path / "lesions", scoring=rules, html=True, workers=0
    )
    assert scores.lesions == rules.lesions and scores.classes[0].detection is not None
    assert [case.case for case in scores.cases] == [case.case for case in usual.cases]
    assert scores.mean_dice == usual.mean_dice
    assert {"scores.json", "lesions.csv", "scores.html", "fold_0"} <= {path.name for path in folder.iterdir()}
    again, _ = road.evaluate(travelled.raw, workspace=travelled.workspace.root, out=tmp_path / "again", workers=0)
    assert again == usual
