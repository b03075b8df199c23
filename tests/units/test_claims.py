"""Claims on units: one holder, a heartbeat with progress, dead holders followed at once or when their heart stopped."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autofuse.foundation.console import progress, say
from autofuse.foundation.errors import ResourceError
from autofuse.units import claims
from autofuse.units.claims import STALE_S, Claim, claimed, here, read_claim


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "claims" / "train.json"


def _elsewhere(beat_s_ago: float) -> Claim:
    """The claim of a process on another machine."""
    place = here().model_copy(update={"host": "node7", "boot": "another", "pid": 17})
    now = time.time()
    return Claim(unit="train", place=place, token="t", since=now - 500, beat=now - beat_s_ago)


def test_one_holds_and_the_other_is_told_who(path: Path) -> None:
    with claimed(path, "train"):
        found = read_claim(path)
        assert found is not None
        assert found.place.pid == os.getpid()
        assert found.is_alive()
        with pytest.raises(ResourceError, match="Another process is at work") as told, claimed(path, "train"):
            pass
        assert f"process {os.getpid()}" in str(told.value)
        assert read_claim(path) == found
    assert not path.exists()


def test_a_claim_is_let_go_when_the_work_fails(path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), claimed(path, "train"):
        raise KeyboardInterrupt
    assert not path.exists()


def test_what_a_killed_process_of_this_machine_held_is_free_at_once(path: Path) -> None:
    script = "import sys,time\nfrom pathlib import Path\nfrom autofuse.units.claims import claimed\n"
    script += "with claimed(Path(sys.argv[1]), 'train'):\n    print('held', flush=True)\n    time.sleep(600)\n"
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(ResourceError), claimed(path, "train"):
            pass
        process.kill()
        process.wait()
        found = read_claim(path)
        assert found is not None
        assert not found.is_alive()
        with claimed(path, "train"):
            pass


def test_of_another_machine_the_heartbeat_counts(path: Path) -> None:
    _elsewhere(STALE_S / 2).save(path)
    with pytest.raises(ResourceError) as told, claimed(path, "train"):
        pass
    assert "process 17 on node7" in str(told.value)
    _elsewhere(STALE_S + 1).save(path)
    with claimed(path, "train"):
        found = read_claim(path)
        assert found is not None
        assert found.place == here()


def test_a_process_number_that_was_given_anew_is_not_the_holder() -> None:
    place = here()
    now = time.time()
    claim = Claim(unit="train", place=place, token="t", since=now, beat=now)
    assert claim.is_alive()
    assert not claim.model_copy(update={"place": place.model_copy(update={"began": place.began - 1})}).is_alive()


def test_a_damaged_claim_is_none(path: Path) -> None:
    path.parent.mkdir()
    path.write_text('{"kind": "unit_cl')
    with claimed(path, "train"):
        assert read_claim(path) is not None


def test_the_heart_tells_how_far_the_work_is(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "BEAT_S", 0.02)
    with claimed(path, "train"):
        first = read_claim(path)
        assert first is not None
        with progress("predict", 4) as advance:
            say("Predicting.")
            advance(3)
            until = time.monotonic() + 20
            while (found := read_claim(path)) is None or found.done != 3:
                assert time.monotonic() < until
                time.sleep(0.01)
        assert (found.label, found.total) == ("predict", 4)
        assert found.told
        assert found.beat > first.beat


def test_a_heart_does_not_beat_for_a_claim_that_was_taken_over(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "BEAT_S", 0.02)
    with claimed(path, "train"):
        other = _elsewhere(0)
        other.save(path)
        time.sleep(0.1)
        assert read_claim(path) == other
    assert read_claim(path) == other
