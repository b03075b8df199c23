"""Pilots from end to end, on a phantom and networks so small that they take seconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_planner import LEARNING, STEPS, register_all
from tiny_road import draw

from autofuse import road
from autofuse.cli.main import main
from autofuse.evaluation import folder as evaluating
from autofuse.foundation.errors import ModelError, UsageError
from autofuse.foundation.workspace import Workspace
from autofuse.images import read_label_image
from autofuse.plan.types import Plan
from autofuse.road import pilot as flight
from autofuse.road.arbiter import is_arbitrated
from autofuse.road.judging import taught_references
from autofuse.road.pilot import PILOT_RUNS, load_pilot
from autofuse.road.pilot_record import Jury, Pilot
from autofuse.road.places import workspace_of
from autofuse.road.runs import TrainedFold, choose_run, read_fold

MINUTES = 1.0
"""Enough for every step that the tiny planners plan, so that no test depends on the speed of the machine."""


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve easy cases, of which the first fold holds three out; one to predict."""
    return draw(tmp_path_factory.mktemp("pilot"), cases=12, test_cases=1, modalities=1, noise=0.02, bias=0.0)


@pytest.fixture(autouse=True)
def _planners(monkeypatch: pytest.MonkeyPatch) -> None:
    register_all(monkeypatch)


def _options(folder: Path, planner: str) -> dict[str, Any]:
    return {"workspace": folder, "planner": planner, "memory_gib": 0.5, "device": "cpu", "workers": 0}


def _pilot_of(place: Workspace) -> Pilot:
    pilot = load_pilot(place)
    assert pilot is not None
    return pilot


def _files(folder: Path, *more: Path) -> dict[str, int]:
    """When each file in ``folder``, and each of ``more``, was written."""
    paths = [*folder.rglob("*"), *more]
    return {path.as_posix(): path.stat().st_mtime_ns for path in paths if path.is_file()}


def _weights(folder: Path) -> dict[str, int]:
    """When each checkpoint in ``folder`` was written."""
    return {name: at for name, at in _files(folder).items() if name.endswith("safetensors")}


