"""Reading and writing beside computing: a thread each, or none; and how far one case is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from autofuse.foundation.console import Advance

T = TypeVar("T")

_STEPS_SHOWN = 1024
"""Progress is told in multiples of this share of a case, which add up without rounding."""


class Told:
    """Tells the progress bar how far one case is; in all exactly 1, in shares that add up without rounding."""

    def __init__(self, advance: Advance, name: str) -> None:
        self._advance, self._name = advance, name
        self._done, self._told = 0.0, 0

    def __call__(self, share: float) -> None:
        self._done += share
        self._tell(min(int(self._done * _STEPS_SHOWN), _STEPS_SHOWN))

    def finish(self) -> None:
        """Tell what is left."""
        self._tell(_STEPS_SHOWN)

    def _tell(self, steps: int) -> None:
        if steps > self._told:
            self._advance((steps - self._told) / _STEPS_SHOWN, note=self._name)
            self._told = steps


class _AtOnce(Executor):
    """Does what it is given where it is given, for notebooks and debuggers."""

    def submit(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        future.set_result(function(*args, **kwargs))
        return future


@contextmanager
def threads(overlap: bool) -> Iterator[Executor]:
    """A thread of its own, or one that works where it is asked."""
    executor = ThreadPoolExecutor(1) if overlap else _AtOnce()
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)
