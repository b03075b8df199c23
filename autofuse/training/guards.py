"""What keeps a run honest: steps that are not finite are skipped and named, and waiting has an end."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from autofuse.foundation.errors import ModelError, ResourceError
from autofuse.training.state import SkippedStep

NON_FINITE_LIMIT = 10
"""Non-finite steps on end after which training gives up: their weights stand still, so waiting longer mends nothing."""
BATCH_WAIT_S = 600.0
"""A batch takes milliseconds to seconds; one that takes ten minutes will not come."""


def diverged(skipped: Sequence[SkippedStep], failures: int, learning_rate: float) -> ModelError:
    """What to raise after ``failures`` non-finite steps on end; ``skipped`` are the last of them."""
    cases = Counter(case for step in skipped for case in set(step.cases))
    terms = Counter(f"{step.objective}/{term}" for step in skipped for term in step.terms)
    return ModelError(
        f"Loss or gradients were not finite for {failures} steps on end; training cannot go on.",
        case=", ".join(f"{case} ({count} steps)" for case, count in cases.most_common(10)) or None,
        found="not finite: " + (", ".join(f"{term} ({count})" for term, count in terms.most_common(10)) or "gradients"),
        expected="finite numbers",
        remedy="If the same few cases are named, look at their images (autofuse check); else lower the learning rate, "
        f"for example --set learning_rate={learning_rate / 10:g}. The checkpoint before these steps is kept.",
    )


@contextmanager
def arrives_within(seconds: float = BATCH_WAIT_S) -> Iterator[None]:
    """Let the block wait for data no longer than ``seconds``.

    Works in the main thread where nobody else uses the alarm clock; elsewhere the loader's own limit stands alone.

    Raises:
        ResourceError: if the time is over.
    """
    usable = (
        threading.current_thread() is threading.main_thread()
        and signal.getitimer(signal.ITIMER_REAL)[0] == 0.0
        and signal.getsignal(signal.SIGALRM) in (signal.SIG_DFL, None)
    )
    if not usable:
        yield
        return

    def ring(_number: int, _frame: object) -> None:
        raise ResourceError(
            f"No batch arrived within {seconds:g} s.",
            expected="a batch within seconds",
            remedy="Check the disk or network share that holds the workspace, then run the same command again.",
        )

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


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
