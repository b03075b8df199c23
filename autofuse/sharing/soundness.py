"""Whether the values of a foreign model can be meant: its plan, its run and its weights, before any of it is used.

Types and bounds of single fields are pydantic's; here is what they cannot say: that fields fit each other, that names
that become folders are names, and that a network of that plan has the size of the weights that come with it. Nothing
here takes memory or time by what a file says: networks are built on torch's "meta" device, without their weights.
"""

from __future__ import annotations

import re
from math import isfinite, prod
from pathlib import Path

from autofuse.foundation.errors import ModelError, UsageError
from autofuse.networks.topologies import topology
from autofuse.networks.unet_spec import check_network
from autofuse.plan.task import Task
from autofuse.plan.types import Configuration, NetworkPlan, Plan
from autofuse.sharing.types import NAME_PATTERN
from autofuse.training.checkpoint import NET, misfits
from autofuse.training.run import RunPlan, make_trainer

MOST_MODALITIES, MOST_CLASSES, MOST_STAGES, MOST_BLOCKS = 64, 1024, 12, 32
WIDEST_STAGE, LARGEST_KERNEL, LARGEST_STRIDE = 8192, 15, 16
LARGEST_PATCH_VOXELS = 1 << 28
SPACING_MM = (1e-3, 1e3)
LARGEST_LABEL = 1 << 31
_NAME = re.compile(NAME_PATTERN)


def require_sound_plan(plan: Plan, file: Path) -> None:
    """Nothing, if the plan's parts fit each other and keep to sizes that a network can have.

    Raises:
        ModelError: naming the first part that does not.
    """
    problems = _whole_problems(plan) or [
        f"{item.name}: {problem}" for item in plan.configurations for problem in _configuration_problems(plan, item)
    ]
    if problems:
        raise ModelError("This plan cannot be meant.", file=file, found=problems[0])
    for item in plan.configurations:
        check_network(item.network)
        topology(item.network.topology)


def require_sound_run(run: RunPlan, plan: Plan, weights: dict[str, tuple[int, ...]], file: Path) -> None:
    """Nothing, if ``run`` trains a configuration of ``plan`` by an installed trainer whose network has ``weights``.

    Args:
        weights: shapes by the names that a checkpoint has.

    Raises:
        ModelError: otherwise.
    """
    if run.plan_digest != plan.digest():
        raise ModelError("This run was made for another plan than the one beside it.", file=file)
    if run.prior_run is not None and not _NAME.fullmatch(run.prior_run):
        raise ModelError("The name of the earlier stage is no name.", file=file, found=repr(run.prior_run[:80]))
    names = [item.name for item in plan.configurations]
    if run.configuration not in names:
        raise ModelError("The plan lacks the configuration that was trained.", file=file, found=run.configuration[:80])
    task = Task(plan, plan.named(run.configuration))
    if (task.configuration.previous is None) != (run.prior_run is None):
        raise ModelError("Run and plan disagree about whether there is an earlier stage.", file=file)
    wanted = _shapes(run, task, file)
    wrong = misfits(wanted, {name.removeprefix(NET): shape for name, shape in weights.items()})
    if wrong:
        raise ModelError("The weights do not fit the network of the plan.", file=file, found="; ".join(wrong[:3]))


def _shapes(run: RunPlan, task: Task, file: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights that the trainer's networks have, by name."""
    import torch

    try:
        trainer = make_trainer(run.trainer, run.fields)
    except UsageError as error:
        raise ModelError(
            f"The trainer {run.trainer[:80]!r} that made this model cannot be used here: {error.problem}",
            file=file,
            found=error.found,
            expected=error.expected,
            remedy="Install the package that brings this trainer, if you trust it, and import again.",
        ) from error
    try:
        with torch.device("meta"):
            nets = trainer.networks(task)
    except Exception as error:  # whatever an installed trainer makes of a plan that was not made for it
        found = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        raise ModelError("No network can be built from this plan.", file=file, found=found[:200]) from error
    return {name: tuple(tensor.shape) for name, tensor in nets.state_dict().items()}


def _whole_problems(plan: Plan) -> list[str]:
    modalities, labels = len(plan.modalities), plan.labels
    names = [item.name for item in plan.configurations]
    values = [value for item in labels.classes for value in item.raw_values] + list(labels.region_values)
    checks = {
        f"{modalities} modalities": 1 <= modalities <= MOST_MODALITIES,
        f"{len(labels.classes)} classes": len(labels.classes) <= MOST_CLASSES,
        "label values beyond all bounds": all(abs(value) < LARGEST_LABEL for value in values),
        "regions and their painted values differ in number": len(labels.region_values) in (0, len(labels.classes)),
        f"{len(plan.normalisation)} normalisations for {modalities} modalities": len(plan.normalisation) == modalities,
        f"reference {plan.reference} of {modalities} modalities": plan.reference < modalities,
        f"axes in the order {plan.transpose}": sorted(plan.transpose) == [0, 1, 2],
        f"mirrored axes {plan.mirror_axes[:5]}": set(plan.mirror_axes) <= {0, 1, 2} and len(plan.mirror_axes) <= 3,
        f"{len(names)} configurations of {len(set(names))} names": len(names) == len(set(names)) <= MOST_CLASSES,
        f"the configuration {plan.configuration[:80]!r}": plan.configuration in names,
    }
    bad_names = [name for name in names if len(name) > 120 or not _NAME.fullmatch(name)]
    return [problem for problem, good in checks.items() if not good] + [
        f"a configuration called {name[:80]!r}" for name in bad_names
    ]


def _configuration_problems(plan: Plan, item: Configuration) -> list[str]:
    if not _bounded(item.network, item.dimensions):
        return ["a network beyond all bounds, or whose stages do not fit each other"]
    if len(item.patch) != item.dimensions or min(item.patch) < 1 or prod(item.patch) > LARGEST_PATCH_VOXELS:
        return [f"a patch of {item.patch[:5]}"]
    others = {other.name: other for other in plan.configurations}
    reduction = [prod(steps) for steps in zip(*item.network.strides, strict=True)]
    low, high = SPACING_MM
    checks = {
        f"a spacing of {item.spacing_mm}": all(isfinite(value) and low <= value <= high for value in item.spacing_mm),
        f"axis {item.anisotropic_axis}": item.anisotropic_axis in (None, 0, 1, 2),
        "an earlier stage that is not there, or has one itself": item.previous is None
        or (item.previous in others and others[item.previous].previous is None),
        f"a patch of {item.patch} for strides of {reduction}": all(
            size % step == 0 for size, step in zip(item.patch, reduction, strict=True)
        ),
    }
    return [problem for problem, good in checks.items() if not good]


def _bounded(network: NetworkPlan, dimensions: int) -> bool:
    """Whether every number is one that networks have, and every stage has its own; so looking at it takes no time."""
    stages, axes = len(network.features), (*network.kernels, *network.strides)
    lengths = {len(network.kernels), len(network.strides), len(network.blocks), len(network.decoder_blocks) + 1}
    return (
        lengths == {stages}
        and stages <= MOST_STAGES
        and all(len(sizes) == dimensions for sizes in axes)
        and all(1 <= width <= WIDEST_STAGE for width in network.features)
        and all(1 <= count <= MOST_BLOCKS for count in (*network.blocks, *network.decoder_blocks))
        and all(1 <= size <= LARGEST_KERNEL for kernel in network.kernels for size in kernel)
        and all(1 <= step <= LARGEST_STRIDE for stride in network.strides for step in stride)
    )
