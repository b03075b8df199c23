"""The loop on a real prepared store: patches, augmentation and reading ahead included."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_training import SIZE, Pair, Tiny, tiny_run, tiny_task

from autofuse.foundation.errors import DataError
from autofuse.images.geometry import Geometry
from autofuse.preprocessing.placement import place
from autofuse.preprocessing.prepare import PreparedCase
from autofuse.preprocessing.store import Store
from autofuse.training.loop import fit
from autofuse.training.model import load_model
from autofuse.training.signals import Terminated
from autofuse.training.state import FitResult, ValidationResult
from autofuse.training.trainer import Trainer

LENGTH = 20
CASES = ("a_1", "a_2", "b", "c")
SUBJECTS = {"a_1": "a", "a_2": "a"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Four cases of 20³ voxels, a bright ball in each."""
    made = Store(tmp_path / "prepared")
    directions = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    geometry = Geometry((LENGTH,) * 3, (1.0,) * 3, (0.0,) * 3, directions)
    everything = (slice(0, LENGTH),) * 3
    grid = np.stack(np.meshgrid(*[np.arange(LENGTH)] * 3, indexing="ij"))
    for number, case in enumerate(CASES):
        label = (((grid - (7 + 2 * number)) ** 2).sum(0) < 16).astype(np.int16)
        noise = np.random.default_rng(number).normal(0, 0.3, (1, *label.shape))
        images = (label[None] + noise).astype(np.float32)
        placement = place(geometry, everything, (0, 1, 2), (1.0, 1.0, 1.0))
        prepared = PreparedCase(case, images, np.array([True]), label, placement)
        made.write(prepared, preparation="by hand", source_stamp="0", dimensions=3)
    return made


def train(store: Store, folder: Path, trainer: Trainer, validate: Any = None, **options: Any) -> FitResult:
    task = tiny_task()
    run = tiny_run(task, trainer, labelled=CASES, subjects=SUBJECTS, **options)
    return fit(task, trainer, store, run, folder, device="cpu", validate=validate)


@pytest.mark.parametrize("trainer", [Tiny(), Pair()], ids=["one stream", "two streams"])
def test_a_stopped_training_from_the_store_ends_as_if_undisturbed(
    store: Store, tmp_path: Path, trainer: Trainer
) -> None:
    epochs = []

    def stop_after_two(_nets: Any, _trainer: Trainer) -> ValidationResult:
        epochs.append(1)
        if len(epochs) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return ValidationResult(0.5)

    train(store, tmp_path / "whole", trainer, lambda *_: ValidationResult(0.5), steps=13)
    with pytest.raises(Terminated):
        train(store, tmp_path / "stopped", trainer, stop_after_two, steps=13)
    train(store, tmp_path / "stopped", trainer, stop_after_two, steps=13)
    for name in ("last.safetensors", "best.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "stopped" / name).read_bytes()
    assert load_model(tmp_path / "stopped").task.configuration.patch == (SIZE,) * 3


def test_the_loss_falls(store: Store, tmp_path: Path) -> None:
    train(store, tmp_path / "run", Tiny(dropout=0.0), steps=60, steps_per_epoch=20)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert losses[-1] < 0.6 * losses[0]


def test_cases_that_are_not_prepared_are_named(store: Store, tmp_path: Path) -> None:
    task, trainer = tiny_task(), Tiny()
    run = tiny_run(task, trainer, labelled=("a_1", "nobody"))
    with pytest.raises(DataError) as caught:
        fit(task, trainer, store, run, tmp_path / "run", device="cpu")
    assert caught.value.case == "nobody"
