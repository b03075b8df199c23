"""Which cases feed each stream of a method, and the loader that brings their batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import torch

from autofuse.foundation.console import say
from autofuse.foundation.errors import DataError, ModelError
from autofuse.sampling import ranks
from autofuse.sampling.batch import Batch
from autofuse.sampling.draw import AugmentationRecipe
from autofuse.sampling.loader import Loader
from autofuse.sampling.source import PatchSource, stream_batch
from autofuse.training.run import RunPlan
from autofuse.training.seeds import mix
from autofuse.training.trainer import Half, Stream, Trainer

if TYPE_CHECKING:
    from autofuse.plan.task import Task
    from autofuse.preprocessing.store import Store

JITTER_SHARE = 0.5
"""Of the samples, that are shifted modality by modality where a trainer asks for it."""

LoaderFactory = Callable[[int], Iterable[Mapping[str, Batch]]]
"""Given the first step that is wanted, the batches of that step and all later ones; closed (``close``) at the end."""


def stream_cases(stream: Stream, run: RunPlan) -> tuple[str, ...]:
    """Ids of the training cases that feed ``stream``, sorted.

    Raises:
        DataError: if there is none.
    """
    pools = {"labelled": run.labelled, "unlabelled": run.unlabelled, "any": run.labelled + run.unlabelled}
    ids = half_of(pools[stream.cases], stream.half, run)
    if not ids:
        raise DataError(
            f"The trainer {run.trainer!r} asks for {stream.cases} cases ({stream.half} fold), and there are none.",
            found=f"{len(run.labelled)} labelled, {len(run.unlabelled)} unlabelled in fold {run.fold}",
            expected=f"at least one for its stream {stream.name!r}",
            remedy="Add such cases to the data set, or choose another trainer.",
        )
    return ids


def half_of(ids: Iterable[str], half: Half, run: RunPlan) -> tuple[str, ...]:
    """The whole of ``ids``, or one of two disjoint halves that never separate the cases of one subject.

    Subjects are dealt out in an order drawn from the seed, so the halves have equally many, give or take one.
    """
    ids = sorted(ids)
    if half == "whole":
        return tuple(ids)
    subjects = sorted({run.subjects.get(case, case) for case in ids}, key=lambda name: mix(run.seed, f"half/{name}"))
    chosen = set(subjects[::2] if half == "upper" else subjects[1::2])
    return tuple(case for case in ids if run.subjects.get(case, case) in chosen)


def store_loader(task: Task, trainer: Trainer, store: Store, run: RunPlan, device: torch.device) -> LoaderFactory:
    """Batches of patches from the prepared store, augmented; a function of (seed, stream, step) and of the rank.

    Raises:
        DataError: if a case of the run is not in the store.
    """
    recipe = AugmentationRecipe(
        rotation=trainer.rotation,
        scaling=trainer.scaling,
        jitter=JITTER_SHARE if trainer.jitter_mm else 0.0,
        jitter_mm=trainer.jitter_mm,
    )
    sources = {}
    for stream in trainer.streams():
        ids = stream_cases(stream, run)
        missing = [case for case in ids if not _is_prepared(store, case)]
        if missing:
            raise DataError(
                f"{len(missing)} cases of this run are not prepared.",
                case=", ".join(missing[:10]),
                remedy="Prepare them first: autofuse preprocess.",
            )
        sources[stream.name] = PatchSource(
            store,
            ids,
            task,
            stream,
            run.seed,
            recipe=recipe,
            prior_run=run.prior_key,
            taught_by=run.taught_by if stream.taught else None,
            rank=ranks.rank(),
            ranks=ranks.count(),
        )
        _tell_rounding(stream, task.configuration.batch)
    return lambda first_step: Loader(sources, first_step, device)


def _tell_rounding(stream: Stream, batch: int) -> None:
    planned, taken = stream_batch(stream.share, batch), stream_batch(stream.share, batch, ranks.count())
    if taken != planned:
        say(f"The stream {stream.name!r} has {taken} samples a step instead of {planned}: as many for each process.")


def _is_prepared(store: Store, case: str) -> bool:
    try:
        store.open(case)
    except ModelError:
        return False
    return True
