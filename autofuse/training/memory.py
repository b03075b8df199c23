"""How much memory training takes at its peak: one step of the method itself, carried out on tensors without content.

The whole step is taken as training takes it (every stream, every objective, second forward passes, momentum, moving
averages), in torch's fake mode, so that nothing is computed and nothing is allocated; what would be alive at a time is
added up. A planner's formula (``autofuse.plan.memory``) knows a network only; this knows what a method does with it.
"""

from __future__ import annotations

import math
import random
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from autofuse.foundation.console import log
from autofuse.foundation.errors import AutofuseError
from autofuse.foundation.machine import GIB, Precision
from autofuse.plan.task import Task
from autofuse.sampling.batch import Batch
from autofuse.sampling.source import stream_batch
from autofuse.training.ema import Average
from autofuse.training.run import RunPlan, plan_run
from autofuse.training.steps import Stepper
from autofuse.training.trainer import Progress, Trainer

PROCESS_GIB = {"cpu": 0.45, "cuda": 0.8}
"""What a process holds before any tensor: torch and the libraries on a CPU, context and workspaces on a GPU."""
OVERHEAD = {("cpu", "fp32"): 1.45, ("cpu", "bf16"): 1.6, ("cpu", "fp16"): 1.6}
"""What is really taken for each byte of a tensor that is alive (``benchmarks/results/memory.json``)."""
GPU_OVERHEAD = 1.15
"""The same on a GPU, where rounding and gaps of torch's allocator are all there is; never measured, so real steps
correct it."""
REAL_STEPS = 3
_DONE, _OF = 9, 10
"""A step late in the training, when every term of a method is in force."""


def foreseen_memory_gib(
    task: Task, name: str, trainer: Trainer, precision: Precision, device: str = "cpu"
) -> float | None:
    """Peak of training in GiB (resident memory on a CPU, device memory on a GPU); None where it cannot be foreseen.

    On a CPU it is derived from ``traced_memory_gib``, and so a function of its arguments and of torch's version; on a
    GPU that is there, from real steps.

    Raises:
        AutofuseError: if the trainer refuses the plan.
    """
    if device.startswith("cuda") and torch.cuda.is_available():
        return stepped_memory_gib(task, name, trainer, precision, torch.device(device))
    try:
        traced = traced_memory_gib(task, name, trainer, precision)
    except AutofuseError:
        raise
    except Exception as error:  # fake tensors are no public part of torch, and trainers may be strangers'
        log().info("A step of %s could not be traced: %s: %s", name, type(error).__name__, error)
        return None
    if device.startswith("cuda"):
        return PROCESS_GIB["cuda"] + GPU_OVERHEAD * traced
    return PROCESS_GIB["cpu"] + OVERHEAD["cpu", precision] * traced


def traced_memory_gib(task: Task, name: str, trainer: Trainer, precision: Precision) -> float:
    """The most GiB of tensors that are alive at a time in a training step of ``trainer``; nothing is allocated.

    Counted where torch hands out memory: weights, momentum and averages, what autograd keeps, gradients. Where a size
    depends on content (which modalities are present) the largest is taken.

    Raises:
        AutofuseError: if the trainer refuses the plan; torch's own errors where a step cannot be traced.
    """
    with _same_luck(), warnings.catch_warnings(), _fake_mode(), _Living() as living:
        warnings.simplefilter("ignore")  # torch warns of copies of fake tensors, which are as good as any here
        _take_steps(task, trainer, _run(task, name, trainer, precision, "cpu"), torch.device("cpu"), steps=1)
    peak: int = living.peak_bytes
    return peak / GIB


def stepped_memory_gib(
    task: Task,
    name: str,
    trainer: Trainer,
    precision: Precision,
    device: torch.device,
    peak_gib: Callable[[torch.device], float] | None = None,
) -> float:
    """The most GiB that a few real steps on noise took on ``device``; infinite where they ran out of memory.

    Args:
        peak_gib: tells the peak afterwards; None for torch's record of what it reserved on a GPU, and its context.

    Raises:
        AutofuseError: if the trainer refuses the plan.
    """
    on_gpu = device.type == "cuda"
    try:
        if on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
        with _same_luck():
            _take_steps(task, trainer, _run(task, name, trainer, precision, device.type), device, steps=REAL_STEPS)
        return (peak_gib or _reserved_gib)(device)
    except torch.OutOfMemoryError:
        return math.inf
    finally:
        if on_gpu:
            torch.cuda.empty_cache()


