"""Choosing on the road: who competes, what is written, what predicts from then on, and what it refuses."""

from __future__ import annotations

import csv
import shutil
import weakref
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from tiny_road import Travelled, copy_of

from autofuse import road
from autofuse.evaluation.ensemble import Ensemble, EnsembleMember
from autofuse.foundation.errors import ModelError, UsageError
from autofuse.foundation.workspace import Workspace
from autofuse.images import read_image, read_label_image
from autofuse.inference.recipe import Recipe, StructureSteps
from autofuse.inference.record import RECORDS, PredictionRecord
from autofuse.road.competing import find_competition
from autofuse.road.crews import ensemble_crew
from autofuse.road.selecting import member_of


@dataclass(frozen=True)
class Two:
    """A workspace with two runs of one fold, and the masks of both together."""

    raw: Path
    place: Workspace
    ensemble: Ensemble
    masks: Path


@pytest.fixture(scope="module")
def two(travelled: Travelled, tmp_path_factory: pytest.TempPathFactory) -> Two:
    """An ensemble of two runs, written by hand: five cases are too few for one to be chosen."""
    raw, place = copy_of(travelled, tmp_path_factory.mktemp("two"))
    road.train(raw, workspace=place.root, steps=1, settings={"learning_rate": 0.02}, workers=0)
    chosen = road.select(raw, workspace=place.root, workers=0)
    assert chosen.evidence is not None
    assert len(chosen.evidence.candidates) == 2
    opened, _ = road.steps.open_both(raw, place.root)
    members: tuple[EnsembleMember, ...] = tuple(
        member_of(item, weight) for weight, item in enumerate(find_competition(opened, place).candidates, start=1)
    )
    rule = StructureSteps(structure=opened.labels.classes[0].name, largest_only=True)
    ensemble = chosen.model_copy(update={"members": members, "recipe": Recipe(temperature=1.5, steps=(rule,))})
    ensemble.save(place.ensemble)
    predicted = road.predict(raw, workspace=place.root, uncertainty=True, workers=0)
    assert predicted.run == ensemble.name
    assert len(predicted.cases) == 2
    return Two(raw, place, ensemble, Path(predicted.folder))


def test_run_chooses_and_says_that_there_is_little_to_choose_by(travelled: Travelled) -> None:
    ensemble = Ensemble.load(travelled.workspace.ensemble)
    (member,) = ensemble.members
    assert (member.run, member.weight) == (travelled.report.run, 1)
    assert ensemble.is_plain
    assert ensemble.evidence is not None
    assert "too few" in ensemble.evidence.notes[0]
    assert travelled.report.ensemble == member.run


def test_choosing_again_gives_the_same_bytes(travelled: Travelled, tmp_path: Path) -> None:
    raw, place = copy_of(travelled, tmp_path)
    before, made = place.ensemble.read_bytes(), place.ensemble.stat().st_mtime_ns
    road.select(raw, workspace=place.root, workers=0)
    assert place.ensemble.stat().st_mtime_ns == made, "nothing has changed, so nothing is chosen"
    place.ensemble.unlink()
    shutil.rmtree(place.runs / travelled.report.run / "fold_0" / "held_out")
    road.select(raw, workspace=place.root, workers=0)
    assert place.ensemble.read_bytes() == before
    place.ensemble.write_text("{")
    road.select(raw, workspace=place.root, workers=0)
    assert place.ensemble.read_bytes() == before


def test_a_run_judged_on_other_cases_does_not_compete(travelled: Travelled, tmp_path: Path) -> None:
    raw, place = copy_of(travelled, tmp_path)
    other = road.train(raw, workspace=place.root, steps=1, fold=1, settings={"learning_rate": 0.03}, workers=0)
    opened, _ = road.steps.open_both(raw, place.root)
    competition = find_competition(opened, place)
    (left,) = competition.left_out
    assert [item.run for item in competition.candidates] == [other.run], "of equally large sets the newest"
    assert left.run == travelled.report.run
    assert "train its folds 1 as well" in left.why
    named = find_competition(opened, place, [travelled.report.run])
    assert [item.run for item in named.candidates] == [travelled.report.run]
    assert named.left_out[0].why == "it was not named"
    with pytest.raises(UsageError, match="no run called 'x'"):
        road.select(raw, workspace=place.root, runs=["x"], workers=0)


def test_a_case_that_trained_a_fold_does_not_judge_it(travelled: Travelled, tmp_path: Path) -> None:
    raw, place = copy_of(travelled, tmp_path)
    opened, _ = road.steps.open_both(raw, place.root)
    path = place.runs / travelled.report.run / "fold_0" / "run.json"
    from autofuse.training.run import RunPlan
    from autofuse.training.state import FitResult

    plan = RunPlan.load(path)
    bad = plan.model_copy(update={"labelled": (*plan.labelled, plan.held_out[0])})
    bad.save(path)
    finished = path.with_name("finished.json")
    FitResult.load(finished).model_copy(update={"run_digest": bad.digest()}).save(finished)
    with pytest.raises(ModelError, match="no run to choose from") as caught:
        find_competition(opened, place)
    assert "trained fold 0" in str(caught.value)


