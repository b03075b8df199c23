"""Units as processes: in order, side by side, with others, after failures and kills."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
from scripted import HAS_TWO_PROCESSORS, history, killed_once, script_job
from test_shape import unit

from autofuse.foundation.errors import ResourceError
from autofuse.units import local
from autofuse.units.executor import worst
from autofuse.units.local import Local
from autofuse.units.shape import Needs

CHAIN = (unit("ground"), unit("train.0", "ground"), unit("train.1", "ground"), unit("report", "train.0", "train.1"))
PAIR = (unit("train.0"), unit("train.1"))


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "POLL_S", 0.05)


def test_everything_is_done_once_and_in_order(tmp_path: Path) -> None:
    job = script_job(tmp_path, CHAIN)
    outcome = Local().run(job)
    assert outcome.done == ("ground", "train.0", "train.1", "report")
    assert (outcome.failed, outcome.left, outcome.exit_code) == ({}, (), 0)
    assert [line.name for line in history(job)] == ["ground", "train.0", "train.1", "report"]
    assert Local().run(job) == outcome
    assert len(history(job)) == 4


@pytest.mark.skipif(not HAS_TWO_PROCESSORS, reason="needs two processors")
def test_two_at_once_each_with_its_part_of_the_processors(tmp_path: Path) -> None:
    meet = "mine = ledger.folder / ('met.' + name)\nmine.touch()\n"
    meet += "while len(list(ledger.folder.glob('met.*'))) < 2:\n    time.sleep(0.01)"
    job = script_job(tmp_path, PAIR, **{"train.0": meet, "train.1": meet})
    assert Local(jobs=2).run(job).exit_code == 0
    lines = {line.name: line for line in history(job)}
    assert lines["train.0"].begun < lines["train.1"].ended
    assert lines["train.1"].begun < lines["train.0"].ended
    assert lines["train.0"].processors == len(os.sched_getaffinity(0)) // 2


def test_a_failure_stops_only_what_stands_on_it(tmp_path: Path) -> None:
    units = (*PAIR, unit("train.2"), unit("report", "train.0", "train.1"))
    outcome = Local().run(script_job(tmp_path, units, **{"train.0": "fail(3)", "train.2": "fail(6)"}))
    assert outcome.done == ("train.1",)
    assert {name: item.exit_code for name, item in outcome.failed.items()} == {"train.0": 3, "train.2": 6}
    assert outcome.left == ("report",)
    assert outcome.exit_code == 3
    assert outcome.failed["train.0"].problem == "train.0 is broken."


def test_exit_codes_have_an_order() -> None:
    assert worst([]) == 0
    assert worst([6, 3, 0]) == 3
    assert worst([5, 4]) == 5
    assert worst([5, 1]) == 1
    assert worst([99]) == 1


def test_a_killed_unit_is_tried_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = script_job(tmp_path, PAIR[:1], **{"train.0": killed_once(tmp_path)})
    assert Local().run(job).exit_code == 0
    assert "train.0: its process ended with signal SIGKILL; it is tried again." in capsys.readouterr().err


def test_a_unit_that_is_always_killed_is_given_up_with_its_last_words(tmp_path: Path) -> None:
    words = "print('reading the image', flush=True)\nos.kill(os.getpid(), 9)"
    outcome = Local().run(script_job(tmp_path, PAIR, **{"train.0": words}))
    assert outcome.done == ("train.1",)
    failed = outcome.failed["train.0"]
    assert failed.exit_code == 5
    assert "SIGKILL" in failed.problem
    assert "reading the image" in failed.problem


def test_gpus_are_given_out_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    needs = Needs(gpus=1)
    trains = tuple(unit(f"train.{number}").model_copy(update={"needs": needs}) for number in range(3))
    job = script_job(tmp_path, trains, **{item.name: "time.sleep(0.3)" for item in trains})
    assert Local().run(job).exit_code == 0
    lines = history(job)
    assert {line.gpus for line in lines} == {"4", "7"}
    for gpu in ("4", "7"):
        on_it = sorted((line.begun, line.ended) for line in lines if line.gpus == gpu)
        assert all(before[1] <= after[0] for before, after in pairwise(on_it))


def test_units_without_room_in_memory_wait(tmp_path: Path) -> None:
    huge = Needs(memory_gib=1e6)
    trains = tuple(unit(f"train.{number}").model_copy(update={"needs": huge}) for number in range(2))
    job = script_job(tmp_path, trains)
    assert Local(jobs=2).run(job).exit_code == 0
    first, second = history(job)
    assert first.ended <= second.begun


def test_a_unit_without_work_is_passed_over(tmp_path: Path) -> None:
    job = script_job(tmp_path, (*PAIR, unit("report", "train.0")))
    object.__setattr__(job, "needs", lambda item: None if item.name == "train.0" else item.needs)
    assert Local().run(job).exit_code == 0
    assert [line.name for line in history(job)] == ["train.1", "report"]


_OTHER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from scripted import ScriptJob
from autofuse.foundation.workspace import Workspace
from autofuse.units import local
from autofuse.units.ledger import Ledger
local.POLL_S = 0.05
place = Workspace(Path(sys.argv[1]), "Dataset001")
graph = Ledger(place.folder).graph()
job = ScriptJob(place.root, place, graph, scripts=dict.fromkeys(graph.by_name, sys.argv[4]))
share = tuple(map(int, sys.argv[3].split("/")))
sys.exit(local.Local(share=None if share == (0, 0) else share, together=True).run(job).exit_code)
"""


