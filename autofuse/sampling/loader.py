"""Batches in step order: threads read and decompress the next crops, the calling thread augments and moves them.

No worker processes: nothing is pickled, nothing outlives the run, and a failure reaches the training loop as itself.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotReady
from types import TracebackType

import torch

from autofuse.foundation.errors import AutofuseError, DataError, ResourceError
from autofuse.sampling.augmentation import augment
from autofuse.sampling.batch import Batch
from autofuse.sampling.crops import Crops
from autofuse.sampling.source import PatchSource

PREFETCH = 4
"""Steps read ahead; each holds one batch of crops in memory."""
THREADS = 2
_POLL_S = 1.0


class Loader(Iterator[dict[str, Batch]]):
    """Endless iterator over the batches of ``first_step``, the step after it, and so on.

    The batch of a step does not depend on where the loader started, on threads, or on timing.

    Args:
        sources: patch sources by stream name.
        device: where the batches go.
        threads: that read ahead.
        prefetch: steps read ahead at most.
        patience_s: a step that takes longer to read (a stalled network disk) is an error.
    """

    def __init__(
        self,
        sources: Mapping[str, PatchSource],
        first_step: int = 0,
        device: torch.device | str = "cpu",
        *,
        threads: int = THREADS,
        prefetch: int = PREFETCH,
        patience_s: float = 600.0,
    ) -> None:
        self.sources = dict(sources)
        self.device = torch.device(device)
        self.step = first_step
        self.prefetch, self.patience_s = max(1, prefetch), patience_s
        self._pool: ThreadPoolExecutor | None = ThreadPoolExecutor(max(1, threads), thread_name_prefix="patches")
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
        self._ask()
        crops = self._wait(self._waiting.popleft())
        self._ask()
        self.step += 1
        return {name: augment(part, self.device) for name, part in crops.items()}

    def _ask(self) -> None:
        while self._pool is not None and len(self._waiting) < self.prefetch:
            self._waiting.append(self._pool.submit(self._crops, self._asked))
            self._asked += 1

    def _crops(self, step: int) -> dict[str, Crops]:
        crops = {}
        for name, source in self.sources.items():
            part = source.crop(step)
            crops[name] = part.pinned() if self.device.type == "cuda" else part
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
            self._pool.shutdown(wait=wait, cancel_futures=True)
            self._pool = None
            self._waiting.clear()

    def __enter__(self) -> Loader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
