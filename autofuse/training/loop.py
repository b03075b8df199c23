"""The one loop: whatever a method is, its steps, checkpoints, validation and resuming happen here."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from autofuse.foundation.console import say
from autofuse.foundation.errors import ModelError
from autofuse.foundation.files import sweep_temps
from autofuse.foundation.locks import lock
from autofuse.foundation.machine import cpu_threads, tune_allocator
from autofuse.plan.task import Task
from autofuse.preprocessing.store import Store
from autofuse.sampling import ranks
from autofuse.training.checkpoint import (
    NET,
    About,
    load_checkpoint,
    prediction_weights,
    prefixed,
    save_checkpoint,
    tensors_crc32,
)
from autofuse.training.guards import held_to_dial
from autofuse.training.model import FINISHED_NAME, PLAN_NAME, RUN_NAME, checkpoint_path, load_task
from autofuse.training.run import RunPlan
from autofuse.training.session import Session
from autofuse.training.signals import caught_signals
from autofuse.training.state import FitResult
from autofuse.training.streams import LoaderFactory, store_loader
from autofuse.training.trainer import Trainer
from autofuse.training.validation import Validate


def fit(
    task: Task,
    trainer: Trainer,
    store: Store | None,
    run_plan: RunPlan,
    folder: Path,
    *,
    device: str | torch.device,
    validate: Validate | None = None,
    loader_factory: LoaderFactory | None = None,
) -> FitResult:
    """Train until the run is finished, from wherever it stands in ``folder``; a finished run returns at once.

    Stopped at any moment and called again it ends, on a CPU, with the weights of an undisturbed run, byte for byte.
    It holds the folder's lock meanwhile, sets torch's threads to those that the run was begun with, and leaves
    run.json, plan.json, last.safetensors, best.safetensors, log.jsonl, progress.png and finished.json.
    Where several ranks train (``sampling.ranks``), each calls this with the same arguments but its device; the first
    holds the lock and writes.

    Args:
        store: of the configuration's prepared cases; None only where ``loader_factory`` is given.
        validate: called with the networks (in evaluation mode, no gradients) and the trainer. It may have an attribute
            ``patches``, the forward passes that it takes, which lets a timed run foresee its length.
        loader_factory: batches from somewhere else than the store, for tests.

    Raises:
        ModelError: what stands in the folder is damaged or of another run, or training diverged.
        ResourceError: somebody else trains in this folder; disk or memory is full; no batch arrives.
        DataError: a stream has no cases, or a case is not prepared.
        Interrupted: SIGINT or SIGTERM, to any rank; the state is saved.
        RankLost: another rank has ended.
    """
    started = time.monotonic()
    device = torch.device(device)
    with lock(folder) if ranks.is_first() else nullcontext():
        run = _settled_together(task, run_plan, folder, device)
        result = finished(run, folder)
        if result is not None:
            return result
        tune_allocator()
        if loader_factory is None:
            if store is None:
                raise TypeError("batches come from a store or from a loader_factory; neither was given")
            loader_factory = store_loader(task, trainer, store, run, device)
        with numerics(run, device), held_to_dial(task.plan.budget, device), caught_signals() as stopping:
            session = Session(task, trainer, run, folder, device, validate, stopping, started)
            result = session.train(loader_factory)
    return result


def _settled_together(task: Task, wanted: RunPlan, folder: Path, device: torch.device) -> RunPlan:
    """The run of ``folder``, settled by the first rank and read by the others.

    Raises:
        ModelError: as ``settle_run``, or if the run is for another number of ranks.
    """
    if ranks.is_first():
        sweep_temps(folder)
        settle_run(task, wanted, folder, device)
    ranks.wait()
    run = RunPlan.load(folder / RUN_NAME)
    if run.ranks != ranks.count() and not (folder / FINISHED_NAME).exists():
        raise ModelError(
            "This run is for another number of processes.",
            file=folder / RUN_NAME,
            found=f"{ranks.count()}",
            expected=f"{run.ranks}",
            remedy=f"autofuse train ... --gpus {run.ranks}",
        )
    return run


def settled(task: Task, wanted: RunPlan, folder: Path, device: str) -> bool:
    """Whether the run in ``folder`` is finished; if not, it is settled there for others to go on with.

    Raises:
        ModelError: as ``settle_run`` and ``finished``.
        ResourceError: somebody else trains in this folder.
    """
    with lock(folder):
        sweep_temps(folder)
        return finished(settle_run(task, wanted, folder, torch.device(device)), folder) is not None


def settle_run(task: Task, wanted: RunPlan, folder: Path, device: torch.device) -> RunPlan:
    """The run of ``folder``: what run.json there says, or ``wanted``, written down together with its plan.

    Raises:
        ModelError: if another run stands in the folder, or ``wanted`` is not of this plan.
    """
    if wanted.plan_digest != task.plan.digest() or wanted.configuration != task.configuration.name:
        raise ModelError(
            "The run was planned for another plan or configuration than the one given.",
            found=f"{task.configuration.name} of plan {task.plan.digest()[:12]}",
            expected=f"{wanted.configuration} of plan {wanted.plan_digest[:12]}",
        )
    path = folder / RUN_NAME
    if not path.exists():
        task.plan.save(folder / PLAN_NAME)
        wanted.save(path)
        return wanted
    run = RunPlan.load(path)
    if (folder / FINISHED_NAME).exists():  # how many trained it does not matter any more
        wanted = wanted.model_copy(update={"ranks": run.ranks})
    if run.ranks != wanted.ranks and run.same_training(wanted.model_copy(update={"ranks": run.ranks})):
        raise ModelError(
            f"This run was begun by {run.ranks} processes, and each of its batches is divided among so many.",
            file=path,
            found=f"--gpus {wanted.ranks}",
            expected=f"--gpus {run.ranks}",
            remedy=f"Go on with --gpus {run.ranks}, or delete the folder to begin anew.",
        )
    if not run.same_training(wanted):
        differing = [name for name in RunPlan.model_fields if getattr(run, name) != getattr(wanted, name)]
        raise ModelError(
            "Another run stands in this folder.",
            file=path,
            found="; ".join(f"{name}: {getattr(run, name)!r}"[:120] for name in differing[:5]),
            expected="; ".join(f"{name}: {getattr(wanted, name)!r}"[:120] for name in differing[:5]),
            remedy="Give the run a folder of its own, or delete this one.",
        )
    load_task(folder, run)
    _warn_of_differences(run, wanted, device)
    return run


def finished(run: RunPlan, folder: Path) -> FitResult | None:
    """How the run in ``folder`` ended, or None while it has not; its last checkpoint then holds weights only.

    Raises:
        ModelError: if it ended but its weights are missing or damaged.
    """
    path = folder / FINISHED_NAME
    if not path.exists():
        return None
    result = FitResult.load(path)
    last = checkpoint_path(folder, "last")
    tensors, about = load_checkpoint(last, run.digest())
    weights = prefixed(NET, prediction_weights(tensors))
    if result.run_digest != run.digest() or result.weights_crc32 != tensors_crc32(weights):
        raise ModelError(
            "The weights of this finished run are not those it ended with.",
            file=last,
            found=f"{tensors_crc32(weights):08x}",
            expected=f"{result.weights_crc32:08x}",
            remedy="Delete the folder to train again, or copy it again from where it came.",
        )
    if about.state is not None and ranks.is_first():  # momentum and the like are of no more use
        save_checkpoint(last, weights, About(run_digest=run.digest(), step=result.steps, dice=result.dice))
    return result


@contextmanager
def numerics(run: RunPlan, device: torch.device) -> Iterator[None]:
    """Threads as the run was begun, and deterministic operations on the CPU; both as before afterwards."""
    threads = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    lenient = torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic  # its switch is a property of the module, which type checkers do not see
    filling = memory.fill_uninitialized_memory
    benchmark = torch.backends.cudnn.benchmark
    torch.set_num_threads(run.threads)
    if device.type == "cpu":
        torch.use_deterministic_algorithms(True, warn_only=True)
        memory.fill_uninitialized_memory = False  # it would fill every new tensor with NaN
    else:
        torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic, warn_only=lenient)
        memory.fill_uninitialized_memory = filling
        torch.backends.cudnn.benchmark = benchmark


def _warn_of_differences(run: RunPlan, wanted: RunPlan, device: torch.device) -> None:
    if run.threads > cpu_threads():
        say(f"This run was begun with {run.threads} threads and goes on so; this machine has {cpu_threads()}: slow.")
    elif run.threads != wanted.threads:
        say(f"This run goes on with the {run.threads} threads that it was begun with, not {wanted.threads}.")
    changes = []
    if run.device != device.type:
        changes.append(f"{device.type} instead of {run.device}")
    if run.torch_version != wanted.torch_version:
        changes.append(f"torch {wanted.torch_version} instead of {run.torch_version}")
    if changes:
        say(f"This run goes on with {' and '.join(changes)}: its weights may differ in the last digits.")
    if run.precision != wanted.precision:
        say(f"This run goes on in {run.precision}, as it was begun, not {wanted.precision}.")
