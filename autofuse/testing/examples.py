"""A tiny task and batches to try a trainer on, made by hand: milliseconds a step, nothing read from disk.

Shape legend: B batch, M modality, K class or region, S spatial axes (slowest first).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from autofuse.dataset.types import IGNORE, LabelClass, Labels
from autofuse.plan.task import Task
from autofuse.plan.types import (
    Budget,
    Configuration,
    Decision,
    NetworkPlan,
    NormalisationPlan,
    Plan,
    TrainerChoice,
)

if TYPE_CHECKING:
    from autofuse.sampling.batch import Batch

Labelled = Literal["dense", "sparse", "none"]

_FEATURES = (4, 6, 8, 8)
_STRIDES = (1, 2, 2, 1)
_BLOB = 4
"""Edge of the cubes of one class that example labels consist of, in voxels."""


def example_labels(classes: int = 2, *, regions: bool = False) -> Labels:
    """``classes`` exclusive classes with an ignore label, or as many nested regions of them."""
    values = range(1, classes + 1)
    if regions:
        nested = tuple(LabelClass(name=f"from {k}", raw_values=tuple(range(k, classes + 1))) for k in values)
        return Labels(classes=nested, ignore=classes + 1, region_values=tuple(values))
    return Labels(classes=tuple(LabelClass(name=f"class {k}", raw_values=(k,)) for k in values), ignore=classes + 1)


def example_task(
    modalities: int = 2,
    dimensions: Literal[2, 3] = 3,
    *,
    classes: int = 2,
    regions: bool = False,
    cascade: bool = False,
    topology: str = "early",
) -> Task:
    """A task with a U-Net of four narrow stages on patches of 16 x 16 or 8 x 8 x 8 voxels.

    Args:
        modalities: M.
        dimensions: of the patch.
        classes: foreground classes, or regions.
        regions: whether outputs overlap.
        cascade: whether the task is a cascade's second stage, with masks of the first as extra input.
        topology: name of an ``autofuse.networks`` topology.
    """
    size = 16 if dimensions == 2 else 8
    network = NetworkPlan(
        topology=topology,
        features=_FEATURES,
        kernels=((3,) * dimensions,) * len(_FEATURES),
        strides=tuple((stride,) * dimensions for stride in _STRIDES),
        blocks=(1,) * len(_FEATURES),
        decoder_blocks=(1,) * (len(_FEATURES) - 1),
    )
    configuration = Configuration(
        name="example",
        dimensions=dimensions,
        spacing_mm=(1.0, 1.0, 1.0),
        median_shape=(size, size, size),
        patch=(size,) * dimensions,
        batch=2,
        network=network,
        previous="example_before" if cascade else None,
        memory_gib=0.1,
    )
    plan = Plan(
        planner="by hand",
        dataset="example",
        fingerprint_digest="0" * 64,
        budget=Budget(memory_gib=1.0),
        modalities=tuple(f"modality {index}" for index in range(modalities)),
        labels=example_labels(classes, regions=regions),
        transpose=(0, 1, 2),
        normalisation=(NormalisationPlan(scheme="zscore"),) * modalities,
        configurations=(configuration,),
        configuration="example",
        trainer=TrainerChoice(name="supervised"),
        steps=100,
        decisions=(Decision(what="everything", chosen="an example", rule="made by hand"),),
    )
    return Task(plan, configuration)


def example_batch(task: Task, *, labelled: Labelled = "dense", samples: int = 2, seed: int = 0) -> Batch:
    """A batch in which each modality shows the classes in intensities of its own, with noise; a function of ``seed``.

    Args:
        task: from ``example_task``, or any other.
        labelled: every voxel, about half of the voxels, or none (all IGNORE, as an unlabelled case comes).
        samples: B.
        seed: draws labels, intensities and noise.
    """
    import torch

    from autofuse.sampling.batch import Batch

    patch, values = task.configuration.patch, len(task.labels.raw_values) + 1
    random = torch.Generator().manual_seed(seed)
    truth = torch.randint(0, values, (samples, *(-(-size // _BLOB) for size in patch)), generator=random)
    for axis, size in enumerate(patch, start=1):
        truth = truth.repeat_interleave(_BLOB, dim=axis).narrow(axis, 0, size)
    contrast = torch.randn(task.modalities, values, generator=random)
    image = contrast[:, truth].movedim(0, 1) + 0.1 * torch.randn(samples, task.modalities, *patch, generator=random)
    target = truth.clone()
    if labelled == "none":
        target.fill_(IGNORE)
    elif labelled == "sparse":
        target[torch.rand(target.shape, generator=random) < 0.5] = IGNORE
    prior = None
    if task.prior_channels:
        prior = (torch.rand(samples, task.prior_channels, *patch, generator=random) < 0.5).float()
    return Batch(
        image=image,
        present=torch.ones(samples, task.modalities, dtype=torch.bool),
        target=target,
        prior=prior,
        cases=tuple(f"case {index}" for index in range(samples)),
        spacing_mm=task.configuration.spacing_mm[-len(patch) :],
    )
