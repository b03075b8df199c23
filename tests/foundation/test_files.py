"""Whole or absent: every write fails in turn, and only the old or the new state may be found."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autofuse.foundation.errors import ModelError, ResourceError
from autofuse.foundation.files import folder_atomically, sweep_temps, write_bytes
from autofuse.foundation.locks import lock
from autofuse.foundation.values import StoredValue


class Sample(StoredValue):
    kind = "sample"

    number: int
    names: tuple[str, ...] = ()


@pytest.mark.parametrize("failing", ["write_bytes", "read_bytes", "replace"])
def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    path = tmp_path / "value.json"
    write_bytes(path, b"old")

    def fail(self: Path, *arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, failing, fail)
        with pytest.raises(ResourceError, match="could not be written"):
            write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["value.json"]


def test_a_folder_is_whole_or_absent(tmp_path: Path) -> None:
    with pytest.raises(ValueError), folder_atomically(tmp_path / "case") as temp:
        (temp / "a").write_text("half")
        raise ValueError
    assert list(tmp_path.iterdir()) == []
    for content in ("first", "second"):
        with folder_atomically(tmp_path / "case") as temp:
            (temp / "a").write_text(content)
    assert (tmp_path / "case" / "a").read_text() == "second"
    assert [item.name for item in tmp_path.iterdir()] == ["case"]


def test_orphans_of_dead_writers_are_swept(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / f".tmp-{dead.pid}-00-x").write_text("orphan")
    (tmp_path / f".tmp-{os.getppid()}-00-x").write_text("somebody is still writing this")
    assert sweep_temps(tmp_path) == 1
    assert [item.name for item in tmp_path.iterdir()] == [f".tmp-{os.getppid()}-00-x"]


def test_a_value_survives_the_disk_and_refuses_change(tmp_path: Path) -> None:
    path = tmp_path / "sample.json"
    value = Sample(number=3, names=("ü", "b"))
    value.save(path)
    assert Sample.load(path) == value
    path.write_text(path.read_text().replace('"number": 3', '"number": 4'))
    with pytest.raises(ModelError, match="hash"):
        Sample.load(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"kind": "other", "schema": 1}', "[" * 100_000])
def test_what_is_not_a_value_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "sample.json"
    path.write_text(text)
    with pytest.raises(ModelError):
        Sample.load(path)


def test_a_locked_folder_names_its_holder(tmp_path: Path) -> None:
    script = (
        f"from pathlib import Path\nfrom autofuse.foundation.locks import lock\nimport time\n"
        f"with lock(Path({str(tmp_path)!r})):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    with pytest.raises(ResourceError, match=f"process {holder.pid}"), lock(tmp_path):
        pass
    holder.kill()
    holder.wait()
    holder.stdout.close()
    started = time.monotonic()
    with lock(tmp_path, wait_s=5):
        assert time.monotonic() - started < 5
