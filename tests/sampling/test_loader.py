"""Batches in step order, from any step, and errors that say which case."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import torch
from prepared_cases import fill_store, raw_case, tiny_plan
from test_source import Wanted

from autofuse.foundation.errors import DataError, ResourceError
from autofuse.plan.task import Task
from autofuse.preprocessing.store import Store
from autofuse.sampling.crops import Crops
from autofuse.sampling.loader import Loader
from autofuse.sampling.source import PatchSource


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    cases = [raw_case(name, seed=index) for index, name in enumerate("abc")]
    return fill_store(tmp_path_factory.mktemp("store"), tiny_plan(), cases)


def _sources(store: Store) -> dict[str, PatchSource]:
    plan = tiny_plan()
    task = Task(plan, plan.configurations[0])
    return {
        name: PatchSource(store, store.case_ids, task, Wanted(name=name, share=share), 3)
        for name, share in (("labelled", 1.0), ("other", 0.5))
    }


def test_step_7_is_the_same_from_the_start_and_from_step_7(store: Store) -> None:
    with Loader(_sources(store), 0, threads=2, prefetch=3) as loader:
        for _ in range(8):
            run = next(loader)
    with Loader(_sources(store), 7, threads=1, prefetch=1) as loader:
        fresh = next(loader)
    assert set(run) == {"labelled", "other"}
    for name, batch in run.items():
        assert batch.cases == fresh[name].cases
        assert torch.equal(batch.image, fresh[name].image)
        assert batch.target is not None
        assert torch.equal(batch.target, fresh[name].target)


def test_no_more_is_read_ahead_than_asked(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    crop = PatchSource.crop

    def counted(self: PatchSource, step: int) -> Crops:
        steps.append(step)
        return crop(self, step)

    monkeypatch.setattr(PatchSource, "crop", counted)
    sources = {"labelled": _sources(store)["labelled"]}
    with Loader(sources, 5, threads=2, prefetch=3) as loader:
        next(loader)
        time.sleep(0.3)
        assert sorted(steps) == [5, 6, 7, 8]


def test_a_damaged_case_is_named_at_its_step(tmp_path: Path) -> None:
    plan = tiny_plan(batch=1)
    store = fill_store(tmp_path, plan, [raw_case("a"), raw_case("sick one")])
    (tmp_path / "sick one" / "images.b2nd").write_bytes(b"junk")
    source = PatchSource(store, store.case_ids, Task(plan, plan.configurations[0]), Wanted(), 0)
    sick_step = next(step for step in range(2) if source._case_of(step, source._generator(step)) == "sick one")
    with Loader({"labelled": source}) as loader:
        for _ in range(sick_step):
            next(loader)
        with pytest.raises(DataError) as caught:
            next(loader)
        assert caught.value.case == "sick one"
        with pytest.raises(StopIteration):
            next(loader)


def test_a_stalled_disk_is_an_error_not_a_wait(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(PatchSource, "crop", lambda self, step: released.wait(20))
    loader = Loader(_sources(store), patience_s=0.5)
    started = time.monotonic()
    with pytest.raises(ResourceError, match="step 0"):
        next(loader)
    released.set()
    assert time.monotonic() - started < 5


def test_a_bug_in_reading_is_reported(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: PatchSource, step: int) -> Crops:
        raise KeyError("gone")

    monkeypatch.setattr(PatchSource, "crop", broken)
    with Loader(_sources(store)) as loader, pytest.raises(DataError, match="step 0") as caught:
        next(loader)
    assert "gone" in str(caught.value.found)


def test_threads_end_with_the_loader(store: Store) -> None:
    before = threading.active_count()
    loader = Loader(_sources(store), threads=2)
    next(loader)
    assert threading.active_count() > before
    loader.close()
    loader.close()
    assert threading.active_count() == before
    assert list(loader) == []


def test_the_first_steps_settle_how_many_threads_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from autofuse.sampling import loader as loaders
    from autofuse.sampling.pace import WARM_UP, WATCHED

    monkeypatch.setattr(loaders, "cpu_threads", lambda: 3)
    crop = PatchSource.crop

    def slow(self: PatchSource, step: int) -> Crops:
        time.sleep(0.02)  # of which both streams take 0.04 s; steps take next to nothing
        return crop(self, step)

    with Loader(_sources(store), 0, threads=1) as loader:
        wanted = [next(loader) for _ in range(WARM_UP + WATCHED + 6)]
    monkeypatch.setattr(PatchSource, "crop", slow)
    names = {thread.name for thread in threading.enumerate()}
    with Loader(_sources(store), 0) as loader:
        for step, batch in enumerate(wanted):
            assert torch.equal(next(loader)["labelled"].image, batch["labelled"].image), step
        readers = {thread.name for thread in threading.enumerate() if thread.name.startswith("patches")}
        assert len(readers) >= 3
        assert loader.prefetch == 4
    assert {thread.name for thread in threading.enumerate()} <= names
