"""What keeps a run honest: steps that are not finite are skipped and named, lack of memory says what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from autofuse.foundation.errors import ModelError, ResourceError
from autofuse.foundation.machine import GIB
from autofuse.plan.types import Budget
from autofuse.training.state import SkippedStep

NON_FINITE_LIMIT = 10
"""Non-finite steps on end after which training gives up: their weights stand still, so waiting longer mends nothing."""
TOLD_PER_EPOCH = 5
"""Skipped steps of an epoch that are told at once; the others stand in the log and at the epoch's end."""

CONTEXT_GIB = 0.5
"""Of a GPU's memory, what CUDA takes for the process itself, which no allocator counts."""
_LEAST_SHARE = 0.01


def diverged(skipped: Sequence[SkippedStep], learning_rate: float) -> ModelError:
    """What to raise after these non-finite steps on end."""
    cases = Counter(case for step in skipped for case in set(step.cases))
    terms = Counter(f"{step.objective}/{term}" for step in skipped for term in step.terms)
    return ModelError(
        f"Loss or gradients were not finite for {len(skipped)} steps on end; training cannot go on.",
        case=", ".join(f"{case} ({count} steps)" for case, count in cases.most_common(10)) or None,
        found="not finite: " + (", ".join(f"{term} ({count})" for term, count in terms.most_common(10)) or "gradients"),
        expected="finite numbers",
        remedy="If the same few cases are named, look at their images (autofuse check); else lower the learning rate, "
        f"for example --set learning_rate={learning_rate / 10:g}. The checkpoint before these steps is kept.",
    )


@contextmanager
def memory_named(device: str) -> Iterator[None]:
    """Turn "out of memory", whatever torch calls it, into an error that says what to do.

    Raises:
        ResourceError: where the block runs out of memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        words = str(error).lower()
        if not isinstance(error, MemoryError) and "out of memory" not in words and "can't allocate" not in words:
            raise
        raise ResourceError(
            f"Training ran out of memory on {device}.",
            found=str(error).splitlines()[0][:200] if str(error) else type(error).__name__,
            remedy="Plan with less: autofuse plan --memory (--vram on a GPU), or close what else uses the memory.",
        ) from error


def gpu_share(memory_gib: float, total_gib: float) -> float:
    """Share of a GPU that torch's allocator may hand out, so that with the context it stays within ``memory_gib``."""
    return min(1.0, max(_LEAST_SHARE, (memory_gib - CONTEXT_GIB) / total_gib))


@contextmanager
def held_to_dial(budget: Budget, device: torch.device) -> Iterator[None]:
    """Inside the block torch takes no more of the GPU than the plan's memory dial; nothing where that dials RAM."""
    if device.type != "cuda" or budget.device != "cuda":
        yield
        return
    total_gib = torch.cuda.get_device_properties(device).total_memory / GIB
    torch.cuda.set_per_process_memory_fraction(gpu_share(budget.memory_gib, total_gib), device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
