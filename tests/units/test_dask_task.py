"""What a Dask worker does for a unit: a process of its own, its words in the log, its exit code told."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from autofuse.foundation.errors import UsageError
from autofuse.foundation.workspace import Workspace
from autofuse.units.dask_executor import Dask
from autofuse.units.dask_task import UnitFailed, carry_out
from autofuse.units.executor import Job
from autofuse.units.shape import Graph, Unit

_TELL = (
    "import json, os, sys; values = [os.environ.get(name) for name in ('KEPT', 'TAKEN', 'SET')];"
    "print(json.dumps([sys.argv[2:], os.getcwd(), values])); sys.exit(int(sys.argv[1]))"
)


def test_a_command_is_run_where_and_as_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEPT", "a")
    monkeypatch.setenv("TAKEN", "b")
    log = tmp_path / "logs" / "unit.txt"
    command = [sys.executable, "-c", _TELL, "0"]
    for _ in range(2):
        assert carry_out(command, str(tmp_path), str(log), {"TAKEN": None, "SET": "3"}, before=[0, 0]) == 0
    told = [json.loads(line) for line in log.read_text().splitlines()]
    assert told == [[["--parent", str(os.getpid())], str(tmp_path.resolve()), ["a", None, "3"]]] * 2


def test_a_command_that_fails_is_told_with_its_exit_code(tmp_path: Path) -> None:
    with pytest.raises(UnitFailed, match="exit code 4"):
        carry_out([sys.executable, "-c", _TELL, "4"], str(tmp_path), str(tmp_path / "log"), {})


def test_without_dask_the_remedy_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    job = Job(tmp_path / "D", Workspace(tmp_path / "ws", "D"), Graph(units=(Unit(name="a", kind="a", work="w"),)))
    with pytest.raises(UsageError, match="not installed") as caught:
        Dask().run(job)
    assert caught.value.remedy == "pip install 'autofuse[dask]'"
