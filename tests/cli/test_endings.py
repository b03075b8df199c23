"""How commands end: exit codes, one message, pure JSON, and streams that are closed or poor."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from autofuse.cli import failure
from autofuse.cli import main as command
from autofuse.foundation.errors import (
    AutofuseError,
    DataError,
    ModelError,
    PartialError,
    ResourceError,
    UsageError,
)

ERRORS = [(UsageError, 2), (DataError, 3), (ModelError, 4), (ResourceError, 5), (PartialError, 6)]


def _failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(_options: object) -> None:
        raise error

    monkeypatch.setattr(command, "_answer", fail)


@pytest.mark.parametrize(("kind", "code"), ERRORS)
def test_each_error_has_its_exit_code(
    kind: type[AutofuseError],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _failing(monkeypatch, kind("It is broken.", file="a/b.nii.gz", remedy="Mend it."))
    assert command.main(["info"]) == code
    told = capsys.readouterr()
    assert told.out == ""
    assert "It is broken." in told.err
    assert "a/b.nii.gz" in told.err
    assert "Mend it." in told.err
    assert "Traceback" not in told.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), 5),
        (OSError(errno.ENOSPC, "No space left on device"), 5),
        (PermissionError(errno.EACCES, "Permission denied"), 5),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), 5),
        (FileNotFoundError(errno.ENOENT, "No such file"), 1),
        (RuntimeError("surprise"), 1),
        (KeyboardInterrupt(), 130),
        (failure.Terminated(), 143),
    ],
    ids=repr,
)
def test_other_exceptions_end_in_order(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _failing(monkeypatch, error)
    assert command.main(["info"]) == code
    assert "Traceback" not in capsys.readouterr().err


def test_a_bug_is_one_line_and_its_traceback_is_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ws" / "Data").mkdir(parents=True)
    (tmp_path / "Data").mkdir()
    _failing(monkeypatch, ZeroDivisionError("surprise"))
    assert command.main(["info", str(tmp_path / "Data"), "--workspace", str(tmp_path / "ws")]) == 1
    log = tmp_path / "ws" / "Data" / "log.txt"
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert str(log) in told
    assert "Traceback" in log.read_text()
    assert "ZeroDivisionError: surprise" in log.read_text()


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _failing(monkeypatch, ZeroDivisionError("surprise"))
    assert command.main(["info", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_an_error_is_one_json_object(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _failing(monkeypatch, DataError("It is broken.", case="p01", found="zeros"))
    assert command.main(["info", "--json"]) == 3
    told = capsys.readouterr()
    content = json.loads(told.out)
    assert content["verb"] == "info"
    assert content["exit_code"] == 3
    assert content["error"]["kind"] == "DataError"
    assert (content["error"]["case"], content["error"]["found"]) == ("p01", "zeros")
    assert told.err == ""


def test_a_usage_error_is_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["train", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["kind"] == "UsageError"


def test_info_says_what_is_here(autofuse) -> None:  # type: ignore[no-untyped-def]
    ended = autofuse("info", "--json")
    assert ended.returncode == 0, ended.stderr
    result = json.loads(ended.stdout)["result"]
    assert result["threads"] >= 1
    assert {"supervised", "partial"} <= set(result["trainers"])
    shown = autofuse("info")
    assert shown.returncode == 0
    assert "planners" in shown.stdout


@pytest.mark.parametrize("verb", ["check", "fingerprint", "plan", "explain", "train", "predict", "evaluate", "run"])
def test_a_folder_that_is_not_there_is_bad_data(verb: str, autofuse, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    ended = autofuse(verb, "nothing_here", "--workers", "0")
    assert ended.returncode == 3
    assert "nothing_here" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_poor_surroundings(autofuse) -> None:  # type: ignore[no-untyped-def]
    poor = {"PATH": os.environ["PATH"], "LANG": "C", "LC_ALL": "C"}
    for arguments in (["info"], ["run", "--help"], ["check", "nöthing—here"]):
        ended = autofuse(*arguments, env=poor, stdin=subprocess.DEVNULL)
        assert ended.returncode == (3 if arguments[0] == "check" else 0), ended.stderr
        assert "Traceback" not in ended.stderr


def test_latin_output_loses_letters_not_the_command(autofuse) -> None:  # type: ignore[no-untyped-def]
    ended = autofuse("--help", env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert ended.returncode == 0
    assert "verbs:" in ended.stdout


@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_closed_streams(closed: str, tmp_path: Path) -> None:
    for arguments, code in (("info", 0), ("info --json", 0), ("check nothing_here", 3), ("--help", 0)):
        line = f'"{sys.executable}" -m autofuse {arguments} {closed}'
        ended = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert ended.returncode == code, ended.stderr
        assert "Traceback" not in ended.stderr


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    line = f'set -o pipefail; "{sys.executable}" -m autofuse info --json | head -c 1 >/dev/null; echo "$?"'
    ended = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "0"
    assert ended.stderr == ""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_the_command_in_order(number: signal.Signals, code: int, tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from autofuse.cli import main\n"
        "def wait(options):\n"
        "    sys.stderr.write('ready\\n'); sys.stderr.flush(); time.sleep(60)\n"
        "main._answer = wait\n"
        "sys.exit(main.main(['info']))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    assert process.stderr is not None
    assert process.stderr.readline() == "ready\n"
    process.send_signal(number)
    _, told = process.communicate(timeout=20)
    assert process.returncode == code
    assert "Traceback" not in told
    assert "goes on" in told
