"""Patch, width and batch under the two dials: candidates in order of preference, and the first that fits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from autofuse.foundation.errors import ResourceError
from autofuse.plan.memory import training_memory_gib
from autofuse.plan.speed import seconds_per_step
from autofuse.plan.types import Axes, Budget, NetworkPlan, Sizes, Triple
from autofuse_planners.pyramid import Pyramid, network_for, pyramid_for
from autofuse_planners.thresholds import Thresholds


@dataclass(frozen=True)
class Scene:
    """What a configuration is planned for.

    Attributes:
        dimensions: 2 or 3; spacing_mm, median_shape: of the grid, three axes, transposed.
        cases: of the data set; channels: modalities; prior: masks of a cascade's first stage; outputs: predicted.
        topology, dropout: how modalities meet, and how often one is dropped.
        sparse: whether labels are.
        own_masks: whether each modality has a mask of its own.
    """

    dimensions: int
    spacing_mm: Triple
    median_shape: Axes
    cases: int
    channels: int
    prior: int
    outputs: int
    encoder: str
    topology: str
    dropout: float
    budget: Budget
    rules: Thresholds
    sparse: bool = False
    own_masks: bool = False

    @property
    def spacing(self) -> tuple[float, ...]:
        """Spacing of the axes that a patch has."""
        return self.spacing_mm[3 - self.dimensions :]

    @property
    def median(self) -> Sizes:
        """Median case along the axes that a patch has."""
        return self.median_shape[3 - self.dimensions :]

    @property
    def keeps_slices(self) -> bool:
        """Whether slices are cut as late as can be: nothing but context tells what lies far from every stroke."""
        return self.sparse and self.dimensions == 2

    def share_seen(self, patch: Sizes) -> float:
        """Share of the median case (of a slice in 2D) that a patch covers, at most 1."""
        return min(1.0, prod(patch) / prod(self.median))


@dataclass(frozen=True)
class Rung:
    """One size that is considered: patch, channels of the first stage, batch, and the steps that it must allow (None
    without a time dial)."""

    pyramid: Pyramid
    width: int
    batch: int
    steps: int | None


@dataclass(frozen=True)
class Candidate:
    """A rung with its network and what it is predicted to take; ``step_s`` is None where speed was not measured."""

    rung: Rung
    network: NetworkPlan
    memory_gib: float
    step_s: float | None

    def describe(self) -> str:
        """Patch, channels, batch and predictions in one line."""
        patch = " x ".join(str(size) for size in self.rung.pyramid.patch)
        text = f"patch {patch}, {self.rung.width} channels, batch {self.rung.batch}: {self.memory_gib:.2f} GiB"
        return text if self.step_s is None else f"{text}, {self.step_s:.3g} s a step"


def training_seconds(budget: Budget, rules: Thresholds) -> float | None:
    """Seconds that training steps may take together, None without a time dial."""
    return None if budget.minutes is None else budget.minutes * 60 * rules.time_share


def wanted_steps(budget: Budget, rules: Thresholds) -> int:
    """Steps that should fit into the minutes: the reference, growing with the square root of the time."""
    minutes = budget.minutes or rules.reference_minutes
    return max(1, round(rules.reference_steps * math.sqrt(minutes / rules.reference_minutes)))


def first_pyramid(scene: Scene) -> Pyramid:
    """The largest patch worth having: aspect of equal lengths in mm, of the start size, clipped to the median case."""
    rules = scene.rules
    start = rules.start_voxels_3d if scene.dimensions == 3 else rules.start_pixels_2d
    inverse = [1 / value for value in scene.spacing]
    scale = (start / prod(inverse)) ** (1 / scene.dimensions)
    size = [max(1, min(round(value * scale), most)) for value, most in zip(inverse, scene.median, strict=True)]
    # In-plane axes are never tiny: a network needs something to pool, and padding costs nothing there.
    size[-2:] = [max(value, rules.min_patch_axis) for value in size[-2:]]
    return pyramid_for(tuple(size), scene.spacing, rules)


def shrinking(scene: Scene) -> Iterator[Pyramid]:
    """Pyramids from the first down; each step takes from the axis that covers most of the median case (rule 6)."""
    pyramid: Pyramid | None = first_pyramid(scene)
    while pyramid is not None:
        yield pyramid
        pyramid = _smaller(scene, pyramid)


def _smaller(scene: Scene, pyramid: Pyramid) -> Pyramid | None:
    """One step less along the axis that covers most of the median case; along the next one where fewer voxels there
    mean another network whose patch is rounded up again. None where no axis can give."""
    ratios = [
        (size / scene.median[axis], size, axis)
        for axis, (size, step) in enumerate(zip(pyramid.patch, pyramid.multiple, strict=True))
        if size - step >= scene.rules.min_patch_axis
    ]
    for _, _, axis in sorted(ratios, reverse=True):
        size = list(pyramid.patch)
        size[axis] -= pyramid.multiple[axis]
        smaller = pyramid_for(tuple(size), scene.spacing, scene.rules)
        if smaller.voxels < pyramid.voxels:
            return smaller
    return None


def candidate(scene: Scene, rung: Rung) -> Candidate:
    """The rung's network with its predicted memory and time."""
    from autofuse.networks.cost import network_cost

    pyramid, budget = rung.pyramid, scene.budget
    network = network_for(pyramid, rung.width, scene.encoder, scene.rules, scene.dropout)
    network = network.model_copy(update={"topology": scene.topology, "decoders": budget.decoders})
    cost = network_cost(network, scene.channels + scene.prior, scene.outputs, pyramid.patch, prior_channels=scene.prior)
    logits = scene.outputs * pyramid.voxels
    memory = training_memory_gib(cost, rung.batch, budget.precision, budget.device, logits=logits)
    return Candidate(rung, network, memory, seconds_per_step(cost, rung.batch, budget))


def most_batch(scene: Scene, pyramid: Pyramid) -> int:
    """Most samples a batch may have: few enough to show only a small share of the data set's voxels (rule 6)."""
    rules = scene.rules
    voxels = prod(scene.median_shape) * scene.cases
    share = round(voxels * rules.batch_share / pyramid.voxels)
    return int(max(rules.min_batch, min(rules.max_batch, share)))


def fits_memory(scene: Scene, item: Candidate) -> bool:
    """Whether its predicted peak is within the budget."""
    return item.memory_gib <= scene.budget.memory_gib


def fits_time(scene: Scene, item: Candidate) -> bool:
    """Whether the steps that are wanted fit into the time; always true without a time dial."""
    seconds = training_seconds(scene.budget, scene.rules)
    if seconds is None or item.step_s is None or item.rung.steps is None:
        return True
    return item.step_s * item.rung.steps <= seconds


def refuse(scene: Scene, smallest: Candidate) -> ResourceError:
    """The error for a budget into which nothing fits."""
    return ResourceError(
        "The memory dial is too low for any network that could learn this.",
        found=f"{scene.budget.memory_gib:g} GiB",
        expected=f"at least {smallest.memory_gib:.2f} GiB ({smallest.describe()})",
        remedy="Give more with --memory, or free memory.",
    )
