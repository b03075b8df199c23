"""Bundles of ensembles: a good one is taken in, one that lies is refused with exit code 4 and leaves nothing behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_models import FOLDER, Refused, contents, forged, pack_model, repacked, write_fold

from autofuse.evaluation.ensemble import Ensemble, Evidence
from autofuse.inference.recipe import Recipe, StructureSteps
from autofuse.plan.task import Task
from autofuse.road.importing import import_model
from autofuse.road.models import choose_model
from autofuse.sharing import layout
from autofuse.testing import example_task

OTHER = "example-partial-11111111"
SECOND, FIRST = "second-supervised-00000000", "first-supervised-00000000"
Value = dict[str, Any]
Lie = Callable[[Value], object]


def cascade() -> tuple[Task, Task]:
    """The two stages of one plan, the second one first."""
    task = example_task(cascade=True)
    first = task.configuration.model_copy(update={"name": "example_before", "previous": None})
    plan = task.plan.model_copy(update={"configurations": (task.configuration, first)})
    return Task(plan, task.configuration), Task(plan, first)


@pytest.fixture(scope="module")
def pair(fold_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of two runs of different trainers, with a rule for a class."""
    folder = tmp_path_factory.mktemp("pair")
    task = example_task()
    other = write_fold(folder / OTHER / "fold_0", task, "partial")
    step = StructureSteps(structure=task.plan.labels.classes[0].name, largest_only=True)
    recipe = Recipe(temperature=1.5, steps=(step,))
    return pack_model(folder / "pair.zip", [fold_folder, other], weights=[2, 1], recipe=recipe)


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of an ensemble whose member is a cascade."""
    folder = tmp_path_factory.mktemp("staged")
    second, first = cascade()
    folds = [
        write_fold(folder / SECOND / "fold_0", second, prior_run=FIRST),
        write_fold(folder / FIRST / "fold_0", first),
    ]
    return pack_model(folder / "staged.zip", folds, weights=[1], recipe=Recipe(temperature=2.0))


def with_ensemble(bundle: Path, path: Path, change: Lie) -> Path:
    """``bundle`` with another ensemble, to which everything else is made to fit: whoever forges can do that."""
    held = contents(bundle)
    ensemble = forged(held[layout.ENSEMBLE], change)
    digest = json.loads(ensemble)["sha256"]
    model = forged(held[layout.MODEL], lambda value: value.update(ensemble=digest))
    return repacked(bundle, path, {layout.ENSEMBLE: ensemble, layout.MODEL: model})


def test_an_ensemble_comes_in_with_weights_and_recipe(pair: Path, tmp_path: Path) -> None:
    same = with_ensemble(pair, tmp_path / "same.zip", lambda value: None)
    imported = import_model(same, workspace=tmp_path)
    ensemble = Ensemble.load(Path(imported.folder) / layout.ENSEMBLE)
    assert imported.run == ensemble.name and imported.folds == (0,)
    assert "2 x example-supervised-00000000 + example-partial-11111111" in imported.members
    chosen = choose_model("example", tmp_path)
    assert chosen.crew.weights == pytest.approx((2 / 3, 1 / 3))
    assert [fold.run for fold in chosen.folds] == ["example-supervised-00000000", OTHER]
    assert chosen.crew.recipe is not None and chosen.crew.recipe["temperature"] == 1.5
    alone = choose_model("example", tmp_path, run=OTHER)
    assert alone.ensemble is None and alone.crew.recipe is None


def test_a_cascade_in_an_ensemble_comes_in_with_both_stages(staged: Path, tmp_path: Path) -> None:
    import_model(staged, workspace=tmp_path)
    chosen = choose_model("example", tmp_path)
    assert [fold.run for fold in chosen.folds] == [SECOND] and [fold.run for fold in chosen.earlier] == [FIRST]


def member(value: Value, number: int = 0) -> Value:
    found: Value = value["members"][number]
    return found


def fold(value: Value, number: int = 0) -> Value:
    found: Value = member(value, number)["folds"][0]
    return found


def step(value: Value) -> Value:
    found: Value = value["recipe"]["steps"][0]
    return found


EVIDENCE = Evidence(cases=("anna",), subjects=1, rule="", candidates=()).model_dump(mode="json")

LIES: dict[str, tuple[Lie, str]] = {
    "a member that is not there": (lambda it: member(it).update(run="example-supervised-99999999"), "is not there"),
    "a path as member": (lambda it: member(it).update(run="../../../etc"), "is not there"),
    "a fold that is not there": (lambda it: fold(it).update(fold=3), "is not there"),
    "no members": (lambda it: it.update(members=[]), "members"),
    "a member without folds": (lambda it: member(it).update(folds=[]), "members.0.folds"),
    "a network that nothing uses": (lambda it: it["members"].pop(), "no part in it for"),
    "a member twice": (lambda it: it["members"].append(member(it)), "a member twice"),
    "a fold twice": (lambda it: member(it)["folds"].append(fold(it)), "a member twice"),
    "another training": (lambda it: fold(it).update(run_digest="0" * 64), "of another training"),
    "other weights": (lambda it: fold(it).update(weights_crc32=1), "of another training"),
    "another trainer": (lambda it: member(it).update(trainer="cmfnet"), "another configuration, trainer"),
    "another configuration": (lambda it: member(it).update(configuration="2d"), "another configuration, trainer"),
    "an earlier stage": (lambda it: member(it).update(prior_run=OTHER), "earlier stage"),
    "masks of nobody": (lambda it: fold(it).update(prior=dict(fold(it))), "earlier stage"),
    "a negative weight": (lambda it: member(it).update(weight=-1), "members.0.weight"),
    "no weight": (lambda it: member(it).update(weight=0), "members.0.weight"),
    "half a weight": (lambda it: member(it).update(weight=0.5), "members.0.weight"),
    "an expression as weight": (lambda it: member(it).update(weight="9**9**9"), "members.0.weight"),
    "a step for nothing": (lambda it: step(it).update(structure="os.system"), "no class or region"),
    "an unknown step": (lambda it: step(it).update(run="rm -rf /"), "recipe.steps.0.run"),
    "a negative volume": (lambda it: step(it).update(least_mm3=-1.0), "recipe.steps.0.least_mm3"),
    "a step twice": (lambda it: it["recipe"]["steps"].append(step(it)), "two steps"),
    "thresholds for classes": (lambda it: it["recipe"].update(thresholds=[0.5, 0.5]), "thresholds for classes"),
    "no temperature": (lambda it: it["recipe"].update(temperature=0.0), "recipe.temperature"),
    "a temperature of ice": (lambda it: it["recipe"].update(temperature=1e-300), "a temperature of"),
    "a foreign field": (lambda it: it.update(hook="import os"), "hook"),
    "another model": (lambda it: it.update(dataset="other"), "an ensemble of 'other'"),
    "other labels": (lambda it: it.update(labels_digest="0" * 64), "other labels"),
    "a command to the terminal": (lambda it: it.update(sources_digest="\x1b]0;evil\x07"), "?]0;evil?"),
    "cases": (
        lambda it: it.update(evidence=EVIDENCE),
        "evidence, which names cases",
    ),
}


@pytest.mark.parametrize("kind", LIES)
def test_an_ensemble_that_lies_is_refused(kind: str, pair: Path, tmp_path: Path, refused: Refused) -> None:
    lie, words = LIES[kind]
    refused(with_ensemble(pair, tmp_path / "lie.zip", lie), words)


STAGES: dict[str, tuple[Lie, str]] = {
    "no earlier stage": (lambda it: fold(it).update(prior=None), "or without the one that it has"),
    "another earlier training": (lambda it: fold(it)["prior"].update(run_digest="0" * 64), "another earlier stage"),
    "another earlier fold": (lambda it: fold(it)["prior"].update(fold=1), "another earlier stage"),
    "a stage before the first": (
        lambda it: fold(it)["prior"].update(prior=dict(fold(it)["prior"])),
        "another earlier stage",
    ),
    "stages without end": (lambda it: fold(it).update(prior=chain(400)), "ensemble.json"),
}


def chain(depth: int) -> Value:
    """Earlier stages of earlier stages."""
    last: Value = {"fold": 0, "run_digest": "", "weights_crc32": 0, "prior": None}
    return last if depth == 0 else last | {"prior": chain(depth - 1)}


@pytest.mark.parametrize("kind", STAGES)
def test_an_earlier_stage_that_lies_is_refused(kind: str, staged: Path, tmp_path: Path, refused: Refused) -> None:
    lie, words = STAGES[kind]
    refused(with_ensemble(staged, tmp_path / "lie.zip", lie), words)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cannot be read as JSON"),
        (b"[]", "not a value of autofuse"),
        (b'{"kind": "plan", "schema": 1}', "kind 'plan'"),
        (b'{"kind": "ensemble", "schema": 2}', "schema 2"),
        (None, "other files than its model has"),
    ],
)
def test_an_ensemble_that_cannot_be_read_is_refused(
    content: bytes | None, words: str, pair: Path, tmp_path: Path, refused: Refused
) -> None:
    refused(repacked(pair, tmp_path / "a.zip", {layout.ENSEMBLE: content}), words)


def test_an_ensemble_of_which_the_model_says_nothing_is_refused(
    pair: Path, good_bundle: Path, tmp_path: Path, refused: Refused
) -> None:
    ensemble = contents(pair)[layout.ENSEMBLE]
    refused(repacked(good_bundle, tmp_path / "a.zip", {layout.ENSEMBLE: ensemble}), "other files than its model has")
    silent = forged(contents(pair)[layout.MODEL], lambda value: value.update(ensemble="0" * 64))
    refused(repacked(pair, tmp_path / "a.zip", {layout.MODEL: silent}), "do not belong together")


def test_weights_that_are_not_those_of_the_training_are_refused(
    good_bundle: Path, tmp_path: Path, refused: Refused
) -> None:
    file = f"{FOLDER}/{layout.FINISHED}"
    other = forged(contents(good_bundle)[file], lambda value: value.update(weights_crc32=1))
    refused(repacked(good_bundle, tmp_path / "a.zip", {file: other}), "contradict")


def test_a_stage_that_comes_before_itself_is_refused(tmp_path: Path, refused: Refused) -> None:
    second, _ = cascade()
    folder = write_fold(tmp_path / SECOND / "fold_0", second, prior_run=SECOND)
    refused(pack_model(tmp_path / "a.zip", [folder]), "has one itself")
