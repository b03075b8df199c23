"""Several processes train one model: with equal weights, the losses of one process, and the same exact resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks_trained import RANK_LOST
from side_by_side import DROPS, Done, assert_alike, trained
from tiny_training import CASES, Tiny, tiny_run, tiny_task

from autofuse.foundation.errors import ModelError
from autofuse.training.loop import settle_run
from autofuse.training.run import RunPlan

METHOD: dict[str, Any] = {"fields": DROPS | {"batch_dice": True, "ema_decay": 0.9}}
SCENARIOS: tuple[dict[str, Any], ...] = (
    {"name": "alone", "ranks": 1, **METHOD},
    {"name": "pair", "ranks": 2, **METHOD},
    {"name": "stopped", "ranks": 2, **METHOD, "stops": [(1, "SIGTERM", 1), (1, "SIGKILL", 4), (0, "SIGKILL", 5)]},
    {"name": "poisoned", "ranks": 2, **METHOD, "poisoned": 1, "steps": 3},
    {"name": "timed", "ranks": 2, **METHOD, "steps": None, "minutes": 0.01},
)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    return trained(tmp_path_factory.mktemp("ranks"), SCENARIOS)


def test_two_processes_lose_and_learn_as_one_does(done: Done) -> None:
    assert_alike(done, "alone", "pair")
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
