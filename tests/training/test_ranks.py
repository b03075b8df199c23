"""Several processes train one model: with equal weights, the losses of one process, and the same exact resume."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from ranks_trained import RANK_LOST
from safetensors.torch import load_file
from tiny_training import CASES, Tiny, tiny_run, tiny_task

from autofuse.foundation.errors import ModelError
from autofuse.training.loop import settle_run
from autofuse.training.run import RunPlan

DROPS: dict[str, Any] = {"dropout_start": 0.0, "dropout_ramp": 0.0, "whole_samples": 0.3}
METHOD: dict[str, Any] = {"fields": DROPS | {"batch_dice": True, "ema_decay": 0.9}}
SCENARIOS: tuple[dict[str, Any], ...] = (
    {"name": "alone", "ranks": 1, **METHOD},
    {"name": "pair", "ranks": 2, **METHOD},
    {"name": "stopped", "ranks": 2, **METHOD, "stops": [(1, "SIGTERM", 1), (1, "SIGKILL", 4), (0, "SIGKILL", 5)]},
    {"name": "poisoned", "ranks": 2, **METHOD, "poisoned": 1, "steps": 3},
    {"name": "timed", "ranks": 2, **METHOD, "steps": None, "minutes": 0.01},
)


class Done(NamedTuple):
    """Where the trainings are, and how each rank of each attempt ended."""

    place: Path
    ended: dict[str, list[list[int]]]

    def log(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.place / name / "log.jsonl").read_text().splitlines()]

    def told(self, name: str) -> str:
        return "\n".join(path.read_text()[-1500:] for path in sorted(self.place.glob(f"{name}_*.txt")))


def trained(place: Path, scenarios: tuple[dict[str, Any], ...]) -> Done:
    """Trainings of ``scenarios`` in forks of one process."""
    script = Path(__file__).with_name("ranks_trained.py")
    command = [sys.executable, str(script), str(place), json.dumps(scenarios)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return Done(place, json.loads(done.stdout))


def assert_alike(done: Done, alone: str, shared: str, tolerance: float) -> None:
    """Losses, terms and gradients of both, epoch by epoch, within a relative tolerance; weights equal on all ranks."""
    assert done.ended[shared][-1] and set(done.ended[shared][-1]) == {0}, done.told(shared)
    for one, both in zip(done.log(alone), done.log(shared), strict=True):
        for name in ("loss", "gradient_norm", "dice"):
            assert both[name] == pytest.approx(one[name], rel=tolerance, abs=1e-4), name
        assert both["terms"] == pytest.approx(one["terms"], rel=tolerance, abs=1e-4)
        assert both["skipped_steps"] == one["skipped_steps"] == 0
    assert len({path.read_text() for path in (done.place / shared).glob("weights_*")}) == 1
    expected = load_file(done.place / alone / "last.safetensors")
    found = load_file(done.place / shared / "last.safetensors")
    for name, weights in expected.items():
        torch.testing.assert_close(found[name], weights, rtol=0.02, atol=20 * tolerance)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    return trained(tmp_path_factory.mktemp("ranks"), SCENARIOS)


def test_two_processes_lose_and_learn_as_one_does(done: Done) -> None:
    assert_alike(done, "alone", "pair", 1e-4)
    assert RunPlan.load(done.place / "pair" / "run.json").ranks == 2


def test_stopped_and_killed_two_processes_end_with_the_same_bytes(done: Done) -> None:
    first, second, third, last = done.ended["stopped"]
    assert first == [143, 143], done.told("stopped")  # one was asked to stop; both saved and did
    assert second == [RANK_LOST, -9]
    assert third == [-9, RANK_LOST]
    assert last == [0, 0], done.told("stopped")
    for name in ("run.json", "last.safetensors", "best.safetensors"):
        assert (done.place / "pair" / name).read_bytes() == (done.place / "stopped" / name).read_bytes(), name
    untimed = [
        [{key: value for key, value in record.items() if not key.endswith(("_s", "_gib"))} for record in done.log(name)]
        for name in ("pair", "stopped")
    ]
    assert untimed[0] == untimed[1]


def test_a_step_that_is_not_finite_on_one_rank_is_skipped_by_all(done: Done) -> None:
    assert done.ended["poisoned"] == [[0, 0]], done.told("poisoned")
    (record,) = done.log("poisoned")
    assert record["skipped_steps"] == 1
    assert record["skipped"][0]["cases"] == ["case 0", "case 1", "case 2", "case 3"]
    assert len({path.read_text() for path in (done.place / "poisoned").glob("weights_*")}) == 1


def test_the_first_process_has_the_clock(done: Done) -> None:
    assert done.ended["timed"] == [[0, 0]], done.told("timed")
    assert len({path.read_text() for path in (done.place / "timed").glob("weights_*")}) == 1


def test_what_ranks_tell_each_other(done: Done) -> None:
    assert done.ended["talk"] == [[0, 0]], done.told("talk")
    heard = [json.loads((done.place / f"heard_{rank}.json").read_text()) for rank in (0, 1)]
    torch.manual_seed(3)
    drawn = torch.rand(4, 3).tolist()
    for rank, item in enumerate(heard):
        assert item.pop("drawn") == drawn[rank::2]
        assert item == {
            "mean": 2.0,
            "sum": 4.0,
            "slope": 6.0,
            "bend": 3.0,
            "largest": [1, 0],
            "first": 1.0,
            "agree": [True, False],
            "counts": 0.5,
        }


def test_a_run_of_one_process_is_written_as_before_there_were_several(tmp_path: Path) -> None:
    task = tiny_task()
    one, two = (tiny_run(task, Tiny(), labelled=CASES, ranks=ranks) for ranks in (1, 2))
    assert "ranks" not in one.to_json()
    assert two.model_dump()["ranks"] == 2
    assert one.digest() != two.digest()
    two.save(tmp_path / "run.json")
    assert RunPlan.load(tmp_path / "run.json") == two


def test_a_run_goes_on_with_as_many_processes_as_it_was_begun_with(tmp_path: Path) -> None:
    task = tiny_task()
    one, two = (tiny_run(task, Tiny(), labelled=CASES, ranks=ranks) for ranks in (1, 2))
    settle_run(task, two, tmp_path, torch.device("cpu"))
    with pytest.raises(ModelError, match="begun by 2 processes") as caught:
        settle_run(task, one, tmp_path, torch.device("cpu"))
    assert caught.value.remedy is not None and "--gpus 2" in caught.value.remedy
    (tmp_path / "finished.json").touch()  # then it does not matter any more
    assert settle_run(task, one, tmp_path, torch.device("cpu")).ranks == 2
