"""Fused images judged from files: tables, records, failures, and a segmenter that must not have seen the subject."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from tiny_planner import register_all
from tiny_road import draw, tree_hash

from autofuse import road
from autofuse.cli.main import main
from autofuse.dataset.opening import open_dataset
from autofuse.dataset.types import Case
from autofuse.evaluation.fusion.folder import DICE_RECORDS, RECORDS
from autofuse.evaluation.fusion.greys import Window
from autofuse.evaluation.fusion.segmenter import Member, shown_to_segmenter
from autofuse.evaluation.fusion.types import FUSED, METRICS, FusionScores
from autofuse.foundation.errors import DataError, ModelError, UsageError
from autofuse.images import Geometry, Image, read_image, write_image
from autofuse.road.judging_fused import SCORES_FILE, TABLE_FILE, segmenter_folds

TRIVIAL = ["maximum", "mean", "laplacian pyramid", "copy of T1", "copy of FLAIR"]
SHAPE = (6, 24, 26)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four cases of two modalities, and one to predict that has a label too."""
    return draw(tmp_path_factory.mktemp("judge"), cases=4, test_cases=1, shape=SHAPE, spacing_mm=(3.0, 1.0, 1.0))


@pytest.fixture
def fused(raw: Path, tmp_path: Path) -> Path:
    """A "fusion" of three cases that copies their first modality."""
    for case in ("phantom_001", "phantom_002", "phantom_003"):
        image = _image(raw, case)
        write_image(tmp_path / "fused" / f"{case}.nii.gz", image.voxels * 2.0 + 7, image.geometry)
    return tmp_path / "fused"


def _image(raw: Path, case: str, channel: int = 0) -> Image:
    return read_image(raw / "imagesTr" / f"{case}_{channel:04d}.nii.gz")


def _times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.json")}


def test_a_copy_scores_as_the_copy_beside_it(raw: Path, fused: Path, tmp_path: Path) -> None:
    before = tree_hash(raw)
    scores, folder = road.judge_fused(raw, fused, workspace=tmp_path / "ws", workers=0)
    assert [case.case for case in scores.cases] == ["phantom_001", "phantom_002", "phantom_003"]
    assert list(scores.rows) == [FUSED, *TRIVIAL]
    for case in scores.cases:
        for metric in METRICS:
            own, copied = (getattr(case.rows[row], metric) for row in (FUSED, "copy of T1"))
            assert own == pytest.approx(copied, rel=1e-6), metric
        assert case.rows[FUSED].sources[0].ssim == pytest.approx(1)
    assert scores.rows[FUSED]["entropy"].n == 3
    assert [lead.metric for lead in scores.leads] == list(METRICS)
    assert all(lead.gain.difference <= 1e-9 and lead.gain.subjects == 3 for lead in scores.leads)
    assert folder == tmp_path / "ws" / raw.name / "scores" / "fused"
    assert FusionScores.load(folder / SCORES_FILE) == scores
    rows = list(csv.DictReader((folder / TABLE_FILE).open(encoding="utf-8")))
    assert len(rows) == 3 * 6 and float(rows[0]["qabf"]) == scores.cases[0].rows[FUSED].qabf
    assert tree_hash(raw) == before


def test_trivial_fusions_alone_are_the_bar(raw: Path, tmp_path: Path) -> None:
    scores, _ = road.judge_fused(raw, workspace=tmp_path, workers=0)
    assert len(scores.cases) == 5 and list(scores.rows) == TRIVIAL and scores.leads == ()
    ranked = {metric: max(TRIVIAL, key=lambda row: scores.rows[row][metric].mean) for metric in METRICS}
    assert ranked["mutual_information"].startswith("copy of"), "the warning of the documentation"


