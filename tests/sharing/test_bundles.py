"""What goes into a bundle and what comes out: reduced folds, summaries, the card, the way in under bad conditions."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch
from made_models import CASES, FOLDER, pack_model, write_fold

from autofuse.cli.main import main
from autofuse.dataset.types import LabelClass, Labels
from autofuse.evaluation.summary import summarise
from autofuse.evaluation.types import CaseScore, ClassScore
from autofuse.foundation.errors import ModelError
from autofuse.plan.task import Task
from autofuse.plan.types import Plan
from autofuse.road.importing import import_model
from autofuse.sharing import layout
from autofuse.sharing.card import model_card
from autofuse.sharing.end_record import EndRecord, read_end_record
from autofuse.sharing.gate import open_bundle
from autofuse.sharing.markdown import table
from autofuse.sharing.private import Secrets
from autofuse.sharing.reduce import reduce_fold
from autofuse.sharing.summary import summarise_data, summarise_scores
from autofuse.sharing.types import SharedModel
from autofuse.testing import MadeUpDataset, example_fingerprint, example_task
from autofuse.training.checkpoint import AVERAGE, MOMENTUM, NET, About, load_checkpoint, save_checkpoint, tensors_crc32
from autofuse.training.model import load_model
from autofuse.training.run import RunPlan
from autofuse.training.state import FitResult


def test_weights_are_those_that_predict_and_nothing_else(tmp_path: Path) -> None:
    folder = write_fold(tmp_path / "run-00000000" / "fold_0", example_task())
    weights, about = load_checkpoint(folder / layout.WEIGHTS)
    other = {name.replace(NET, AVERAGE): tensor + 1 for name, tensor in weights.items()}
    momentum = {f"{MOMENTUM}segmentation/a": torch.ones(3)}
    save_checkpoint(folder / layout.WEIGHTS, weights | other | momentum, about)
    averaged = {name.replace(AVERAGE, NET): tensor for name, tensor in other.items()}
    result = FitResult.load(folder / layout.FINISHED)
    result.model_copy(update={"weights_crc32": tensors_crc32(averaged)}).save(folder / layout.FINISHED)
    reduced = reduce_fold(folder, "m", Secrets(), earlier=False)
    assert reduced.tensors.keys() == weights.keys()
    assert all(torch.equal(tensor, averaged[name]) for name, tensor in reduced.tensors.items())
    assert about.state is None and reduced.about == About(run_digest=reduced.about.run_digest, step=5)


def test_a_fold_that_is_not_finished_or_not_its_own_is_refused(fold_folder: Path, tmp_path: Path) -> None:
    folder = write_fold(tmp_path / "run-00000000" / "fold_0", example_task())
    weights, about = load_checkpoint(folder / layout.WEIGHTS)
    changed = {name: tensor + 1 for name, tensor in weights.items()}
    save_checkpoint(folder / layout.WEIGHTS, changed, about)
    with pytest.raises(ModelError, match="not those that the training ended with"):
        reduce_fold(folder, "m", Secrets(), earlier=False)
    (folder / layout.FINISHED).unlink()
    with pytest.raises(ModelError, match="missing"):
        reduce_fold(folder, "m", Secrets(), earlier=False)


def test_what_could_not_be_imported_is_not_exported(tmp_path: Path) -> None:
    task = example_task()
    odd = task.configuration.model_copy(update={"name": "not / a name"})
    plan = task.plan.model_copy(update={"configurations": (odd,), "configuration": odd.name})
    folder = write_fold(tmp_path / "run-00000000" / "fold_0", Task(plan, odd))
    with pytest.raises(ModelError, match="cannot be meant"):
        reduce_fold(folder, "m", Secrets(), earlier=False)


def test_values_fit_each_other_after_reduction(fold_folder: Path, good_bundle: Path, tmp_path: Path) -> None:
    home = Path(import_model(good_bundle, workspace=tmp_path).folder) / FOLDER
    run, plan, result = (
        RunPlan.load(home / "run.json"),
        Plan.load(home / "plan.json"),
        FitResult.load(home / "finished.json"),
    )
    assert run.plan_digest == plan.digest() and result.run_digest == run.digest()
    assert plan.dataset == "example" and plan.named(run.configuration)
    before, after = load_model(fold_folder), load_model(home)
    assert all(torch.equal(a, b) for a, b in zip(before.nets.parameters(), after.nets.parameters(), strict=True))


def test_ids_are_found_as_words_and_paths_wherever_they_stand() -> None:
    secrets = Secrets(["P-17", "anna lee", "0042", "123456", "T1", "Liver", "x"], [Path("/data/study")], ["liver"])
    assert secrets.found_in("after p-17, before") == "the case or subject 'p-17'"
    assert secrets.found_in_value({"a": [{"Anna Lee": 1}]}) == "the case or subject 'Anna Lee'"
    assert secrets.found_in("number 123456") is not None
    assert secrets.found_in_value({"voxels": 123456}) is None
    for harmless in ("P-170", "XP-17", "0042", "T1 and x", "the liver", "a / b", "T1/T2/PD", "https://a.org/b/c"):
        assert secrets.found_in(harmless) is None, harmless
    for path in ("in /data/study", "/data/study/x", "'/home/someone/x'", "C:\\Users", "~/scans"):
        assert secrets.found_in(path) is not None, path


def test_summaries_count_and_name_nobody() -> None:
    fingerprint, _ = example_fingerprint(MadeUpDataset("small", ("T1", "T2"), shape=(10, 20, 30), cases=4))
    summary = summarise_data(fingerprint)
    assert (summary.cases, summary.modalities) == (4, ("T1", "T2"))
    assert summary.patterns == ((("T1", "T2"), 4),)
    assert summary.shape[0][0] <= summary.shape[0][1] <= summary.shape[0][2]
    assert [case.id for case in fingerprint.cases if case.id in summary.to_json()] == []


def score(case: str, dice: float) -> CaseScore:
    row = ClassScore(
        name="tumour",
        status="scored",
        tp=1,
        fp=1,
        fn=1,
        dice=dice,
        nsd=None,
        hd95_mm=None,
        hd95_max_mm=None,
        volume_reference_ml=1.0,
        volume_prediction_ml=1.0,
        volume_difference_ml=0.0,
        volume_difference_relative=0.0,
    )
    return CaseScore(case=case, labelled_fraction=1.0, diagonal_mm=10.0, classes=(row,))


def test_scores_are_told_without_their_cases() -> None:
    labels = Labels(classes=(LabelClass(name="tumour", raw_values=(1,)),))
    cases = [score("anna", 0.5), score("anna 2", 0.7), score("cleo", 0.9)]
    told = summarise_scores(summarise(cases, labels, subjects={"anna 2": "anna"}))
    assert told is not None and (told.cases, told.subjects) == (3, 2)
    assert told.classes[0].statistics["dice"].mean == pytest.approx(0.7)
    assert "anna" not in told.model_dump_json()
    assert summarise_scores(summarise([], labels)) is None


def test_the_card_says_what_is_not_known(good_bundle: Path, tmp_path: Path) -> None:
    folder = Path(import_model(good_bundle, workspace=tmp_path).folder)
    model, plan = SharedModel.load(folder / "model.json"), Plan.load(folder / FOLDER / "plan.json")
    card = model_card(model, {model.run: plan}, None)
    for words in ("not stated: ask", "No held-out case was scored", "Nothing else is known", "no medical device"):
        assert words in card
    assert table(["a|b"], [["c\nd"]]) == ["| a\\|b |", "| --- |", "| c d |"]


def test_the_end_record_is_read_as_zipfile_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", b"12345")
        archive.writestr("b", b"")
    assert read_end_record(path) == EndRecord(entries=2, listing_bytes=2 * 47, surplus_bytes=0)
    path.write_bytes(b"#!" + path.read_bytes())
    assert read_end_record(path) == EndRecord(entries=2, listing_bytes=2 * 47, surplus_bytes=2)


def test_the_end_record_of_large_archives_is_read_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 10)
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in "abc":
            archive.writestr(name, b"0" * 30)
    found = read_end_record(path)
    assert found is not None and (found.entries, found.surplus_bytes) == (3, 0)
    assert b"PK\x06\x06" in path.read_bytes()


def test_a_bundle_over_4_gib_would_be_read(fold_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 5000)
    bundle = pack_model(tmp_path / "large.zip", [fold_folder])
    assert b"PK\x06\x06" in bundle.read_bytes()
    with open_bundle(bundle) as opened:
        assert len(opened.manifest.entries) == 6
    assert import_model(bundle, workspace=tmp_path).fresh


def test_what_a_killed_import_left_is_swept(good_bundle: Path, tmp_path: Path) -> None:
    orphan = tmp_path / "models" / ".tmp-999999999-0a1b2c3d-example"
    (orphan / "runs").mkdir(parents=True)
    import_model(good_bundle, workspace=tmp_path)
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == ["example"]


def test_a_place_that_cannot_be_written_is_named(
    good_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "models").write_text("a file")
    assert main(["import", str(good_bundle), "--workspace", str(tmp_path)]) == 5
    assert "could not be written" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


def test_a_disk_that_is_too_full_is_named(
    good_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("autofuse.sharing.unpack.free_disk_gib", lambda _: 0.01)
    assert main(["import", str(good_bundle), "--workspace", str(tmp_path / "w")]) == 5
    assert "0.01 GiB free" in capsys.readouterr().err
    assert not (tmp_path / "w").exists()


def test_no_patient_is_in_the_bundle_of_the_examples(good_bundle: Path) -> None:
    held = good_bundle.read_bytes()
    with zipfile.ZipFile(good_bundle) as archive:
        held += b"".join(archive.read(name) for name in archive.namelist())
    assert not [case for case in CASES if case.removesuffix(case[-3:]).encode() in held]
