"""What predicting will take at most, told before the first image is read: shapes stand in the headers of the files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from autofuse.dataset.types import Case, Dataset
from autofuse.foundation.errors import AutofuseError, ResourceError
from autofuse.foundation.machine import available_memory_gib
from autofuse.images.geometry import Geometry
from autofuse.images.io import NIFTI_ENDINGS, Header, read_header
from autofuse.inference.memory import (
    COMFORT_GIB,
    TUNED_BELOW_GIB,
    Extras,
    Load,
    MemoryPlan,
    held_gib,
    plan_memory,
    reading_gib,
    resident_gib,
)
from autofuse.inference.prediction import PredictOptions, grid_key
from autofuse.plan.task import Task
from autofuse.preprocessing.placement import place
from autofuse.training.model import AnyModel

LOADED_LATER_GIB = 0.1
"""Libraries that are first needed while a case is read or predicted, and what they compile."""


@dataclass(frozen=True)
class Forecast:
    """The largest case of a prediction and what the process will hold at most, in GiB.

    Attributes:
        shape: of its native grid.
        reading_gib: while it is read and prepared; computing_gib: while it is predicted, with the next case being read
            beside it where there is one. Both hold all that the process holds already.
        on_device: whether the network's share is taken from a device of its own, and so not counted.
    """

    case: str
    shape: tuple[int, int, int]
    reading_gib: float
    computing_gib: float
    on_device: bool = False

    @property
    def peak_gib(self) -> float:
        """The larger of the two."""
        return max(self.reading_gib, self.computing_gib)

    def in_words(self) -> str:
        """Such as "Predicting needs at most 5.42 GiB of memory (case_3, 600 x 1024 x 1024 voxels); 17.1 GiB are
        free."."""
        sizes = " x ".join(map(str, self.shape))
        beside = " beside the device's" if self.on_device else ""
        return (
            f"Predicting needs at most {self.peak_gib:.2f} GiB of memory{beside} ({self.case}, {sizes} voxels); "
            f"{available_memory_gib():.1f} GiB are free."
        )


def extras_of(
    models: Sequence[AnyModel],
    options: PredictOptions,
    *,
    ahead: bool,
    next_gib: float | None,
    elsewhere: bool = False,
) -> Extras:
    """What is held besides a case: members on one grid are summed there, several grids and what is kept natively.

    Args:
        elsewhere: whether the mask lies on another grid than the case's, to which probabilities are taken.
    """
    parts = len(models) if options.uncertainty else len({grid_key(model.task) for model in models})
    spools = (len(models) > parts) + (parts > 1 or options.keeps or elsewhere) + options.uncertainty
    return Extras(spools, ahead, next_gib, bool(options.steps))


def headers_of(dataset: Dataset, case: Case) -> list[Header]:
    """Headers of a case's NIfTI images, damaged ones and other formats left out: those need a process each."""
    found = []
    for path in dict.fromkeys(image.path for image in case.images if image is not None):
        if path.lower().endswith(NIFTI_ENDINGS):
            try:
                found.append(read_header(dataset.path(path)))
            except AutofuseError:
                continue  # whoever reads it says what is wrong
    return found


def grids_of(models: Sequence[AnyModel]) -> dict[str, Task]:
    """The task of the member with the most inputs for each grid on which members see a case."""
    grids: dict[str, Task] = {}
    for model in models:
        key = grid_key(model.task)
        if key not in grids or model.task.prior_channels > grids[key].prior_channels:
            grids[key] = model.task
    return grids


def loads_of(grids: Mapping[str, Task], headers: Sequence[Header]) -> dict[str, Load]:
    """Per grid, the shapes that decide; nothing is known to be cropped yet.

    The native grid is taken to be that of the largest image.
    """
    if not headers:
        return {}
    largest = max((header.geometry for header in headers), key=lambda geometry: math.prod(geometry.shape))
    raw_bytes = sum(math.prod(item.geometry.shape) * item.components * item.dtype.itemsize for item in headers)
    own_grids = any(not header.geometry.same_grid(largest) for header in headers)
    return {key: _load(task, largest, raw_bytes, own_grids) for key, task in grids.items()}


