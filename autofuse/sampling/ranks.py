"""Which of several processes that train one model this one is, and what they tell each other.

The processes ("ranks", numbered from 0) hold the same weights and take the same steps; of every batch, rank r of n sees
the samples r, r + n, r + 2 n ... A term that a rank computes is its estimate of the whole batch's, and the mean over
ranks is the value that is descended: gradients are averaged in the same way. For a single process each function here
gives back what it was given.

All ranks must call the same functions in the same order; nothing here may depend on what a rank's own samples hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from autofuse.foundation.errors import ResourceError
from autofuse.foundation.seat import Seat

MEETING = timedelta(minutes=10)
"""How long the first waits for the last to come."""
PATIENCE = timedelta(days=7)
"""A rank may be busy alone for long (writing, preparing cases); one that has died is noticed at once by its socket."""


class RankLost(ResourceError):  # noqa: N818
    """Another process of the same training has ended; it says why, this one only that it cannot go on."""


class _Here:
    """The seat of this process while it is taken."""

    rank = 0
    count = 1


_here = _Here()


def count() -> int:
    """How many processes train together."""
    return _here.count


def rank() -> int:
    """Which of them this one is."""
    return _here.rank


def is_first() -> bool:
    """Whether this one writes, decides and talks for all."""
    return _here.rank == 0


@contextmanager
def seated(seat: Seat, device: str) -> Iterator[str]:
    """Take ``seat`` for the length of the block; gives the device of this process, of the kind ``device``.

    Raises:
        RankLost: if the others cannot be reached.
    """
    backend, own = "gloo", device
    if device.startswith("cuda"):
        # What is decided on the CPU travels by gloo, so that a GPU never waits for it.
        backend, own = "cpu:gloo,cuda:nccl", f"cuda:{seat.local}"
        torch.cuda.set_device(own)
    with _others_alive():
        store: Any
        if seat.meeting is not None:
            store = dist.FileStore(str(seat.meeting), seat.count)  # type: ignore[attr-defined]
        else:
            store, _, _ = next(dist.rendezvous("env://", seat.rank, seat.count, timeout=MEETING))  # type: ignore[attr-defined]
        store.set_timeout(MEETING)
        dist.init_process_group(backend, store=store, rank=seat.rank, world_size=seat.count, timeout=PATIENCE)
    _here.rank, _here.count = seat.rank, seat.count
    try:
        yield own
        dist.destroy_process_group()  # not after an error: it may wait for who is gone, and the process ends anyway
    finally:
        _here.rank, _here.count = 0, 1


def wait() -> None:
    """Nothing, once every rank has come here."""
    largest([0])


@contextmanager
def in_turn() -> Iterator[None]:
    """A block that the first rank ends before the others begin it: they find what it has made."""
    if not is_first():
        wait()
    yield
    if is_first():
        wait()


def largest(numbers: Sequence[int]) -> list[int]:
    """For each number the largest that any rank gives."""
    if count() == 1:
        return list(numbers)
    shared = torch.tensor(list(numbers), dtype=torch.int64)
    with _others_alive():
        dist.all_reduce(shared, op=dist.ReduceOp.MAX)
    return [int(number) for number in shared]


def first_says(value: float) -> float:
    """The value that rank 0 gives."""
    if count() == 1:
        return value
    shared = torch.tensor([value], dtype=torch.float64)
    with _others_alive():
        dist.broadcast(shared, src=0)
    return float(shared)


def follow_first(tensor: Tensor) -> None:
    """Fill ``tensor`` with that of rank 0."""
    if count() > 1:
        with _others_alive():
            dist.broadcast(tensor, src=0)


def all_agree(numbers: Sequence[int]) -> bool:
    """Whether every rank gives the same numbers."""
    found = largest([*numbers, *(-number for number in numbers)])
    return found[: len(numbers)] == [-number for number in found[len(numbers) :]]


def mean_over_ranks(values: Tensor) -> Tensor:
    """The mean over ranks, element by element; differentiable, twice too.

    Its adjoint is the mean over ranks too: with L the mean over ranks of what each computes from it, the gradients that
    reach the ranks' values are such that their mean, once they have come to the weights, is that of L.
    """
    if count() == 1:
        return values
    found: Tensor = _Mean.apply(values)  # type: ignore[no-untyped-call]
    return found


def means_over_ranks(tensors: Sequence[Tensor]) -> list[Tensor]:
    """``mean_over_ranks`` of each, exchanged together."""
    if count() == 1 or not tensors:
        return list(tensors)
    flat = mean_over_ranks(torch.cat([tensor.reshape(-1) for tensor in tensors]))
    pieces = torch.split(flat, [tensor.numel() for tensor in tensors])
    return [piece.view_as(tensor) for piece, tensor in zip(pieces, tensors, strict=True)]


def sum_over_ranks(values: Tensor) -> Tensor:
    """The sum over ranks; gradients as of ``mean_over_ranks``."""
    return values if count() == 1 else mean_over_ranks(values) * count()


def mean_count(number: Tensor) -> Tensor:
    """What to divide a rank's sum by, so that the mean over ranks is that over all counted; above 0.

    ``number``: how many things this rank has counted, 0 or more.
    """
    return mean_over_ranks(number.float() if count() > 1 else number).clamp(min=1 / count() if count() > 1 else 1)


def average(tensor: Tensor) -> None:
    """Fill ``tensor``, outside of any graph, with its mean over ranks."""
    if count() > 1:
        with _others_alive():
            dist.all_reduce(tensor)
        tensor.div_(count())


def rand(*shape: int, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Numbers uniform in [0, 1), (B, ...): of the whole batch's draw, the rows of this rank's samples."""
    return torch.rand(_whole(shape), device=device, dtype=dtype)[rank() :: count()]


def randn(*shape: int, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Normal numbers, (B, ...): of the whole batch's draw, the rows of this rank's samples."""
    return torch.randn(_whole(shape), device=device, dtype=dtype)[rank() :: count()]


def _whole(shape: Sequence[int]) -> tuple[int, ...]:
    return (shape[0] * count(), *shape[1:])


class _Mean(torch.autograd.Function):
    """Mean over ranks; its adjoint is itself."""

    @staticmethod
    def forward(_context: Any, values: Tensor) -> Tensor:
        shared = values.detach().clone(memory_format=torch.contiguous_format)
        average(shared)
        return shared

    @staticmethod
    def backward(_context: Any, *gradients: Any) -> Any:
        return _Mean.apply(gradients[0])  # type: ignore[no-untyped-call]


@contextmanager
def _others_alive() -> Iterator[None]:
    """Name a conversation that broke off for what it is.

    Raises:
        RankLost: where it did.
    """
    try:
        yield
    except RuntimeError as error:
        raise RankLost(
            f"Process {rank() + 1} of {count()} of this training lost the others.",
            found=str(error)[:300],
            remedy="The same command goes on from the last checkpoint.",
        ) from error
