"""A case with its teachers' labels: these instead of its own, from the store and in patches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from prepared_cases import fill_store, raw_case, tiny_plan

from autofuse.dataset.types import IGNORE
from autofuse.plan.task import Task
from autofuse.preprocessing.taught import taught_case
from autofuse.sampling.source import PatchSource
from autofuse.training.trainer import Stream

KEY = "taught-by-somebody"


def test_teachers_labels_take_the_place_of_a_cases_own(tmp_path: Path) -> None:
    plan = tiny_plan()
    store = fill_store(tmp_path, plan, [raw_case(labelled=False)])
    label = np.zeros(store.open("a").shape, np.int16)
    label[4:8, 4:8, 4:8] = 2
    label[20:, 20:, 20:] = IGNORE
    store.write_prior("a", KEY, label)
    plain, taught = store.open("a"), taught_case(store.open("a"), KEY)
    assert plain.annotation == "none"
    assert plain.read()[1] is None
    assert taught.annotation == "dense"
    images, found = taught.read()
    assert found is not None
    assert found.dtype == np.int16
    assert np.array_equal(found, label)
    assert np.array_equal(images, plain.read()[0])
    assert set(taught.foreground) == {2}
    assert (label[tuple(taught.foreground[2].T)] == 2).all()


def test_patches_of_a_taught_stream_show_them(tmp_path: Path) -> None:
    plan = tiny_plan()
    task = Task(plan, plan.configurations[0])
    store = fill_store(tmp_path, plan, [raw_case(labelled=False)])
    label = np.ones(store.open("a").shape, np.int16)
    store.write_prior("a", KEY, label)
    stream = Stream("unlabelled", cases="unlabelled", foreground=0.5, taught=True)
    for taught_by, expected in ((None, IGNORE), (KEY, 1)):
        crops = PatchSource(store, ["a"], task, stream, seed=0, taught_by=taught_by).crop(0)
        inside = crops.samples[0].label
        assert int(inside.max()) == expected
