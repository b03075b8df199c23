"""Several processes make one batch together, each its own samples of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from prepared_cases import fill_store, raw_case, tiny_plan

from autofuse.plan.task import Task
from autofuse.sampling.augmentation import augment
from autofuse.sampling.source import PatchSource, stream_batch
from autofuse.training.trainer import Stream


@pytest.mark.parametrize(
    ("share", "batch", "ranks", "samples"),
    [(1.0, 4, 1, 4), (1.0, 4, 2, 4), (0.5, 4, 2, 2), (1.0, 3, 2, 4), (1.0, 2, 4, 4), (0.1, 4, 3, 3), (0.0, 2, 1, 1)],
)
def test_a_batch_is_rounded_up_to_as_many_samples_for_each(share: float, batch: int, ranks: int, samples: int) -> None:
    assert stream_batch(share, batch, ranks) == samples


def test_ranks_see_the_samples_that_one_process_would(tmp_path: Path) -> None:
    plan = tiny_plan(patch=(12, 16, 16), batch=4)
    store = fill_store(tmp_path, plan, [raw_case(f"case {index}", seed=index) for index in range(3)])

    def source(rank: int, ranks: int) -> PatchSource:
        task = Task(plan, plan.configurations[0])
        return PatchSource(store, store.case_ids, task, Stream(), 7, rank=rank, ranks=ranks)

    for step in (0, 5):
        whole = augment(source(0, 1).crop(step))
        assert whole.target is not None
        assert whole.step_cases == ()
        for rank in (0, 1):
            part = augment(source(rank, 2).crop(step))
            assert part.target is not None
            assert part.cases == whole.cases[rank::2]
            assert part.step_cases == whole.cases
            assert torch.equal(part.image, whole.image[rank::2])
            assert torch.equal(part.target, whole.target[rank::2])
