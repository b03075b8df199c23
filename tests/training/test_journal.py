"""What a journal says, also when a part of it is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from autofuse.training import journal
from autofuse.training.journal import read_log, restore_log
from autofuse.training.state import EpochRecord


def epoch(number: int, loss: float = 1.0) -> EpochRecord:
    """The record of an epoch of ten steps."""
    return EpochRecord(
        epoch=number, step=10 * number, steps=100, learning_rate=0.1, loss=loss, terms={"main/dice": loss},
        gradient_norm=1.0, elapsed_s=6.0 * number, step_s=0.6, memory_gib=0.5,
    )  # fmt: skip


def test_what_was_written_is_read(tmp_path: Path) -> None:
    history = tuple(epoch(number) for number in (1, 2, 3))
    restore_log(tmp_path / "log.jsonl", history)
    assert read_log(tmp_path / "log.jsonl") == (history, 0)
    assert read_log(tmp_path / "nothing.jsonl") == ((), 0)


def test_damaged_lines_cost_their_epochs_only(tmp_path: Path) -> None:
    lines = [epoch(number).model_dump_json().encode() for number in (1, 2, 3)]
    lines[1] = lines[1][:40]
    (tmp_path / "log.jsonl").write_bytes(b"\n".join([*lines, b"\xff\x00", b"[]", b'{"epoch": 4']))
    found, lost = read_log(tmp_path / "log.jsonl")
    assert [record.epoch for record in found] == [1, 3] and lost == 4


def test_an_epoch_that_comes_twice_counts_as_it_stands_last(tmp_path: Path) -> None:
    records = [epoch(1), epoch(2, 9.0), epoch(2, 0.5)]
    (tmp_path / "log.jsonl").write_text("".join(record.model_dump_json() + "\n" for record in records))
    found, _ = read_log(tmp_path / "log.jsonl")
    assert [record.loss for record in found] == [1.0, 0.5]


def test_of_a_huge_file_only_the_beginning_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = epoch(1).model_dump_json().encode() + b"\n"
    monkeypatch.setattr(journal, "MOST_LOG_BYTES", len(line) + 10)
    (tmp_path / "log.jsonl").write_bytes(line + b"x" * 10_000)
    assert read_log(tmp_path / "log.jsonl") == ((epoch(1),), 1)
