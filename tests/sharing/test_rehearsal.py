"""A rehearsal finds what a challenge would find, in a container of the kernel's making and without one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from rehearsed_programs import GOOD, INTERFACE, PROGRAMS, stage

from autofuse.sharing.submissions.rehearsal import Start, rehearse_start
from autofuse.sharing.submissions.sandbox import NOBODY, Sandbox, best_sandbox

ISOLATED, GUARDED = "isolated", "guarded"


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that another user may enter; pytest's own are private."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        yield Path(folder) / "rehearsal"


@pytest.fixture(scope="module")
def isolated_here() -> bool:
    """Whether this machine lets us make namespaces."""
    with tempfile.TemporaryDirectory() as folder:
        return best_sandbox(stage(Path(folder) / "probe", "")).isolated


def rehearse(place: Path, program: str, kind: str, isolated_here: bool, **limits: float) -> Start:
    if kind == ISOLATED and not isolated_here:
        pytest.skip("namespaces are not allowed here")
    sandbox = Sandbox(True, NOBODY) if kind == ISOLATED else Sandbox(False, None)
    limits = {"limit_minutes": 1.0, "limit_memory_gib": 1.0} | limits
    return rehearse_start(sandbox, stage(place, program), INTERFACE, "one", ("FLAIR",), **limits)


@pytest.mark.parametrize("kind", [ISOLATED, GUARDED])
def test_a_good_program_passes(kind: str, place: Path, isolated_here: bool) -> None:
    start = rehearse(place, GOOD, kind, isolated_here)
    assert start.faults == () and start.exit_code == 0
    assert 0 < start.seconds < 60 and 0.001 < start.peak_memory_gib < 1
    assert (start.case, start.without) == ("one", ("FLAIR",))


@pytest.mark.parametrize("kind", [ISOLATED, GUARDED])
@pytest.mark.parametrize("what", PROGRAMS)
def test_a_bad_program_fails_with_the_reason(what: str, kind: str, place: Path, isolated_here: bool) -> None:
    program, reason = PROGRAMS[what]
    start = rehearse(place, program, kind, isolated_here)
    assert any(reason in fault for fault in start.faults), start.faults


@pytest.mark.parametrize("kind", [ISOLATED, GUARDED])
def test_a_slow_program_is_stopped(kind: str, place: Path, isolated_here: bool) -> None:
    start = rehearse(place, "mask(); time.sleep(600)", kind, isolated_here, limit_minutes=0.03)
    (fault,) = start.faults
    assert fault.startswith("too slow: stopped after 0.0") and fault.endswith("the limit is 0.03")
    assert 1.8 <= start.seconds < 60


@pytest.mark.parametrize("kind", [ISOLATED, GUARDED])
def test_a_program_that_takes_too_much_memory_is_stopped(kind: str, place: Path, isolated_here: bool) -> None:
    program = "mask(); taken = b'x' * (300 << 20); time.sleep(600)"
    start = rehearse(place, program, kind, isolated_here, limit_memory_gib=0.25)
    (fault,) = start.faults
    assert fault.startswith("too much memory: stopped at ") and fault.endswith("the limit is 0.25 GiB")
    assert 0.25 < start.peak_memory_gib < 0.5


def test_memory_of_children_counts(place: Path, isolated_here: bool) -> None:
    child = "import subprocess\nsubprocess.run([sys.executable, '-c', 'x = b\"x\" * (200 << 20); input()'], stdin=0)"
    program = f"mask(); taken = b'x' * (150 << 20)\n{child.replace('stdin=0', 'stdin=subprocess.PIPE')}\ntime.sleep(1)"
    start = rehearse(place, program.replace("input()", "import time; time.sleep(1)"), GUARDED, isolated_here)
    assert start.peak_memory_gib > 0.34


def test_nothing_is_left_outside(place: Path, isolated_here: bool) -> None:
    before = set(Path("/").iterdir())
    rehearse(place, PROGRAMS["passes over the refusal"][0], ISOLATED, isolated_here)
    assert set(Path("/").iterdir()) == before
    assert str(place) not in Path("/proc/mounts").read_text()


def test_volumes_are_asked_for(place: Path) -> None:
    wanted = INTERFACE.model_copy(update={"volumes": "/output/volumes.json"})
    limits = {"limit_minutes": 1.0, "limit_memory_gib": 1.0}
    missing = rehearse_start(Sandbox(False, None), stage(place, GOOD), wanted, "one", (), **limits)
    assert missing.faults == ("/output/volumes.json is missing",)
    writes = GOOD + "open(root + '/output/volumes.json', 'w').write('{\"lesion\": 1.5}')"
    good = rehearse_start(Sandbox(False, None), stage(place / "again", writes), wanted, "one", (), **limits)
    assert good.faults == ()


def test_it_says_what_of_a_container_there_is() -> None:
    assert "network namespace" in " ".join(Sandbox(True, NOBODY).facts)
    without = " ".join(Sandbox(False, None).facts)
    assert "not as another user" in without and "own Python only" in without


def test_without_namespaces_it_goes_on(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    probed = stage(place, GOOD)
    sandbox = best_sandbox(probed)
    assert not sandbox.isolated and sandbox.user in (None, NOBODY)
    start = rehearse_start(sandbox, probed, INTERFACE, "one", (), limit_minutes=1.0, limit_memory_gib=1.0)
    assert start.faults == ()