def _other(folder: Path, share: str = "0/0", script: str = "") -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", _OTHER, str(folder), str(Path(__file__).parent), share, script]
    return subprocess.Popen(command, stderr=subprocess.PIPE)


def test_workers_that_start_together_do_every_unit_once(tmp_path: Path) -> None:
    units = (unit("ground"), *(unit(f"train.{number}", "ground") for number in range(2)))
    job = script_job(tmp_path, (*units, unit("report", *(item.name for item in units[1:]))))
    for process in [_other(tmp_path) for _ in range(2)]:
        _, told = process.communicate(timeout=300)
        assert process.returncode == 0, told.decode()
    names = [line.name for line in history(job)]
    assert sorted(names) == sorted(job.graph.by_name)


def test_shares_wait_for_each_other(tmp_path: Path) -> None:
    job = script_job(tmp_path, CHAIN)
    workers = [_other(tmp_path, share) for share in ("1/2", "2/2")]
    for process in workers:
        _, told = process.communicate(timeout=300)
        assert process.returncode == 0, told.decode()
    parents = {line.name: line.parent for line in history(job)}
    assert parents["ground"] == parents["train.1"] == workers[0].pid
    assert parents["train.0"] == parents["report"] == workers[1].pid


def test_a_share_that_nobody_takes_is_not_waited_for_forever(tmp_path: Path) -> None:
    job = script_job(tmp_path, CHAIN)
    with pytest.raises(ResourceError, match="Nobody takes the units") as told:
        Local(share=(2, 2), patience_s=0.2).run(job)
    assert "ready: ground" in str(told.value)


def test_units_of_another_order_are_noticed(tmp_path: Path) -> None:
    job = script_job(tmp_path, PAIR)
    other = script_job(tmp_path, CHAIN)
    with pytest.raises(ResourceError, match="Other units have taken the place"):
        Local().run(job)
    assert not (other.workspace.folder / "history.txt").exists()


def test_units_end_when_their_executor_is_stopped(tmp_path: Path) -> None:
    job = script_job(tmp_path, (unit("slow"),))
    pid_file = job.workspace.folder / "slow"
    process = _other(tmp_path, "1/1", f"Path({str(pid_file)!r}).write_text(str(os.getpid()))\ntime.sleep(600)")
    until = time.monotonic() + 300
    while not (pid_file.exists() and pid_file.read_text()):
        assert time.monotonic() < until
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=300)
    assert "Stopping slow; their state is saved." in told.decode()
    assert not Path(f"/proc/{pid_file.read_text()}").exists()
    assert job.ledger.states(job.graph)["slow"].state == "ready"
