"""Units as tasks of a Dask cluster, one of somebody's or one of this machine alone.

Dask places them, waits for what they stand on, and begins a unit again elsewhere when the worker that was at it dies.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autofuse.foundation.console import progress, say
from autofuse.foundation.errors import ResourceError, UsageError
from autofuse.foundation.machine import visible_gpus
from autofuse.units.dask_task import carry_out
from autofuse.units.executor import Job, Outcome
from autofuse.units.patience import patient_command

if TYPE_CHECKING:
    from distributed import Client, Future

_CONNECT_S = 30.0
_WORKERS_S = 120.0
_LOOK_EVERY_S = 5.0
SILENCE_S = 1800.0
"""How long there may be no worker before waiting for one ends."""
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Dask sets these to 1 in its workers. Units get what this process has: the bytes of a model depend on it on a CPU."""
_GPU = "GPU"


@dataclass(frozen=True)
class Dask:
    """An executor that hands the units of a job to Dask.

    Attributes:
        address: of the scheduler (``tcp://host:8786``); None for a cluster of this machine alone.
        workers: of a cluster of this machine alone; None for one, or one a GPU.
    """

    address: str | None = None
    workers: int | None = None

    def run(self, job: Job) -> Outcome:
        """What became of the units.

        Raises:
            UsageError: if Dask is not installed, or the address is none.
            ResourceError: if there is no scheduler at the address, or no worker comes.
        """
        _require_dask()
        with _cluster(self.workers) if self.address is None else _client(self.address) as client:
            _wait_for_workers(client)
            futures = _submit(job, client)
            try:
                errors = _follow(job, client, futures)
            except BaseException:
                client.cancel(list(futures.values()))
                say("Nothing more is begun; units that are under way on the workers of a cluster go on to their end.")
                raise
        return _outcome(job, errors)


def _require_dask() -> None:
    try:
        import distributed  # noqa: F401
    except ImportError:
        raise UsageError(
            "Dask is not installed.", found="--executor dask", remedy="pip install 'autofuse[dask]'"
        ) from None


@contextmanager
def _client(address: str) -> Iterator[Client]:
    from distributed import Client

    try:
        client = Client(address, timeout=_CONNECT_S)
    except ValueError as error:
        raise UsageError(
            "This is no address of a Dask scheduler.", found=f"{address} ({error})", expected="tcp://HOST:8786"
        ) from None
    except OSError as error:
        raise ResourceError(
            "There is no Dask scheduler at this address.",
            found=f"{address} ({' '.join(str(error).split())[:200]})",
            remedy="Start one with `dask scheduler`, and workers with `dask worker ADDRESS --nthreads 1`.",
        ) from None
    with client:
        yield client


@contextmanager
def _cluster(workers: int | None) -> Iterator[Client]:
    """A cluster in processes of this machine; a GPU belongs to one worker alone."""
    from distributed import Client, Nanny, Scheduler, SpecCluster

    gpus = visible_gpus()
    count = workers or max(1, len(gpus))

    def options(number: int) -> dict[str, Any]:
        one = {"DASK_LOGGING__DISTRIBUTED": "critical"}  # a unit that fails is told by its own message
        if gpus:
            one["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
        return {"nthreads": 1, "env": one, "dashboard": False, "memory_limit": 0, "silence_logs": logging.ERROR}

    # Memory is not limited: what a unit takes, its own process takes, which Dask does not see.
    specification = {number: {"cls": Nanny, "options": options(number)} for number in range(count)}
    scheduler = {"cls": Scheduler, "options": {"dashboard": False, "host": "127.0.0.1", "port": 0}}
    # Ctrl-C reaches the workers too, which would answer with tracebacks; this process decides what becomes of them.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        cluster = SpecCluster(specification, scheduler, silence_logs=logging.ERROR)
    finally:
        signal.signal(signal.SIGINT, before)
    with cluster, Client(cluster) as client:
        yield client


def _wait_for_workers(client: Client) -> None:
    from distributed import TimeoutError as NobodyCame

    try:
        client.wait_for_workers(1, timeout=_WORKERS_S)
    except (NobodyCame, TimeoutError):
        raise ResourceError(
            f"No Dask worker has come within {_WORKERS_S:.0f} s.",
            remedy="Start some, on machines that see data set and workspace: `dask worker ADDRESS --nthreads 1`.",
        ) from None
    for address, worker in _workers(client).items():
        if worker["nthreads"] > 1:
            say(
                f"The Dask worker {address} carries out {worker['nthreads']} units at once; start it with --nthreads 1."
            )


def _workers(client: Client) -> dict[str, Any]:
    return dict(client.scheduler_info(n_workers=-1)["workers"])


def _submit(job: Job, client: Client) -> dict[str, Future]:
    """A task for each unit that is not done."""
    states = job.ledger.states(job.graph)
    share = any(_GPU in worker.get("resources", {}) for worker in _workers(client).values())
    stamp = os.urandom(4).hex()
    environment = {name: os.environ.get(name) for name in _THREADS}
    futures: dict[str, Future] = {}
    for name, item in states.items():
        if item.state == "done":
            continue
        needs = job.needs(item.unit)
        futures[name] = client.submit(
            carry_out,
            list(patient_command(job, item.unit)),
            str(Path.cwd()),
            str(job.ledger.log_file(name).absolute()),
            environment,
            before=[futures[before] for before in item.unit.after if before in futures],
            key=f"{name}-{stamp}",
            pure=False,
            resources={_GPU: needs.gpus} if share and needs is not None and needs.gpus else None,
        )
    return futures


def _follow(job: Job, client: Client, futures: dict[str, Future]) -> dict[str, str]:
    """Wait until every task has ended; why, by unit, where one failed (what stands on such a one is not named)."""
    errors: dict[str, str] = {}
    open_ = dict(futures)
    after = {unit.name: unit.after for unit in job.graph.units}
    seen = time.monotonic()
    with progress("Units on Dask", len(job.graph.units)) as advance:
        advance(len(job.graph.units) - len(futures))
        while open_:
            time.sleep(min(_LOOK_EVERY_S, 0.2 + time.monotonic() - seen))
            for name in [name for name, future in open_.items() if future.done()]:
                future = open_.pop(name)
                if future.status == "finished":
                    advance(1, note=name)
                elif all(before not in futures or futures[before].status == "finished" for before in after[name]):
                    errors[name] = _why(future)
                    say(f"{name} failed: {errors[name]}")
            if _workers(client):
                seen = time.monotonic()
            elif time.monotonic() - seen > SILENCE_S:
                raise ResourceError(
                    f"There has been no Dask worker for {SILENCE_S / 60:.0f} minutes.",
                    remedy="Start some, then give the same command again: what is done is kept.",
                )
    return errors


def _why(future: Future) -> str:
    """Why a task has ended without success."""
    error = future.exception()
    return str(future.status) if error is None else " ".join(f"{type(error).__name__}: {error}".split())


def _outcome(job: Job, errors: dict[str, str]) -> Outcome:
    states = job.ledger.states(job.graph)
    done = tuple(name for name, item in states.items() if item.state == "done")
    failed = {name: item.failed for name, item in states.items() if item.failed is not None}
    for name, why in errors.items():
        # A unit that was killed, or whose workers died again and again, could not write down why it failed.
        if name not in failed and name not in done:
            unit = job.graph.named(name)
            failed[name] = job.ledger.fail(unit, ResourceError.exit_code, f"Dask could not carry it out: {why}")
    left = tuple(name for name in states if name not in done and name not in failed)
    return Outcome(done, failed, left)