def _reserved_gib(device: torch.device) -> float:
    return PROCESS_GIB["cuda"] + torch.cuda.max_memory_reserved(device) / GIB


def _take_steps(task: Task, trainer: Trainer, run: RunPlan, device: torch.device, *, steps: int) -> None:
    """Steps as a session takes them, on batches of noise."""
    nets = trainer.networks(task)
    if device.type != "cpu":
        nets = nets.to(device)
    nets.train()
    average = Average(nets, trainer.ema_decay) if trainer.ema_decay > 0 else None
    stepper = Stepper(task, trainer, nets, run, device)
    batches = made_up_batches(task, trainer, device)
    for step in range(steps):
        stepper.take(step, batches, Progress(_DONE, _OF), 1.0)
        if average is not None:
            average.follow(step)


def made_up_batches(task: Task, trainer: Trainer, device: torch.device) -> Mapping[str, Batch]:
    """A batch of noise and random classes for each stream, in the sizes that training has."""
    configuration, batches = task.configuration, {}
    for stream in trainer.streams():
        samples = stream_batch(stream.share, configuration.batch)
        masks = (task.modalities,) if task.plan.masks_per_modality else ()
        shape = (samples, *masks, *configuration.patch)
        prior = None
        if task.prior_channels:
            prior = torch.zeros(samples, task.prior_channels, *configuration.patch, device=device)
        batches[stream.name] = Batch(
            image=torch.randn(samples, task.modalities, *configuration.patch, device=device),
            present=torch.ones(samples, task.modalities, dtype=torch.bool, device=device),
            target=torch.randint(0, len(task.labels.raw_values) + 1, shape, device=device),
            prior=prior,
            cases=("noise",) * samples,
            spacing_mm=tuple(configuration.spacing_mm[3 - len(configuration.patch) :]),
        )
    return batches


def _run(task: Task, name: str, trainer: Trainer, precision: Precision, device: str) -> RunPlan:
    return plan_run(task, name, trainer, fold=0, labelled=("noise",), steps=_OF, precision=precision, device=device)


def _fake_mode() -> AbstractContextManager[object]:
    """torch's mode of tensors without content, one that copies of networks share."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    class Shared(FakeTensorMode):  # type: ignore[no-untyped-call]
        def __deepcopy__(self, memo: dict[int, Any]) -> Shared:
            return self

    return Shared()


@contextmanager
def _same_luck() -> Iterator[None]:
    """Every random generator as it was before, whatever the block draws."""
    numbers, words = np.random.get_state(), random.getstate()
    with torch.random.fork_rng():
        try:
            yield
        finally:
            np.random.set_state(numbers)
            random.setstate(words)


class _Living(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the bytes of all storages that are alive, and remembers the most; nothing else is changed.

    torch.distributed's MemTracker counts the same (equal to 0.01 MiB for ``supervised`` with all topologies), but
    refuses methods that call a network twice in a step.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live_bytes = self.peak_bytes = 0
        self._known: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        aten = torch.ops.aten
        if func is aten._local_scalar_dense.default:  # a tensor is asked for its value, and has none
            return 1.0 if args[0].is_floating_point() else 1
        if func is aten.nonzero.default:  # at most everything
            out: Any = torch.empty(args[0].numel(), args[0].ndim, dtype=torch.int64)
        else:
            out = func(*args, **(kwargs or {}))
        for item in tree_leaves(out):
            if isinstance(item, Tensor):
                self._note(item)
        return out

    def _note(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage in self._known:
            return
        size = storage.nbytes()
        self._known[storage] = size
        self.live_bytes += size
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)
        weakref.finalize(storage, self._forget, size)

    def _forget(self, size: int) -> None:
        self.live_bytes -= size
