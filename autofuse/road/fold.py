"""One fold, trained; for a cascade, its earlier stage first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from autofuse.foundation.console import say
from autofuse.foundation.errors import UsageError
from autofuse.road.groundwork import Ground
from autofuse.road.runs import TrainedFold, read_fold, require_fold
from autofuse.training.run import RunPlan, make_trainer, plan_run, run_name

if TYPE_CHECKING:
    from autofuse.plan.types import Configuration
    from autofuse.preprocessing.store import Store
    from autofuse.training.trainer import Trainer

DEFAULT_SEED = 12345
Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class Method:
    """What is to be trained, apart from the fold; None leaves it to the plan.

    Attributes:
        settings: hyper-parameters of the trainer that differ from its defaults (or the plan's choice).
        minutes: of one fold, by configuration (a cascade's stages have their own).
    """

    configuration: str | None = None
    trainer: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    steps: int | None = None
    minutes: Mapping[str, float] = field(default_factory=dict)
    seed: int = DEFAULT_SEED
    precision: Precision | None = None


def planned_configuration(ground: Ground, name: str | None) -> Configuration:
    """The configuration called ``name``, or the plan's choice.

    Raises:
        UsageError: if the plan has none of that name.
    """
    try:
        return ground.plan.named(name or ground.plan.configuration)
    except KeyError:
        raise UsageError(
            f"The plan has no configuration {name!r}.",
            expected=", ".join(item.name for item in ground.plan.configurations),
            remedy=f"autofuse explain {ground.dataset.root}",
        ) from None


def stages(ground: Ground, name: str | None) -> tuple[Configuration, ...]:
    """The configurations that have to be trained for ``name``, one after another; two for a cascade."""
    last = planned_configuration(ground, name)
    return (planned_configuration(ground, last.previous), last) if last.previous else (last,)


def train_fold(ground: Ground, method: Method, fold: int, *, workers: int | None = None) -> TrainedFold:
    """The finished training of ``fold``, found or made, with all that it needs before it.

    Raises:
        UsageError: if there is no such fold, configuration, trainer or setting.
        AutofuseError: whatever preparing or training meets.
    """
    require_fold(fold, len(ground.splits.folds))
    configuration = planned_configuration(ground, method.configuration)
    name, trainer = chosen_trainer(ground, method)
    prior: str | None = None
    if configuration.previous:
        prior = _earlier_stage(ground, replace(method, configuration=configuration.previous), fold, workers)
    store = prepare(ground, configuration, workers)
    run = _plan_fold(ground, configuration, method, name, trainer, fold)
    return _fit(ground, configuration, trainer, store, run, prior)


def prepare(ground: Ground, configuration: Configuration, workers: int | None) -> Store:
    """The prepared store of ``configuration``; cases that are prepared already are left as they are."""
    from autofuse.preprocessing.all_cases import prepare_dataset

    return prepare_dataset(
        ground.dataset, ground.plan, configuration, ground.workspace, workers=workers, device=ground.device
    )


def chosen_trainer(ground: Ground, method: Method) -> tuple[str, Trainer]:
    """The trainer's registered name and the trainer itself; the plan's fields count where it is the plan's choice."""
    planned = ground.plan.trainer
    name = method.trainer or planned.name
    fields = dict(planned.fields) if name == planned.name else {}
    return name, make_trainer(name, fields | dict(method.settings))


def _plan_fold(
    ground: Ground, configuration: Configuration, method: Method, name: str, trainer: Trainer, fold: int
) -> RunPlan:
    from autofuse.plan.task import Task

    training, held_out = ground.splits.folds[fold]
    labelled = {case.id for case in ground.dataset.cases if case.label is not None}
    minutes = method.minutes.get(configuration.name)
    return plan_run(
        Task(ground.plan, configuration),
        name,
        trainer,
        fold=fold,
        labelled=[case for case in training if case in labelled],
        unlabelled=[case for case in training if case not in labelled],
        held_out=held_out,
        subjects={case.id: case.subject for case in ground.dataset.cases if case.subject != case.id},
        steps=method.steps if minutes is None else None,
        minutes=minutes,
        seed=method.seed,
        precision=method.precision,
        device=ground.device,
        validation_patches=validation_patches(configuration, len(held_out)),
    )


def validation_patches(configuration: Configuration, cases: int) -> int:
    """Forward passes of one patch that validating ``cases`` cases of the median size takes."""
    shape = configuration.median_shape[-configuration.dimensions :]
    slices = configuration.median_shape[0] if configuration.dimensions == 2 else 1
    tiles = math.prod(
        1 if size <= patch else math.ceil((size - patch) / (patch / 2)) + 1
        for size, patch in zip(shape, configuration.patch, strict=True)
    )
    return cases * tiles * slices


def _fit(
    ground: Ground, configuration: Configuration, trainer: Trainer, store: Store, run: RunPlan, prior: str | None
) -> TrainedFold:
    from autofuse.inference.validate import make_validator
    from autofuse.plan.task import Task
    from autofuse.training.loop import fit

    folder = ground.workspace.run(run_name(run), run.fold)
    task = Task(ground.plan, configuration)
    say(f"Training {run_name(run)}, fold {run.fold}: {_length(run)}, {len(run.labelled)} labelled cases.")
    validate = make_validator(store, run.held_out, task) if run.held_out else None
    fit(task, trainer, store, run, folder, device=ground.device, validate=validate)
    return read_fold(folder)


def _length(run: RunPlan) -> str:
    return f"{run.steps} steps" if run.minutes is None else f"{run.minutes:g} minutes"


def _earlier_stage(ground: Ground, method: Method, fold: int, workers: int | None) -> str:
    raise NotImplementedError


def _case_ids(ground: Ground) -> Sequence[str]:
    return [case.id for case in ground.dataset.cases]
