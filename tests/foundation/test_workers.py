"""Work units: values in order, failures named, killed and hung workers survived, no orphans."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autofuse.foundation.errors import DataError, ResourceError
from autofuse.foundation.workers import run_units


def double(value: int) -> int:
    return 2 * value


def moody(value: int) -> int:
    if value == 1:
        raise DataError("This case is bad.", case="one", found="1")
    if value == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    if value == 3:
        time.sleep(60)
    if value == 4:
        raise ZeroDivisionError
    return value


@pytest.mark.parametrize("workers", [0, 1, 2, None])
def test_values_come_back_in_order(workers: int | None) -> None:
    outcomes = run_units(double, [(str(k), k) for k in range(7)], label="double", workers=workers)
    assert [outcome.value for outcome in outcomes] == [0, 2, 4, 6, 8, 10, 12]
    assert [outcome.name for outcome in outcomes] == list("0123456")


def test_each_failure_is_its_own() -> None:
    items = [(f"case {k}", k) for k in range(7)]
    outcomes = run_units(moody, items, label="moody", workers=2, timeout_s=4)
    assert [outcome.value for outcome in outcomes] == [0, None, None, None, None, 5, 6]
    assert isinstance(outcomes[1].error, DataError) and outcomes[1].error.found == "1"
    assert isinstance(outcomes[2].error, ResourceError) and "SIGKILL" in str(outcomes[2].error)
    assert "longer than 4 s" in str(outcomes[3].error)
    assert "ZeroDivisionError" in str(outcomes[4].error)


def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import time\nfrom autofuse.foundation.workers import run_units\n"
        "run_units(time.sleep, [('a', 60), ('b', 60)], label='sleep', workers=2)\n"
    )
    parent = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.DEVNULL)
    children = _wait_for(lambda: _children(parent.pid), 2)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]


def _children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def _wait_for(read, count: int) -> list[int]:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + 30
    while len(found := read()) < count:
        assert time.monotonic() < deadline, "the workers did not start"
        time.sleep(0.05)
    return found
