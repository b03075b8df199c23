"""What the folder says of units: done as long as outputs and what they stood on stay, failed, running, waiting."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_shape import unit

from autofuse.foundation.errors import ModelError
from autofuse.units.claims import claimed
from autofuse.units.ledger import Ledger, UnitState
from autofuse.units.shape import Graph
from autofuse.units.status import status_of

GRAPH = Graph(units=(unit("ground"), unit("train", "ground"), unit("report", "train")))


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    made = Ledger(tmp_path)
    GRAPH.save(made.graph_file)
    return made


def _do(ledger: Ledger, name: str, content: str = "same") -> None:
    path = ledger.folder / f"{name}.out"
    path.write_text(content)
    stood_on = ledger.left_before(GRAPH, GRAPH.named(name))
    assert stood_on is not None
    ledger.finish(GRAPH.named(name), stood_on, [path], 1.5)


def _states(ledger: Ledger) -> list[str]:
    return [state.state for state in ledger.states(GRAPH).values()]


def test_units_become_ready_one_after_another(ledger: Ledger) -> None:
    assert _states(ledger) == ["ready", "waiting", "waiting"]
    _do(ledger, "ground")
    assert _states(ledger) == ["done", "ready", "waiting"]
    _do(ledger, "train")
    _do(ledger, "report")
    assert _states(ledger) == ["done", "done", "done"]
    assert ledger.is_done(GRAPH, "report")


def test_what_stood_on_something_else_is_done_again(ledger: Ledger) -> None:
    for name in GRAPH.by_name:
        _do(ledger, name)
    _do(ledger, "ground")
    assert _states(ledger) == ["done", "done", "done"]  # the same was left
    _do(ledger, "ground", "another plan")
    assert _states(ledger) == ["done", "ready", "waiting"]


def test_a_unit_that_was_asked_for_differently_is_not_done(ledger: Ledger) -> None:
    _do(ledger, "ground")
    other = GRAPH.units[0].model_copy(update={"work": "more steps"})
    assert ledger.states(Graph(units=(other,)))["ground"].state == "ready"


@pytest.mark.parametrize("damage", ["another size", "Same", None], ids=["size", "content", "gone"])
def test_outputs_that_are_gone_or_changed_reopen_a_unit(
    ledger: Ledger, damage: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    _do(ledger, "ground")
    _do(ledger, "train")
    ledger.verify(GRAPH)
    assert _states(ledger) == ["done", "done", "ready"]
    path = ledger.folder / "train.out"
    path.unlink() if damage is None else path.write_text(damage)
    ledger.verify(GRAPH)
    assert _states(ledger) == ["done", "ready", "waiting"]
    assert "train is done again: train.out is missing or was changed." in capsys.readouterr().err


def test_a_failure_is_kept_until_it_is_forgiven_or_mended(ledger: Ledger) -> None:
    failed = ledger.fail(GRAPH.named("ground"), 3, "This label is damaged.\n  file: a.nii.gz")
    state: UnitState = ledger.states(GRAPH)["ground"]
    assert (state.state, state.failed) == ("failed", failed)
    ledger.forgive("ground")
    assert _states(ledger)[0] == "ready"
    ledger.fail(GRAPH.named("ground"), 3, "again")
    _do(ledger, "ground")
    assert _states(ledger)[0] == "done"


def test_damaged_records_count_as_none(ledger: Ledger) -> None:
    _do(ledger, "ground")
    path = ledger.units / "done" / "ground.json"
    path.write_text(path.read_text().replace("same", "sane").replace("ground.out", "ground.tuo"))
    assert _states(ledger)[0] == "ready"


def test_a_status_tells_why_where_and_what_to_do(ledger: Ledger) -> None:
    _do(ledger, "ground")
    ledger.fail(
        GRAPH.named("train"), 5, "There is not enough memory.\n  found: 1\n  expected: 2\n  remedy: 3\n  more: 4"
    )
    log = ledger.log_file("train")
    log.parent.mkdir()
    log.write_text("said")
    status = status_of(ledger, "D --workspace ws")
    ground, train, report = status.units
    assert (ground.state, ground.seconds) == ("done", 1.5)
    assert train.problem.splitlines()[-1] == "  remedy: 3"
    assert (train.exit_code, train.again) == (5, "autofuse unit D --workspace ws train")
    assert (ledger.folder / train.log).read_text() == "said"
    assert (report.state, report.waits_for) == ("waiting", ("train",))
    with claimed(ledger.claim_file("train"), "train"):
        train = status_of(ledger, "D").units[1]
        assert (train.state, train.problem) == ("running", "")
        assert train.where
        assert train.seconds is not None


def test_without_units_the_status_says_how_to_get_some(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no work units"):
        status_of(Ledger(tmp_path), "D")
