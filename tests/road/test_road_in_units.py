"""The road in units leaves what the road in one process leaves, byte for byte; and what failed is told."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from tiny_planner import register_all
from tiny_road import MEMORY_GIB, draw

from autofuse import road
from autofuse.foundation.errors import AutofuseError, UsageError
from autofuse.road.results import REPORT_FILE, RunReport
from autofuse.road.run_graph import HELD_OUT, settle_graph
from autofuse.road.run_in_units import run_in_units, units_status, work_on_units
from autofuse.road.run_order import RunOrder
from autofuse.road.steps import open_both
from autofuse.road.unit_work import do_unit
from autofuse.units.executor import Job, Outcome
from autofuse.units.ledger import Ledger

FOLDS = (0, 1)
STEPS = 3
ORDER = RunOrder(folds=FOLDS, steps=STEPS, device="cpu", memory_gib=MEMORY_GIB, planner="Teaching", cases_a_unit=1)


@dataclass(frozen=True)
class Here:
    """An executor that does every unit in this process; those that it has done are in ``seen``."""

    seen: list[str]

    def run(self, job: Job) -> Outcome:
        """One unit after another."""
        for unit in job.graph.units:
            state = job.ledger.states(job.graph)[unit.name].state
            if state in ("done", "waiting"):
                continue
            self.seen.append(unit.name)
            try:
                do_unit(job.dataset, unit.name, workspace=job.workspace.root, workers=0)
            except AutofuseError:
                continue
        states = job.ledger.states(job.graph).values()
        return Outcome(
            done=tuple(state.unit.name for state in states if state.state == "done"),
            failed={state.unit.name: state.failed for state in states if state.failed is not None},
        )


@pytest.fixture(autouse=True)
def planners(monkeypatch: pytest.MonkeyPatch) -> None:
    register_all(monkeypatch)


def _products(folder: Path) -> dict[str, bytes]:
    """Everything that is made and does not tell the time."""
    kept = (
        "last.safetensors",
        "plan.json",
        "splits.json",
        "fingerprint.json",
        "run.json",
        "ensemble.json",
        "case.json",
    )
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.name in kept or path.name.endswith((".nii.gz", ".b2nd", "scores.json", "scores.csv"))
    }


def _untimed(report: RunReport) -> RunReport:
    folds = tuple(fold.model_copy(update={"minutes": 0.0}) for fold in report.folds)
    return report.model_copy(update={"minutes": 0.0, "folds": folds})


@pytest.mark.slow
def test_units_leave_what_one_process_leaves(tmp_path: Path) -> None:
    raw = draw(tmp_path, cases=3, test_cases=2)
    whole = road.run(
        raw,
        workspace=tmp_path / "whole",
        folds=FOLDS,
        steps=STEPS,
        memory_gib=MEMORY_GIB,
        planner="Teaching",
        device="cpu",
        workers=0,
    )
    here = Here([])
    ran = run_in_units(raw, ORDER, here, workspace=tmp_path / "units")
    assert ran.outcome.exit_code == 0
    assert ran.report is not None
    assert _untimed(ran.report) == _untimed(whole)
    expected, found = _products(tmp_path / "whole"), _products(tmp_path / "units")
    assert found.keys() == expected.keys()
    assert {name for name in expected if expected[name] != found[name]} == set()
    assert {"prepare.3-of-3", "predict.2-of-2", "report"} <= set(here.seen)
    _again(raw, here, tmp_path / "units", found)


def _again(raw: Path, here: Here, root: Path, found: dict[str, bytes]) -> None:
    """Given again, what is lost is made, and what depends on images and other runs is looked at; nothing else."""
    ledger = Ledger(root / raw.name)
    shutil.rmtree(next((root / raw.name / "runs").glob("*/fold_1")))
    here.seen.clear()
    work_on_units(raw, None, here, workspace=root)
    assert here.seen == []  # a worker takes what is written down for granted
    run_in_units(raw, ORDER, here, workspace=root)
    assert here.seen == ["ground", "train.planned.fold_1", "score.planned.fold_1", "select", "report"]
    assert _products(root) == found
    assert {state.state for state in ledger.states(ledger.graph()).values()} == {"done"}


def test_units_make_a_mask_for_each_modality(tmp_path: Path) -> None:
    raw = draw(tmp_path, cases=6, test_cases=1, shift_mm=3.0, labels_per_modality=True)
    order = ORDER.model_copy(update={"planner": "OwnMasks", "folds": (0,)})
    ran = run_in_units(raw, order, Here([]), workspace=tmp_path / "ws")
    assert ran.outcome.failed == {} and ran.report is not None
    assert ran.report.held_out_dice is not None
    ledger = Ledger(tmp_path / "ws" / raw.name)
    graph = ledger.graph()
    shares = [ledger.finished(unit) for unit in graph.units if unit.kind == HELD_OUT]
    outputs = [name for share in shares if share is not None for name in share.outputs]
    held_out = ran.report.folds[0].held_out_cases
    assert held_out > 1 and len(outputs) == len(set(outputs)) == 2 * held_out
    masks = tmp_path / "ws" / raw.name / (ran.report.predictions or "")
    assert sorted(path.name for path in masks.glob("*.nii.gz")) == ["test_001_0000.nii.gz", "test_001_0001.nii.gz"]


def test_a_damaged_image_fails_one_share_and_what_stands_on_it(tmp_path: Path) -> None:
    raw = draw(tmp_path, cases=3, test_cases=1)
    run = {"workspace": tmp_path / "ws"}
    dataset, place = open_both(raw, tmp_path / "ws")
    settle_graph(ORDER, dataset, place)
    do_unit(raw, "ground", **run)
    with pytest.raises(UsageError, match=r"stands on others that are not done"):
        do_unit(raw, "train.planned.fold_0", **run)
    image = raw / "imagesTr" / f"{dataset.cases[1].id}_0000.nii.gz"
    whole = image.read_bytes()
    image.write_bytes(whole[:-30])
    here = Here([])
    outcome = work_on_units(raw, None, here, **run, workers=0).outcome
    assert outcome.done == ("ground", "prepare.1-of-3", "prepare.3-of-3")
    assert outcome.exit_code == 3
    failed = next(unit for unit in units_status(raw, **run).units if unit.state == "failed")
    assert failed.name == "prepare.2-of-3"
    assert image.name in failed.problem
    assert failed.again == f"autofuse unit {raw} --workspace {tmp_path / 'ws'} prepare.2-of-3"
    image.write_bytes(whole)
    do_unit(raw, "prepare.2-of-3", **run, workers=0)
    assert units_status(raw, **run).count("failed") == 0


def test_a_method_that_does_not_exist_fails_the_ground(tmp_path: Path) -> None:
    raw = draw(tmp_path, cases=3, test_cases=1)
    order = ORDER.model_copy(update={"settings": {"learning_rat": 1}})
    ran = run_in_units(raw, order, Here([]), workspace=tmp_path / "ws")
    assert ran.report is None
    assert list(ran.outcome.failed) == ["ground"]
    assert "no field 'learning_rat'" in ran.outcome.failed["ground"].problem
    assert ran.outcome.exit_code == 2
    assert not (ran.workspace.folder / REPORT_FILE).exists()