def test_records_name_the_ensemble_and_a_stopped_prediction_goes_on_alike(two: Two) -> None:
    masks = sorted(two.masks.glob("*.nii.gz"))
    before = {path: path.read_bytes() for path in [*masks, *sorted((two.masks / "uncertainty").iterdir())]}
    record = two.masks / RECORDS / f"{masks[0].name.removesuffix('.nii.gz')}.json"
    found = PredictionRecord.load(record)
    assert found.ensemble == two.ensemble.recipe_digest()
    assert found.weights == pytest.approx((1 / 3, 2 / 3))
    record.unlink()
    masks[0].unlink()
    kept = masks[1].stat().st_mtime_ns
    road.predict(two.raw, workspace=two.place.root, uncertainty=True, workers=0)
    assert {path: path.read_bytes() for path in before} == before
    assert masks[1].stat().st_mtime_ns == kept


def test_uncertainty_stands_beside_the_masks(two: Two) -> None:
    folder = two.masks / "uncertainty"
    (mask, _) = sorted(two.masks.glob("*.nii.gz"))
    name = mask.name.removesuffix(".nii.gz")
    entropy = read_image(folder / f"{name}_entropy.nii.gz")
    information = read_image(folder / f"{name}_mutual_information.nii.gz")
    assert entropy.geometry.same_grid(read_label_image(mask).geometry, 1e-4)
    assert entropy.voxels.dtype == np.uint8
    assert entropy.voxels.max() > 0
    assert information.voxels.shape == entropy.voxels.shape
    rows = list(csv.DictReader((folder / "volumes.csv").open()))
    assert len(rows) == 2 * 3
    for row in rows:
        assert float(row["low_ml"]) <= float(row["expected_ml"]) <= float(row["high_ml"]) + 1e-3
        assert float(row["members_low_ml"]) <= float(row["members_high_ml"])


def test_ten_members_are_never_in_memory_together(two: Two, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from autofuse.training import model as models

    alive: list[weakref.ref[object]] = []
    most = 0
    original = models.load_model

    def counting(*args, **kwargs):  # type: ignore[no-untyped-def]
        nonlocal most
        found = original(*args, **kwargs)
        alive.append(weakref.ref(found.nets))
        most = max(most, sum(one() is not None for one in alive))
        return found

    monkeypatch.setattr(models, "load_model", counting)
    images = tmp_path / "images"
    images.mkdir()
    for path in sorted((two.raw / "imagesTs").glob("test_001_*")):
        shutil.copy2(path, images)
    ten = two.ensemble.model_copy(update={"members": two.ensemble.members * 5})
    ten.save(two.place.ensemble)
    try:
        road.predict(two.raw, workspace=two.place.root, images=images, out=tmp_path / "masks", mirror=False, workers=0)
    finally:
        two.ensemble.save(two.place.ensemble)
    assert len(alive) == 10 + 10, "each is opened once, and read once a case"
    assert most == 1


def test_a_missing_or_changed_member_is_refused(two: Two, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(two.place.runs, runs)
    member = two.ensemble.members[0]
    ensemble_crew(runs, two.ensemble)
    fold = member.folds[0]
    changed = fold.model_copy(update={"weights_crc32": fold.weights_crc32 ^ 1})
    other = member.model_copy(update={"folds": (changed,)})
    with pytest.raises(ModelError, match="not the one that was chosen") as caught:
        ensemble_crew(runs, two.ensemble.model_copy(update={"members": (other, two.ensemble.members[1])}))
    assert caught.value.exit_code == 4
    shutil.rmtree(runs / member.run)
    with pytest.raises(ModelError, match="member of the ensemble is missing") as caught:
        ensemble_crew(runs, two.ensemble)
    assert caught.value.exit_code == 4
    assert member.run in str(caught.value)


def test_weights_that_were_swapped_are_refused(two: Two, tmp_path: Path) -> None:
    first, second = (two.place.runs / item.run / "fold_0" / "last.safetensors" for item in two.ensemble.members)
    kept = first.read_bytes()
    shutil.copyfile(second, first)
    try:
        with pytest.raises(ModelError):
            road.predict(two.raw, workspace=two.place.root, out=tmp_path / "masks", workers=0)
        assert not list((tmp_path / "masks").glob("*.nii.gz"))
    finally:
        first.write_bytes(kept)


def test_a_run_can_be_named_instead(two: Two) -> None:
    run = two.ensemble.members[0].run
    predicted = road.predict(two.raw, workspace=two.place.root, run=run, mirror=False, workers=0)
    assert predicted.run == run
    assert predicted.members == ""
    assert Path(predicted.folder).name == run
