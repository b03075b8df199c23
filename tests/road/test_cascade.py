"""A cascade on the road: the first stage is trained first, its masks go into the second, prediction chains both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_road import MEMORY_GIB, draw

from autofuse import road
from autofuse.evaluation.ensemble import Ensemble
from autofuse.foundation.errors import ModelError
from autofuse.plan.types import Plan
from autofuse.preprocessing.store import PriorRecord, Store
from autofuse.road.competing import find_competition
from autofuse.road.crews import ensemble_crew
from autofuse.road.fold import prior_key
from autofuse.road.places import workspace_of
from autofuse.road.runs import choose_run, find_runs
from autofuse.road.selecting import member_of
from autofuse.road.steps import open_both


@pytest.fixture(scope="module")
def cascade(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Plan]:
    """A data set whose plan is a cascade: half the resolution first."""
    folder = tmp_path_factory.mktemp("cascade")
    raw, workspace = draw(folder), folder / "ws"
    plan = road.plan(raw, workspace=workspace, memory_gib=MEMORY_GIB, device="cpu", workers=0)
    full = plan.named(plan.configuration)
    half = full.model_copy(
        update={
            "name": "3d_low",
            "spacing_mm": tuple(2 * value for value in full.spacing_mm),
            "median_shape": tuple(max(1, size // 2) for size in full.median_shape),
        }
    )
    second = full.model_copy(update={"name": "3d_cascade", "previous": "3d_low"})
    changed = plan.model_copy(update={"configurations": (half, second), "configuration": "3d_cascade"})
    changed.save(workspace_of(raw, workspace).plan)
    return raw, workspace, changed


@pytest.mark.slow
def test_both_stages_are_trained_and_chained(cascade: tuple[Path, Path, Plan]) -> None:
    raw, workspace, plan = cascade
    report = road.run(raw, workspace=workspace, steps=2, workers=0)
    place = workspace_of(raw, workspace)
    assert report.configuration == "3d_cascade"
    runs = find_runs(place)
    (first_name, (first,)), (second_name, (second,)) = runs.items()
    assert (first.plan.configuration, second.plan.configuration) == ("3d_low", "3d_cascade")
    assert second.plan.prior_run == first_name
    assert [fold.run for fold in choose_run(place)] == [second_name]
    store = Store(place.prepared("3d_cascade", plan.preparation_digest(plan.named("3d_cascade"))))
    key = prior_key(first_name, 0)
    for case_id in store.case_ids:
        case = store.open(case_id)
        assert PriorRecord.load(store.case_folder(case_id) / f"prior-{key}.json").run == key
        prior = case.read_prior(key)
        assert prior.shape == case.shape
        assert set(np.unique(prior)) <= {0, 1, 2, 3}
    assert report.predictions is not None
    assert report.predicted_cases == 2
    assert report.held_out_dice is not None
    assert list((place.folder / report.predictions).glob("*/test_*.nii.gz"))

    before = {path: path.stat().st_mtime_ns for path in store.folder.rglob("prior-*")}
    again = road.run(raw, workspace=workspace, steps=2, workers=0)
    assert again.model_copy(update={"minutes": report.minutes}) == report
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.slow
def test_both_stages_can_predict_together(cascade: tuple[Path, Path, Plan], tmp_path: Path) -> None:
    raw, workspace, _ = cascade
    road.run(raw, workspace=workspace, steps=2, workers=0)
    opened, place = open_both(raw, workspace)
    candidates = find_competition(opened, place).candidates
    assert [item.folds[0].plan.configuration for item in candidates] == ["3d_cascade", "3d_low"]
    members = tuple(member_of(item, 1) for item in candidates)
    assert members[0].prior_run == members[1].run
    assert members[0].folds[0].prior == members[1].folds[0]
    chosen = Ensemble.load(place.ensemble).model_copy(update={"members": members})
    chosen.save(place.ensemble)
    predicted = road.predict(raw, workspace=workspace, workers=0)
    assert predicted.run == chosen.name
    assert len(predicted.cases) == 2
    assert len(list((Path(predicted.folder) / "first_stage").glob("*.nii.gz"))) == 2
    require_same_elsewhere(raw, workspace, Path(predicted.folder), tmp_path)
    alone = chosen.model_copy(update={"members": members[:1]})
    (place.runs / members[1].run).rename(place.runs / ".away")
    try:
        with pytest.raises(ModelError, match="member of the ensemble is missing"):
            ensemble_crew(place.runs, alone)
    finally:
        (place.runs / ".away").rename(place.runs / members[1].run)


def require_same_elsewhere(raw: Path, workspace: Path, masks: Path, folder: Path) -> None:
    """A bundle of the ensemble gives the masks in ``masks`` in another workspace."""
    exported = road.export_model(raw, workspace=workspace, out=folder / "both.zip", name="both")
    assert exported.entries == 1 + 3 + 2 * 4 + 1
    road.import_model(exported.file, workspace=folder / "theirs")
    made = road.predict("both", workspace=folder / "theirs", images=raw / "imagesTs", out=folder / "out", workers=0)
    assert not made.failed
    for path in sorted(masks.rglob("*.nii.gz")):
        assert path.read_bytes() == (folder / "out" / path.relative_to(masks)).read_bytes()


def test_the_first_stage_can_be_asked_for_alone(cascade: tuple[Path, Path, Plan]) -> None:
    raw, workspace, _ = cascade
    fold = road.train(raw, workspace=workspace, configuration="3d_low", steps=2, workers=0)
    assert fold.plan.configuration == "3d_low"
    assert fold.plan.prior_run is None
