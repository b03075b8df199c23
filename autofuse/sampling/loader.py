"""Batches in step order: threads read and decompress the next crops, the calling thread augments and moves them.

No worker processes: nothing is pickled, nothing outlives the run, and a failure reaches the training loop as itself.
How many threads read is settled by the first steps: as many as keep up with them. On a GPU crops lie in page-locked
memory, and copies and augmentation run on a stream of their own while the step before them is computed.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotReady
from types import TracebackType

import torch

from autofuse.foundation.console import log
from autofuse.foundation.errors import AutofuseError, DataError, ResourceError
from autofuse.foundation.machine import cpu_threads
from autofuse.sampling.augmentation import augment
from autofuse.sampling.batch import Batch
from autofuse.sampling.crops import Crops
from autofuse.sampling.pace import Pace
from autofuse.sampling.source import PatchSource

PREFETCH = 4
"""Steps read ahead; each holds one batch of crops in memory."""
THREADS = 2
"""That read until it is known how many are wanted."""
_POLL_S = 1.0


def _pool_of(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, threads), thread_name_prefix="patches")


def _stream_of(device: torch.device) -> torch.cuda.Stream | None:
    return torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]


class Loader(Iterator[dict[str, Batch]]):
    """Endless iterator over the batches of ``first_step``, the step after it, and so on.

    The batch of a step does not depend on where the loader started, on threads, or on timing.

    Args:
        sources: patch sources by stream name.
        device: where the batches go.
        threads: that read ahead; None settles it by the time that reading and steps take.
        prefetch: steps read ahead at most.
        patience_s: a step that takes longer to read (a stalled network disk) is an error.
    """

    def __init__(
        self,
        sources: Mapping[str, PatchSource],
        first_step: int = 0,
        device: torch.device | str = "cpu",
        *,
        threads: int | None = None,
        prefetch: int = PREFETCH,
        patience_s: float = 600.0,
    ) -> None:
        self.sources = dict(sources)
        self.device = torch.device(device)
        self.step = first_step
        self.prefetch, self.patience_s = max(1, prefetch), patience_s
        self._pool: ThreadPoolExecutor | None = _pool_of(threads or THREADS)
        self._retired: list[ThreadPoolExecutor] = []
        self._pace = Pace() if threads is None else None
        self._handed_out: float | None = None
        self._stream = _stream_of(self.device)
        self._waiting: deque[Future[dict[str, Crops]]] = deque()
        self._asked = first_step

    def __next__(self) -> dict[str, Batch]:
        """The batches of the next step by stream name.

        Raises:
            DataError: if a patch cannot be read; names the case.
            ResourceError: if reading stalls.
            StopIteration: after ``close``.
        """
        if self._pool is None:
            raise StopIteration
        self._keep_pace()
        self._ask()
        crops = self._wait(self._waiting.popleft())
        self._ask()
        self.step += 1
        batches = self._augmented(crops)
        self._handed_out = time.perf_counter()
        return batches

    def _augmented(self, crops: Mapping[str, Crops]) -> dict[str, Batch]:
        if self._stream is None:
            return {name: augment(part, self.device) for name, part in crops.items()}
        with torch.cuda.stream(self._stream):
            batches = {name: augment(part, self.device) for name, part in crops.items()}
        computing = torch.cuda.current_stream(self.device)
        computing.wait_stream(self._stream)
        for batch in batches.values():
            batch.used_on(computing)
        return batches

    def _keep_pace(self) -> None:
        """Once the first steps have shown how long they take, read with as many threads as that asks for."""
        if self._pace is None or self._handed_out is None or self._pool is None:
            return
        self._pace.was_stepped(time.perf_counter() - self._handed_out)
        if not self._pace.settled:
            return
        readers = self._pace.readers(cpu_threads())
        log().info("Crops are read by %d threads.", readers)
        self._pace, self.prefetch = None, max(self.prefetch, readers + 1)
        if readers != THREADS:
            self._pool.shutdown(wait=False)  # what it was asked for it still brings
            self._retired.append(self._pool)
            self._pool = _pool_of(readers)

    def _ask(self) -> None:
        while self._pool is not None and len(self._waiting) < self.prefetch:
            self._waiting.append(self._pool.submit(self._crops, self._asked))
            self._asked += 1

    def _crops(self, step: int) -> dict[str, Crops]:
        crops, pace, started = {}, self._pace, time.perf_counter()
        for name, source in self.sources.items():
            part = source.crop(step)
            crops[name] = part.pinned() if self.device.type == "cuda" else part
        if pace is not None:
            pace.was_read(time.perf_counter() - started)
        return crops

    def _wait(self, future: Future[dict[str, Crops]]) -> dict[str, Crops]:
        deadline = time.monotonic() + self.patience_s
        while True:
            try:
                return future.result(timeout=_POLL_S)
            except NotReady:
                if not future.done() and time.monotonic() < deadline:
                    continue
                self.close(wait=False)
                raise ResourceError(
                    f"The patches of step {self.step} could not be read within {self.patience_s:g} s.",
                    remedy="Check the disk that holds the workspace, then start the same command again.",
                ) from None
            except AutofuseError:
                self.close()
                raise
            except Exception as error:
                self.close()
                raise DataError(
                    f"The patches of step {self.step} could not be made.", found=f"{type(error).__name__}: {error}"
                ) from error

    def close(self, *, wait: bool = True) -> None:
        """Stop reading ahead and end the threads; may be called again."""
        if self._pool is not None:
            for pool in (*self._retired, self._pool):
                pool.shutdown(wait=wait, cancel_futures=True)
            self._pool = None
            self._retired.clear()
            self._waiting.clear()

    def __enter__(self) -> Loader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