def test_what_is_scored_is_kept_until_it_changes(raw: Path, fused: Path, tmp_path: Path) -> None:
    first, folder = road.judge_fused(raw, fused, out=tmp_path / "out", workers=0)
    before = _times(folder / RECORDS)
    again, _ = road.judge_fused(raw, fused, out=tmp_path / "out", workers=0)
    assert again == first and _times(folder / RECORDS) == before
    image = read_image(fused / "phantom_002.nii.gz")
    write_image(fused / "phantom_002.nii.gz", image.voxels[:, :, ::-1].copy(), image.geometry)
    (folder / RECORDS / "phantom_003.json").write_text("{")
    changed, _ = road.judge_fused(raw, fused, out=tmp_path / "out", workers=0)
    after = _times(folder / RECORDS)
    assert [name for name in before if before[name] != after[name]] == ["phantom_002.json", "phantom_003.json"]
    assert changed.cases[1] != first.cases[1] and changed.cases[2] == first.cases[2]


def test_one_bad_file_does_not_stop_the_others(
    raw: Path, fused: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (fused / "phantom_001.nii.gz").read_bytes()
    (fused / "phantom_001.nii.gz").write_bytes(whole[: len(whole) // 2])
    image = read_image(fused / "phantom_002.nii.gz")
    write_image(fused / "phantom_002.nii.gz", image.voxels[1:], Geometry((5, *SHAPE[1:]), image.geometry.spacing_mm))
    arguments = ["judge-fused", str(raw), "-i", str(fused), "-o", str(tmp_path / "out"), "--workers", "0"]
    assert main([*arguments, "--json"]) == 6
    answer = json.loads(capsys.readouterr().out)
    assert answer["exit_code"] == 6 and answer["result"]["folder"] == str(tmp_path / "out")
    assert [case["case"] for case in answer["result"]["cases"]] == ["phantom_003"]
    problems = {item["case"]: item["problem"] for item in answer["result"]["failed"]}
    assert "phantom_001.nii.gz" in problems["phantom_001"]
    assert "another grid" in problems["phantom_002"] and "shape" in problems["phantom_002"]
    assert main(arguments) == 6
    shown = capsys.readouterr().out
    assert "Qabf" in shown and "best trivial" in shown and "another grid" in shown


def test_bad_fused_files_are_told_apart(raw: Path, tmp_path: Path) -> None:
    image = _image(raw, "phantom_001")
    several = np.stack([image.voxels, image.voxels])
    write_image(tmp_path / "several" / "phantom_001.nii.gz", several, image.geometry)
    with pytest.raises(DataError, match="No case could be judged") as caught:
        road.judge_fused(raw, tmp_path / "several", out=tmp_path / "out", workers=0)
    assert "2 components" in str(caught.value)
    holes = nibabel.Nifti1Image(np.full(SHAPE[::-1], np.nan, np.float32), np.diag([1.0, 1.0, 3.0, 1.0]))
    (tmp_path / "holes").mkdir()
    nibabel.save(holes, tmp_path / "holes" / "phantom_001.nii.gz")
    with pytest.raises(DataError, match="No case could be judged") as caught:
        road.judge_fused(raw, tmp_path / "holes", out=tmp_path / "out", workers=0)
    assert "phantom_001.nii.gz" in str(caught.value) and "NaN" in str(caught.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no fused image of any case"):
        road.judge_fused(raw, tmp_path / "empty", out=tmp_path / "out", workers=0)
    with pytest.raises(DataError, match="no fused image") as caught:
        road.judge_fused(raw, tmp_path / "nowhere", out=tmp_path / "out", workers=0)
    assert caught.value.found == "no such folder"


def test_texture_where_no_source_shows_anything_is_flagged(raw: Path, tmp_path: Path) -> None:
    image = _image(raw, "phantom_001")
    noise = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    write_image(tmp_path / "fused" / "phantom_001.nii.gz", noise, image.geometry)
    scores, _ = road.judge_fused(raw, tmp_path / "fused", out=tmp_path / "out", workers=0)
    (case,) = scores.cases
    (flag,) = scores.flags
    assert (flag.case, flag.row) == ("phantom_001", FUSED)
    assert case.background_share > 0.2 and case.rows[FUSED].entropy > case.entropy_ceiling
    assert "texture where no source shows anything" in flag.reason


def test_windows_are_declared_by_name(raw: Path, fused: Path, tmp_path: Path) -> None:
    by_percentiles, _ = road.judge_fused(raw, fused, out=tmp_path / "a", workers=0)
    wide = {FUSED: Window(lower=0, upper=1e6)}
    declared, _ = road.judge_fused(raw, fused, windows=wide, out=tmp_path / "b", workers=0)
    assert (by_percentiles.stretch, declared.stretch) == ("own", "declared")
    assert declared.rows[FUSED]["standard_deviation"].mean < 1 < by_percentiles.rows[FUSED]["standard_deviation"].mean
    assert declared.rows["copy of T1"] == by_percentiles.rows["copy of T1"]
    for windows, told in (({"CT": Window(lower=0, upper=1)}, "no modality"), ({"T1": Window(lower=1, upper=1)}, "end")):
        with pytest.raises(UsageError, match=told):
            road.judge_fused(raw, fused, windows=windows, out=tmp_path / "c", workers=0)
    for text in ("T1=1", "T1", "=1,2", "T1=nan,2"):
        assert main(["judge-fused", str(raw), "--window", text]) == 2


def test_absent_modalities_and_own_grids(tmp_path: Path) -> None:
    raw = draw(tmp_path, cases=3, test_cases=0, shape=(20, 24, 24), coarse=1.5, turned=True)
    (raw / "imagesTr" / "phantom_002_0001.nii.gz").unlink()
    description = json.loads((raw / "dataset.json").read_text())
    description.setdefault("autofuse", {})["optional_modalities"] = ["FLAIR"]
    (raw / "dataset.json").write_text(json.dumps(description))
    scores, _ = road.judge_fused(raw, out=tmp_path / "out", workers=0)
    assert [len(case.rows) for case in scores.cases] == [5, 4, 5]
    assert scores.rows["copy of FLAIR"]["entropy"].n == 2 and scores.rows["maximum"]["entropy"].n == 3
    assert any("FLAIR has a grid of its own" in text for text in scores.cases[0].warnings)
    assert scores.cases[0].rows["copy of FLAIR"].sources[1].ssim == pytest.approx(1)


# --- the segmenter ---


@pytest.fixture(scope="module")
def single(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set in which each modality of each case is a case of its own."""
    folder = tmp_path_factory.mktemp("single") / "Dataset002_Single"
    shutil.copytree(raw / "imagesTr", folder / "images")
    shutil.copytree(raw / "labelsTr", folder / "masks")
    rows = ["case,subject,image,label"]
    for case in open_dataset(raw).cases:
        rows += [f"{case.id}_{k},{case.id},images/{case.id}_{k:04d}.nii.gz,masks/{case.id}.nii.gz" for k in (0, 1)]
    (folder / "cases.csv").write_text("\n".join(rows) + "\n")
    labels = json.loads((raw / "dataset.json").read_text())["labels"]
    (folder / "dataset.json").write_text(json.dumps({"labels": labels, "file_ending": ".nii.gz"}))
    return folder


@pytest.fixture(scope="module")
def workspace(single: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with one finished fold on single images."""
    place = tmp_path_factory.mktemp("segmenter")
    with pytest.MonkeyPatch.context() as patch:
        register_all(patch)
        road.plan(single, workspace=place, planner="Teaching", memory_gib=0.5, device="cpu", workers=0)
        road.train(single, workspace=place, steps=2, precision="fp32", device="cpu", workers=0)
    return place / single.name


def test_a_segmenter_judges_subjects_that_it_did_not_see(
    raw: Path, fused: Path, workspace: Path, tmp_path: Path
) -> None:
    trained = json.loads(next(workspace.glob("runs/*/fold_0/run.json")).read_text())["value"]["labelled"]
    seen = {name.rsplit("_", 1)[0] for name in trained}
    scores, folder = road.judge_fused(raw, fused, segmenter=workspace, out=tmp_path / "out", device="cpu", workers=0)
    part = scores.segmented
    assert part is not None and part.modality == "image"
    judged = {"phantom_001", "phantom_002", "phantom_003"}
    assert set(part.counted) == judged - seen and set(part.left_out) == judged & seen
    assert all("trained on this subject" in why for why in part.left_out.values())
    assert {item.case for item in scores.dice} == judged - seen
    for item in scores.dice:
        assert list(item.dice) == [FUSED, *TRIVIAL] and item.folds == ("fold_0",)
        # The fused image is a copy of T1, but for the rounding of a file.
        assert item.dice[FUSED] == pytest.approx(item.dice["copy of T1"], abs=0.02)
    before = _times(folder / DICE_RECORDS)
    again, _ = road.judge_fused(raw, fused, segmenter=workspace, out=tmp_path / "out", device="cpu", workers=0)
    assert again == scores and _times(folder / DICE_RECORDS) == before


def test_a_segmenter_is_a_workspace_a_run_or_a_fold(workspace: Path) -> None:
    (run,) = workspace.glob("runs/*")
    assert segmenter_folds(workspace) == segmenter_folds(run) == segmenter_folds(run / "fold_0") == [run / "fold_0"]


def test_a_segmenter_that_cannot_judge_is_refused(
    raw: Path, fused: Path, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register_all(monkeypatch)
    place = tmp_path / "ws"
    road.plan(raw, workspace=place, planner="Teaching", memory_gib=0.5, device="cpu", workers=0)
    road.train(raw, workspace=place, steps=1, precision="fp32", device="cpu", workers=0)
    with pytest.raises(ModelError, match="has to take one image") as caught:
        road.judge_fused(raw, fused, segmenter=place / raw.name, out=tmp_path / "out", device="cpu", workers=0)
    assert caught.value.found == "T1, FLAIR"
    with pytest.raises(ModelError, match="No finished training run"):
        road.judge_fused(raw, fused, segmenter=fused, out=tmp_path / "out", device="cpu", workers=0)
    other = tmp_path / "other" / raw.name
    shutil.copytree(raw, other)
    description = json.loads((other / "dataset.json").read_text())
    description["labels"] = {f"{name}_": value for name, value in description["labels"].items() if value} | {
        "background": 0
    }
    (other / "dataset.json").write_text(json.dumps(description))
    with pytest.raises(ModelError, match="other classes"):
        road.judge_fused(other, fused, segmenter=workspace, out=tmp_path / "out", device="cpu", workers=0)
    assert not (tmp_path / "out").exists(), "refused before the work"


@pytest.mark.parametrize(
    ("known", "case", "subject", "saw"),
    [
        ("p01", "p01", "p01", True),
        ("p01_FLAIR", "p01", "p01", True),
        ("p01-day2", "p01_day1", "p01", True),
        ("p010", "p01", "p01", False),
        ("p01", "p010", "p010", False),
        ("p02_FLAIR", "p01", "p01", False),
        ("subject 7", "scan_3", "subject 7", True),
    ],
)
def test_subjects_are_recognised_by_name(known: str, case: str, subject: str, saw: bool) -> None:
    member = Member("fold_0", None, "", frozenset([known]))  # type: ignore[arg-type]
    assert member.saw(Case(id=case, subject=subject, images=())) is saw


def test_a_segmenter_gets_a_black_background() -> None:
    body = np.array([[False, False, True, True]])
    shown = shown_to_segmenter(np.array([[0.4, 0.41, 0.1, 0.9]]), body)
    np.testing.assert_allclose(shown, [[0, 0, 0.1 - 0.405, 0.9 - 0.405]], atol=1e-6)
    everywhere = np.ones_like(body)
    np.testing.assert_allclose(shown_to_segmenter(np.full((1, 4), 0.4), everywhere), 0.4)
