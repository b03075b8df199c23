"""What keeps a run honest: steps that are not finite are skipped and named, lack of memory says what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from autofuse.foundation.errors import ModelError, ResourceError
from autofuse.training.state import SkippedStep

NON_FINITE_LIMIT = 10
"""Non-finite steps on end after which training gives up: their weights stand still, so waiting longer mends nothing."""
TOLD_PER_EPOCH = 5
"""Skipped steps of an epoch that are told at once; the others stand in the log and at the epoch's end."""


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
            remedy="Plan with less: autofuse plan --memory, or close what else uses the memory.",
        ) from error