@pytest.mark.slow
def test_a_challenger_that_does_not_learn_loses(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place, options = workspace_of(raw, tmp_path), _options(tmp_path, "LazyChallenger")
    nominated = road.plan(raw, **options)
    plan = road.plan(raw, **options, pilot_minutes=MINUTES)
    pilot = _pilot_of(place)
    default, lazy = pilot.trials
    assert (pilot.winner, default.steps, lazy.steps) == (None, STEPS, STEPS)
    assert default.mean_dice is not None and lazy.mean_dice is not None and default.mean_dice > lazy.mean_dice
    assert lazy.gain is not None and lazy.gain.upper < 0
    assert pilot.seconds <= 60 * MINUTES
    assert (plan.trainer, plan.decisions[:-1]) == (nominated.trainer, nominated.decisions)
    assert plan.decisions[-1].chosen == "supervised stays"
    assert Plan.load(place.plan) == plan
    _stays_as_it_is(raw, tmp_path, plan, capsys)


def _stays_as_it_is(raw: Path, folder: Path, plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    """The next commands keep the plan, repeat nothing, tell how it went, and take no model of the pilot's."""
    place = workspace_of(raw, folder)
    before = _files(place.runs, place.plan, place.pilot)
    assert road.plan(raw, workspace=folder, workers=0) == plan
    assert road.plan(raw, workspace=folder, workers=0, pilot=True) == plan
    assert _files(place.runs, place.plan, place.pilot) == before
    with pytest.raises(ModelError, match="No run"):
        choose_run(place)
    capsys.readouterr()
    command = ["plan", str(raw), "--workspace", str(folder), "--pilot", "--workers", "0"]
    assert main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["result"]
    assert told["decisions"][-1]["what"] == "arbiter"
    assert told["pilot"] == _pilot_of(place).model_dump(mode="json")
    assert main([*command, "--quiet"]) == 0
    shown = capsys.readouterr().out
    assert "No challenger wins: supervised stays." in shown
    assert "does not win" in shown
    assert main(["explain", str(raw), "--workspace", str(folder), "--workers", "0", "--quiet"]) == 0
    assert "arbiter: supervised stays" in capsys.readouterr().out


@pytest.mark.slow
def test_a_default_that_does_not_learn_is_replaced(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped after the default, the pilot goes on; `run` then trains what has won."""
    place = workspace_of(raw, tmp_path)
    options = _options(tmp_path, "LazyDefault") | {"steps": STEPS, "pilot_minutes": MINUTES}
    trial, names = flight._tried, []

    def stopped_at_second(*arguments: Any) -> Any:
        names.append(arguments[2].name)
        if len(names) == 2:
            raise KeyboardInterrupt
        return trial(*arguments)

    monkeypatch.setattr(flight, "_tried", stopped_at_second)
    with pytest.raises(KeyboardInterrupt):
        road.run(raw, **options)
    assert not is_arbitrated(Plan.load(place.plan))
    begun = _pilot_of(place)
    assert begun.arbitrated_digest is None
    trained = _weights(place.folder / PILOT_RUNS)
    assert trained

    monkeypatch.setattr(flight, "_tried", trial)
    report = road.run(raw, **options)
    pilot, plan = _pilot_of(place), Plan.load(place.plan)
    assert trained.items() <= _weights(place.folder / PILOT_RUNS).items()
    assert [(item.name, item.steps) for item in pilot.trials] == [(item.name, item.steps) for item in begun.trials]
    assert pilot.winner == pilot.trials[2].name
    assert (plan.trainer.name, plan.trainer.fields) == ("partial", LEARNING)
    assert report.trainer == "partial"
    assert plan.digest() == pilot.arbitrated_digest == choose_run(place)[0].plan.plan_digest
    assert "runs/pilot" not in report.folds[0].folder


def test_without_a_challenger_nothing_is_trained(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place, options = workspace_of(raw, tmp_path), _options(tmp_path, "Teaching")
    nominated = road.plan(raw, **options)
    assert road.plan(raw, **options, pilot=True) == nominated
    assert _pilot_of(place).nothing == "the plan names no challenger"
    assert not list((place.folder / PILOT_RUNS).glob("*/fold_*"))
    capsys.readouterr()
    assert main(["plan", str(raw), "--workspace", str(tmp_path), "--pilot", "--workers", "0", "--quiet"]) == 0
    assert "Nothing was tried: the plan names no challenger" in capsys.readouterr().out


def test_where_too_few_cases_are_held_out_nothing_is_trained(tmp_path: Path) -> None:
    few = draw(tmp_path, cases=2, test_cases=0)
    road.plan(few, **_options(tmp_path / "ws", "LazyChallenger"), pilot=True)
    pilot = _pilot_of(workspace_of(few, tmp_path / "ws"))
    assert pilot.nothing == "fewer than 3 labelled subjects are held out"
    assert pilot.trials == ()


def test_a_command_that_says_what_to_train_needs_no_pilot(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="says it already"):
        road.run(raw, workspace=tmp_path, trainer="partial", pilot=True)
    assert not any(tmp_path.iterdir())


def test_dense_truth_that_is_kept_for_judging_does_not_choose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scribbled = draw(tmp_path, cases=5, test_cases=0, scribbles=0.1)
    ground = _ground(scribbled, tmp_path / "ws")
    case = ground.dataset.cases[0]
    assert case.evaluation_label is not None and case.evaluation_label != case.label
    looked_at: dict[str, Path] = {}

    def evaluate(predictions: Path, references: dict[str, Path], *arguments: Any, **options: Any) -> Any:
        looked_at.update(references)
        raise StopIteration

    monkeypatch.setattr(evaluating, "evaluate_folder", evaluate)
    monkeypatch.setattr("autofuse.road.prediction.predict_into", lambda *arguments, **options: [])
    fold = TrainedFold("run", 0, tmp_path, None, None)  # type: ignore[arg-type]
    with pytest.raises(StopIteration):
        flight._scored(ground, fold, Jury(fold=0, cases=(case.id,)), 0)
    assert case.label is not None
    assert looked_at == {case.id: ground.dataset.path(case.label)}


def test_far_background_judges_as_it_teaches(tmp_path: Path) -> None:
    scribbled = draw(tmp_path, cases=5, test_cases=0, scribbles=0.1)
    ground = _ground(scribbled, tmp_path / "ws")
    case = ground.dataset.cases[0]
    label = read_label_image(ground.dataset.path(case.label)).voxels
    for taught in (False, True):
        plan = ground.plan.model_copy(update={"far_background": taught})
        path = taught_references(ground.dataset, [case], plan, tmp_path / "taught")[case.id]
        judged = read_label_image(path).voxels
        assert set(np.unique(label[judged != label])) == ({ground.dataset.labels.ignore} if taught else set())
        assert np.count_nonzero(judged == 0) > np.count_nonzero(label == 0) * (1.1 if taught else 0.99)


def _ground(raw: Path, folder: Path) -> Any:
    from autofuse.road.dials import Asked
    from autofuse.road.steps import ground_of

    return ground_of(raw, folder, Asked(planner="Teaching", device="cpu", memory_gib=0.5), 0)


@pytest.mark.slow
def test_another_topology_is_tried_like_any_challenger(tmp_path: Path) -> None:
    raw = draw(tmp_path / "raw", cases=12, test_cases=0)
    place = workspace_of(raw, tmp_path)
    plan = road.plan(raw, **_options(tmp_path, "Topologies"), pilot_minutes=MINUTES)
    pilot = _pilot_of(place)
    assert [trial.topology for trial in pilot.trials] == ["early", "stems"]
    assert [item.name for item in pilot.left_out] == ["supervised on unheard_of", "somebody's"]
    stems = read_fold(place.folder / pilot.trials[1].runs[0])
    own = Plan.load(stems.folder / "plan.json")
    assert own.named("3d").network.topology == "stems"
    assert stems.plan.plan_digest == pilot.trials[1].plan_digest == own.digest()
    assert stems.finished is not None and stems.finished.steps == 4
    chosen = plan.named("3d").network.topology
    assert chosen == ("early" if pilot.winner is None else "stems")
