"""One fold, trained; for a cascade, its earlier stage first."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from autofuse.foundation.console import say
from autofuse.foundation.errors import UsageError
from autofuse.road.groundwork import Ground, waiting_lock
from autofuse.road.runs import TrainedFold, read_fold, require_fold
from autofuse.training.run import RunPlan, make_trainer, plan_run, prior_key, run_name

if TYPE_CHECKING:
    from pydantic import JsonValue

    from autofuse.plan.task import Task
    from autofuse.plan.types import Configuration, Plan
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
        gpus: processes that train together, each on a GPU of its own; on the CPU they share it.
    """

    configuration: str | None = None
    trainer: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    steps: int | None = None
    minutes: Mapping[str, float] = field(default_factory=dict)
    seed: int = DEFAULT_SEED
    precision: Precision | None = None
    gpus: int = 1


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


def train_fold(
    ground: Ground, method: Method, fold: int, *, taught_by: str | None = None, workers: int | None = None
) -> TrainedFold:
    """The finished training of ``fold``, found or made, with all that it needs before it.

    Args:
        taught_by: under which name the store keeps what teachers found in unlabelled cases; None to have teachers
            trained where the method wants any.

    Raises:
        UsageError: if there is no such fold, configuration, trainer or setting.
        AutofuseError: whatever preparing or training meets.
    """
    require_fold(fold, len(ground.splits.folds))
    configuration = planned_configuration(ground, method.configuration)
    name, trainer = chosen_trainer(ground, method)
    store = prepare(ground, configuration, workers)
    prior_run: str | None = None
    if configuration.previous:
        from autofuse.road.cascade import keep_priors
        from autofuse.sampling.ranks import in_turn

        first = train_fold(ground, replace(method, configuration=configuration.previous), fold, workers=workers)
        with in_turn():
            keep_priors(ground, first, configuration, store, workers)
        prior_run = first.run
    teaching = trainer.teaching()
    if teaching is not None and taught_by is None:
        from autofuse.road.teaching import shared, teach

        taught_by = teach(ground, method, teaching, configuration, store, fold, workers)
        method = shared(method, teaching)
    return _fit(ground, configuration, method, (name, trainer), store, fold, prior_run, taught_by)


def prepare(
    ground: Ground, configuration: Configuration, workers: int | None, share: tuple[int, int] | None = None
) -> Store:
    """The prepared store of ``configuration``; cases that are prepared already are left as they are.

    Args:
        share: prepare only the n-th (from 1) of so many shares of the cases; shares do not wait for each other.
    """
    from autofuse.preprocessing.all_cases import prepare_dataset

    if share is not None:
        return prepare_dataset(
            ground.dataset,
            ground.plan,
            configuration,
            ground.workspace,
            workers=workers,
            device=ground.device,
            share=share,
        )
    # Folds that start together want the same store: one prepares it, the others wait and find it.
    with waiting_lock(ground.workspace.folder / "prepared"):
        return prepare_dataset(
            ground.dataset, ground.plan, configuration, ground.workspace, workers=workers, device=ground.device
        )


def chosen_trainer(ground: Ground, method: Method) -> tuple[str, Trainer]:
    """The trainer's registered name and the trainer itself, with the plan's fields.

    Fields that every trainer has (augmentation among them) count for another trainer than the plan's too, so that two
    methods under one plan can be compared.
    """
    name = method.trainer or ground.plan.trainer.name
    return name, make_trainer(name, planned_fields(ground.plan, name) | dict(method.settings))


def planned_fields(plan: Plan, name: str) -> dict[str, JsonValue]:
    """The plan's fields for the trainer called ``name``: all of them for its own, for another those that all have."""
    from autofuse.training.trainer import Trainer as AnyTrainer

    planned = plan.trainer
    common = {item.name for item in dataclasses.fields(AnyTrainer)}
    return {key: value for key, value in planned.fields.items() if name == planned.name or key in common}


def _fit(
    ground: Ground,
    configuration: Configuration,
    method: Method,
    chosen: tuple[str, Trainer],
    store: Store,
    fold: int,
    prior_run: str | None,
    taught_by: str | None,
) -> TrainedFold:
    from autofuse.inference.validate import make_validator
    from autofuse.plan.task import Task
    from autofuse.road.together import train_together
    from autofuse.training.loop import fit, settled

    task, (name, trainer) = Task(ground.plan, configuration), chosen
    held_out = ground.splits.folds[fold][1]
    key = None if prior_run is None else prior_key(prior_run, fold)
    validate = make_validator(store, held_out, task, precision=method.precision, prior_run=key) if held_out else None
    patches = validate.patches if validate is not None else 0
    run = _plan_fold(
        ground, task, method, name, trainer, fold=fold, patches=patches, prior_run=prior_run, taught_by=taught_by
    )
    folder = ground.workspace.run(run_name(run), fold)
    say(f"Training {run_name(run)}, fold {fold}: {_length(run)}, {len(run.labelled)} labelled cases.")
    if method.gpus == 1:
        fit(task, trainer, store, run, folder, device=ground.device, validate=validate)
    elif not settled(task, run, folder, ground.device):
        say(f"{method.gpus} processes train together, {'sharing the CPU' if ground.device == 'cpu' else 'a GPU each'}.")
        train_together(method.gpus, folder, store.folder, ground.device, method.precision)
    return read_fold(folder)


def _plan_fold(
    ground: Ground,
    task: Task,
    method: Method,
    name: str,
    trainer: Trainer,
    *,
    fold: int,
    patches: int,
    prior_run: str | None,
    taught_by: str | None,
) -> RunPlan:
    from autofuse.sampling.ranks import count

    training, held_out = ground.splits.folds[fold]
    labelled = {case.id for case in ground.dataset.cases if case.labelled}
    minutes = method.minutes.get(task.configuration.name)
    return plan_run(
        task,
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
        validation_patches=patches,
        prior_run=prior_run,
        taught_by=taught_by,
        ranks=max(method.gpus, count()),
    )


def _length(run: RunPlan) -> str:
    return f"{run.steps} steps" if run.minutes is None else f"{run.minutes:.3g} minutes"
