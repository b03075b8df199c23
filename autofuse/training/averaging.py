"""Gradients as if one process had seen the whole batch: the mean of what each rank's samples say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from autofuse.sampling import ranks

BUCKET_BYTES = 32 << 20
"""Gradients travel together in pieces of about this size; one piece at a time is copied."""


@torch.no_grad()
def average_gradients(parameters: Sequence[nn.Parameter], loss: Tensor) -> Tensor:
    """The mean of ``loss`` over ranks; the gradients of ``parameters`` become their mean in place.

    A parameter that no rank has a gradient of keeps none: momentum and weight decay leave it alone, as in one process.
    """
    if ranks.count() == 1:
        return loss
    touched = ranks.largest([int(parameter.grad is not None) for parameter in parameters])
    gradients = []
    for parameter, anywhere in zip(parameters, touched, strict=True):
        if anywhere and parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        if parameter.grad is not None:
            gradients.append(parameter.grad)
    shared = loss.detach().clone().reshape(())
    for bucket in _buckets([shared, *gradients]):
        _average(bucket)
    return shared


@torch.no_grad()
def share_buffers(nets: nn.Module) -> None:
    """Running statistics become those of rank 0 everywhere; each rank has seen its own samples only."""
    if ranks.count() > 1:
        for buffer in nets.buffers():
            ranks.follow_first(buffer)


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """The tensors in their order, together while they are of one kind and small enough."""
    bucket: list[Tensor] = []
    size = 0
    for tensor in tensors:
        taken = tensor.numel() * tensor.element_size()
        if bucket and (tensor.dtype != bucket[0].dtype or size + taken > BUCKET_BYTES):
            yield bucket
            bucket, size = [], 0
        bucket.append(tensor)
        size += taken
    if bucket:
        yield bucket


def _average(bucket: Sequence[Tensor]) -> None:
    flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
    ranks.average(flat)
    for tensor, piece in zip(bucket, torch.split(flat, [tensor.numel() for tensor in bucket]), strict=True):
        tensor.copy_(piece.view_as(tensor))