def _load(task: Task, grid: Geometry, raw_bytes: int, own_grids: bool) -> Load:
    whole = tuple(slice(0, size) for size in grid.shape)
    flat = task.configuration.dimensions == 2
    placed = place(grid, whole, task.plan.transpose, task.configuration.spacing_mm, keep_first_axis=flat)
    return Load(
        prepared=placed.prepared_shape,
        native=placed.cropped_shape,
        inputs=task.modalities + task.prior_channels,
        outputs=task.outputs,
        raw_bytes=raw_bytes,
        elsewhere=own_grids or task.plan.registration is not None,
        single=any(norm.scheme == "none" for norm in task.plan.normalisation),
    )


def case_reading_gib(loads: Mapping[str, Load]) -> float:
    """What reading a case takes at most: every grid's images stay while the next grid's are made."""
    if not loads:
        return 0.0
    held = [held_gib(load) for load in loads.values()]
    return max(reading_gib(load) + sum(held) - own for load, own in zip(loads.values(), held, strict=True))


def forecast(
    models: Sequence[AnyModel], loads: Mapping[str, Mapping[str, Load]], options: PredictOptions, *, overlap: bool
) -> Forecast | None:
    """What the largest case needs; None where no header could be read, or it will not fit and be refused.

    Args:
        loads: by case, as ``loads_of`` gives them.
        overlap: whether the next case is read meanwhile.
    """
    known = {case: parts for case, parts in loads.items() if parts}
    if not known:
        return None
    sizes = {case: case_reading_gib(parts) for case, parts in known.items()}
    largest = max(sizes, key=lambda case: sizes[case])
    try:
        plan = _planned(models, known[largest], options, overlap, sizes[largest] if len(loads) > 1 else 0.0)
    except ResourceError:
        return None
    on_device = torch.device(options.device).type == "cuda"
    first = next(iter(known[largest].values()))
    now = resident_gib()
    computing = now + sum(held_gib(load) for load in known[largest].values()) if on_device else _stated_gib(plan)
    reading = now + sizes[largest] + LOADED_LATER_GIB
    return Forecast(largest, _native(models, first), reading, computing + LOADED_LATER_GIB, on_device)


def _planned(
    models: Sequence[AnyModel], loads: Mapping[str, Load], options: PredictOptions, ahead: bool, next_gib: float
) -> MemoryPlan:
    """The largest plan of all members, made as the prediction will make it.

    Raises:
        ResourceError: if the case does not fit.
    """
    elsewhere = any(model.task.plan.masks_per_modality for model in models)
    extras = extras_of(models, options, ahead=ahead, next_gib=next_gib, elsewhere=elsewhere)
    held = sum(held_gib(load) for load in loads.values())
    plans = []
    try:
        for model in models:
            load = replace(loads[grid_key(model.task)], extras=extras)
            plans.append(
                plan_memory(
                    load,
                    model.task.configuration,
                    memory_gib=options.memory_gib,
                    step=options.step,
                    device=torch.device(options.device),
                    coming_gib=held,
                )
            )
    except ResourceError:
        if not ahead:
            raise
        return _planned(models, loads, options, False, 0.0)
    return max(plans, key=lambda plan: plan.peak_gib)


def _stated_gib(plan: MemoryPlan) -> float:
    """The peak of the plan; where float32 did not seem to fit but in the end does, it is up to what is comfortable."""
    if plan.dtype != "float32":
        return max(plan.peak_gib, min(COMFORT_GIB, plan.limit_gib))
    tuned = plan.peak_gib < TUNED_BELOW_GIB
    return plan.peak_gib + (plan.parts_gib["network"] / 2 if tuned else 0.0)


def _native(models: Sequence[AnyModel], load: Load) -> tuple[int, int, int]:
    """The shape before axes were put in the plan's order."""
    shape = [0, 0, 0]
    for position, axis in enumerate(models[0].task.plan.transpose):
        shape[axis] = load.native[position]
    return shape[0], shape[1], shape[2]
