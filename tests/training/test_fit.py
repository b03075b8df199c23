"""The loop: it learns, goes on where it stood, names what is wrong, and leaves whole files."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_training import CASES, Blobs, Pair, Tiny, blob_loader, hard_dice, tiny_run, tiny_task

from autofuse.foundation.errors import ModelError, ResourceError
from autofuse.foundation.files import write_bytes
from autofuse.foundation.locks import lock
from autofuse.training.loop import fit
from autofuse.training.model import load_model
from autofuse.training.run import RunPlan
from autofuse.training.signals import Interrupted, Terminated
from autofuse.training.state import FitResult, ValidationResult
from autofuse.training.trainer import Trainer

TIMED = ("elapsed_s", "step_s", "memory_gib")


def train(folder: Path, trainer: Trainer | None = None, **options: Any) -> FitResult:
    """A tiny run to its end; options are those of the run plan, ``loader`` and ``validate``."""
    trainer = trainer or Tiny()
    loader = options.pop("loader", blob_loader())
    validate = options.pop("validate", hard_dice)
    task = tiny_task()
    run = tiny_run(task, trainer, **options)
    return fit(task, trainer, None, run, folder, device="cpu", validate=validate, loader_factory=loader)


def log_of(folder: Path) -> list[dict[str, Any]]:
    """The epochs in log.jsonl without what the clock decides."""
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in record.items() if name not in TIMED} for record in records]


def stopping_after(steps: int, number: int = signal.SIGTERM):
    """A loader factory whose batch number ``steps`` (over this process) comes with a signal."""

    def make(first_step: int) -> Iterator[Any]:
        for count, batch in enumerate(Blobs({"labelled": CASES}, first_step)):
            if count == steps:
                os.kill(os.getpid(), number)
            yield batch

    return make


def test_it_learns_one_small_case_by_heart(tmp_path: Path) -> None:
    result = train(tmp_path, Tiny(dropout=0.0, width=8), steps=150, steps_per_epoch=50)
    assert result.steps == 150 and result.epochs == 3
    assert result.dice is not None and result.dice > 0.95
    model = load_model(tmp_path)
    assert not model.nets.training and model.run.steps == 150
    assert hard_dice(model.nets, model.trainer).mean_dice == pytest.approx(result.dice)


@pytest.mark.usefixtures("pictures")
def test_what_a_run_leaves(tmp_path: Path) -> None:
    result = train(tmp_path, steps=12)
    names = {file.name for file in tmp_path.iterdir()}
    wanted = {"run.json", "plan.json", "last.safetensors", "best.safetensors", "log.jsonl", "progress.png"}
    assert wanted | {"finished.json"} <= names and not [name for name in names if name.startswith(".tmp")]
    assert (tmp_path / "progress.png").read_bytes().startswith(b"\x89PNG")
    assert FitResult.load(tmp_path / "finished.json") == result
    assert all(name.startswith("net/") for name in load_file(tmp_path / "last.safetensors")), "momentum is dropped"
    records = log_of(tmp_path)
    assert [record["step"] for record in records] == [5, 10, 12]
    assert set(records[0]["terms"]) == {"supervised/dice", "supervised/cross_entropy"}
    assert records[0]["loss"] == pytest.approx(sum(records[0]["terms"].values()))
    assert records[0]["learning_rate"] == pytest.approx(0.02 * (1 - 4 / 12) ** 0.9)


@pytest.mark.usefixtures("pictures")
def test_events_for_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(tmp_path, steps=10)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("loss")] == [5, 10]
    assert {"dice/mean", "dice/ball", "learning_rate", "terms/supervised/dice"} <= set(events.Tags()["scalars"])


def test_a_finished_run_returns_at_once(tmp_path: Path) -> None:
    first = train(tmp_path, steps=6)
    before = {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir() if file.is_file()}

    def never(_first_step: int) -> Any:
        raise AssertionError("no batch is needed")

    assert train(tmp_path, steps=6, loader=never) == first
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in before if name != ".lock"} == {
        name: moment for name, moment in before.items() if name != ".lock"
    }


@pytest.mark.parametrize(
    ("trainer", "precision"),
    [
        (Tiny(ema_decay=0.9), "fp32"),
        (Tiny(), "bf16"),
        (Tiny(poison="case_0"), "fp16"),
        (Pair(follower_every=2), "fp32"),
    ],
    ids=["average", "bf16", "fp16 and skipped steps", "two objectives"],
)
def test_resuming_is_exact(tmp_path: Path, trainer: Trainer, precision: str) -> None:
    streams = {"labelled": CASES} if isinstance(trainer, Tiny) else {"upper": CASES[:3], "lower": CASES[3:]}
    options = {"steps": 23, "precision": precision, "validate_every": 2}
    train(tmp_path / "whole", trainer, loader=blob_loader(streams), **options)

    def stopping(first_step: int) -> Iterator[Any]:
        for count, batch in enumerate(Blobs(streams, first_step)):
            if count == 6:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    stops = 0
    while not (tmp_path / "stopped" / "finished.json").exists():
        try:
            train(tmp_path / "stopped", trainer, loader=stopping, **options)
        except Terminated as error:
            assert error.exit_code == 143
            stops += 1
    assert stops == 3
    for name in ("last.safetensors", "best.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "stopped" / name).read_bytes()
    assert log_of(tmp_path / "whole") == log_of(tmp_path / "stopped")


def test_ctrl_c_has_its_own_exit_code_and_the_second_one_is_immediate(tmp_path: Path) -> None:
    with pytest.raises(Interrupted) as caught:
        train(tmp_path, steps=20, loader=stopping_after(3, signal.SIGINT))
    assert caught.value.exit_code == 130
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def impatient(first_step: int) -> Iterator[Any]:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        yield from Blobs({"labelled": CASES}, first_step)

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, steps=20, loader=impatient)


def test_a_stop_during_validation_is_obeyed_and_the_validation_made_up_for(tmp_path: Path) -> None:
    train(tmp_path / "whole", steps=10)
    calls = []

    def slow(nets: Any, trainer: Trainer) -> ValidationResult:
        calls.append(1)
        if len(calls) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return hard_dice(nets, trainer)

    with pytest.raises(Terminated):
        train(tmp_path / "stopped", steps=10, validate=slow)
    assert log_of(tmp_path / "stopped") == []
    train(tmp_path / "stopped", steps=10, validate=slow)
    assert log_of(tmp_path / "whole") == log_of(tmp_path / "stopped")


def test_log_lines_beyond_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    with pytest.raises(Terminated):
        train(tmp_path, steps=20, loader=stopping_after(7))
    with (tmp_path / "log.jsonl").open("a") as stream:
        stream.write('{"epoch": 2, "written by": "a killed process"}\n{"torn')
    train(tmp_path, steps=20)
    assert [record["epoch"] for record in log_of(tmp_path)] == [1, 2, 3, 4]


def test_steps_that_are_not_finite_are_named_in_the_log(tmp_path: Path) -> None:
    result = train(tmp_path, Tiny(poison="case_2"), steps=30)
    skipped = [step for record in log_of(tmp_path) for step in record["skipped"]]
    assert skipped and result.skipped_steps == len(skipped)
    assert all("case_2" in step["cases"] and step["objective"] == "supervised" for step in skipped)
    assert set(skipped[0]["terms"]) == {"dice", "cross_entropy"}
    assert all(torch.isfinite(tensor).all() for tensor in load_file(tmp_path / "last.safetensors").values())


def test_ten_such_steps_on_end_stop_the_run_with_the_names(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        train(tmp_path, Tiny(poison="bad"), steps=50, loader=blob_loader({"labelled": ("bad",)}))
    assert caught.value.case == "bad (10 steps)"
    assert "supervised/dice (10)" in str(caught.value) and "learning_rate=" in str(caught.value)


def test_the_average_is_what_validates_and_predicts(tmp_path: Path) -> None:
    seen = []

    def record(nets: Any, trainer: Trainer) -> ValidationResult:
        seen.append({name: tensor.clone() for name, tensor in nets.state_dict().items()})
        return ValidationResult(0.5)

    with pytest.raises(Terminated):
        train(tmp_path, Tiny(ema_decay=0.9), steps=10, loader=stopping_after(7), validate=record)
    tensors = load_file(tmp_path / "last.safetensors")
    name = "segmenter.0.weight"
    assert not torch.equal(tensors[f"net/{name}"], tensors[f"average/{name}"])
    torch.testing.assert_close(load_model(tmp_path).nets.state_dict()[name], tensors[f"average/{name}"])
    train(tmp_path, Tiny(ema_decay=0.9), steps=10, validate=record)
    torch.testing.assert_close(load_model(tmp_path).nets.state_dict()[name], seen[-1][name])


def test_best_is_chosen_by_the_moving_average(tmp_path: Path) -> None:
    scores = iter([0.5, 0.9, 0.1, 0.2, 0.95])
    result = train(tmp_path, steps=25, validate=lambda *_: ValidationResult(next(scores)))
    smooth = [0.5, 0.62, 0.464, 0.3848, 0.55436]
    assert [record["dice_smooth"] for record in log_of(tmp_path)] == pytest.approx(smooth)
    assert result.best_step == 10 and result.best_dice == pytest.approx(0.62) and result.dice == 0.95
    best, last = load_model(tmp_path, "best"), load_model(tmp_path, "last")
    assert not torch.equal(best.nets.state_dict()["segmenter.0.weight"], last.nets.state_dict()["segmenter.0.weight"])


def test_validation_is_spread_by_counting_epochs(tmp_path: Path) -> None:
    train(tmp_path, steps=25, validate_every=2)
    assert [record["dice"] is not None for record in log_of(tmp_path)] == [False, True, False, True, True]


def test_without_validation_there_is_no_best(tmp_path: Path) -> None:
    result = train(tmp_path, steps=5, validate=None)
    assert result.dice is None and result.best_crc32 is None
    with pytest.raises(ModelError):
        load_model(tmp_path, "best")


def test_two_objectives_train_together(tmp_path: Path) -> None:
    loader = blob_loader({"upper": CASES[:3], "lower": CASES[3:]})
    result = train(tmp_path, Pair(), steps=150, steps_per_epoch=50, loader=loader)
    assert result.dice is not None and result.dice > 0.8
    assert set(log_of(tmp_path)[0]["terms"]) == {"lead/loss", "follow/loss"}


def test_the_second_of_two_is_refused_and_the_holder_named(tmp_path: Path) -> None:
    with lock(tmp_path), pytest.raises(ResourceError) as caught:
        train(tmp_path, steps=5)
    assert str(os.getpid()) in str(caught.value.found)


def test_another_run_in_the_folder_is_refused(tmp_path: Path) -> None:
    train(tmp_path, steps=5)
    with pytest.raises(ModelError, match="Another run"):
        train(tmp_path, Tiny(width=5), steps=5)
    train(tmp_path, steps=5, threads=2)  # the machine may be another; the run goes on as it was begun
    assert RunPlan.load(tmp_path / "run.json").threads == 1


def test_damaged_runs_are_named(tmp_path: Path) -> None:
    train(tmp_path, steps=5)
    last = (tmp_path / "last.safetensors").read_bytes()
    (tmp_path / "last.safetensors").write_bytes(last[:-5] + b"12345")
    for use in (lambda: train(tmp_path, steps=5), lambda: load_model(tmp_path)):
        with pytest.raises(ModelError) as caught:
            use()
        assert "last.safetensors" in str(caught.value)
    (tmp_path / "last.safetensors").write_bytes(last)
    plan = (tmp_path / "plan.json").read_text()
    (tmp_path / "plan.json").write_text(plan.replace("blobs", "other"))
    with pytest.raises(ModelError):
        load_model(tmp_path)


def test_a_model_of_a_trainer_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(tmp_path, steps=5)
    monkeypatch.undo()
    with pytest.raises(ModelError, match="tiny") as caught:
        load_model(tmp_path)
    assert caught.value.exit_code == 4


def test_every_write_fails_in_turn_and_the_run_goes_on_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tmp_path / "whole", steps=10)
    real, countdown = os.fsync, [0]

    def fail_once(handle: int) -> None:
        countdown[0] -= 1
        if countdown[0] == 0:
            raise OSError(28, "No space left on device")
        real(handle)

    failures = 0
    for number in range(1, 32, 3):
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail_once)
            countdown[0] = number
            try:
                train(tmp_path / str(number), steps=10)
            except ResourceError:
                failures += 1
        train(tmp_path / str(number), steps=10)
        for name in ("last.safetensors", "best.safetensors"):
            assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / str(number) / name).read_bytes()
        assert log_of(tmp_path / "whole") == log_of(tmp_path / str(number))
    assert failures > 5


def test_orphans_of_killed_writers_are_swept(tmp_path: Path) -> None:
    write_bytes(tmp_path / ".tmp-999999999-abcd-last.safetensors", b"half a checkpoint")
    train(tmp_path, steps=5)
    assert not list(tmp_path.glob(".tmp-*"))


def test_torch_is_left_as_it_was_found(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    loaders = []

    def make(first_step: int) -> Blobs:
        loaders.append(Blobs({"labelled": CASES}, first_step))
        return loaders[-1]

    train(tmp_path, steps=3, threads=2, loader=make)
    assert torch.get_num_threads() == 1 and not torch.are_deterministic_algorithms_enabled()
    assert loaders[0].closed


def test_too_little_disk_is_refused_with_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autofuse.foundation.machine.free_disk_gib", lambda _path: 1e-6)
    with pytest.raises(ResourceError, match="GiB"):
        train(tmp_path, steps=3)
    assert not (tmp_path / "last.safetensors").exists()
