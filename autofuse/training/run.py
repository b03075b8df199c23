"""What one training run is: everything that decides its weights, written down as run.json before the first step."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, cast

from pydantic import (
    ConfigDict,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
    model_serializer,
    model_validator,
)

from autofuse.foundation.errors import UsageError
from autofuse.foundation.machine import cpu_threads, default_precision
from autofuse.foundation.registry import TRAINERS, load_registered
from autofuse.foundation.values import StoredValue, short_hash

if TYPE_CHECKING:
    from autofuse.plan.task import Task
    from autofuse.training.trainer import Trainer

SHORTEST_EPOCH_STEPS, LONGEST_EPOCH_STEPS = 10, 250
FEWEST_EPOCHS = 20
VALIDATION_SHARE = 0.1
_SIGNS = (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="))
FORWARD_SHARE = 1 / 3
"""A forward pass costs about a third of a training step of the same sample (backward: twice the forward)."""


class RunPlan(StoredValue):
    """One fold of one trainer on one plan. Written once; a run that goes on elsewhere keeps what was written.

    Attributes:
        plan_digest: of the plan; a copy stands beside run.json.
        trainer: registered name; fields: all its hyper-parameters, resolved.
        steps, minutes: the length; exactly one of them.
        steps_per_epoch: between two validations or checkpoints; a ceiling where the length is in minutes.
        validate_every: epochs between validations; where the length is in minutes the loop decides by the clock.
        threads: of torch on the CPU; another number gives other rounding.
        labelled, unlabelled: case ids that train; held_out: that validate.
        subjects: case id -> subject, where a subject has several cases; halves of a fold never separate them.
        taught_by: under which name the store keeps what teachers found in the unlabelled cases of this fold; it follows
            from the rest, and is no part of the run's name.
        prior_run: name of the run whose masks are the extra input of a cascade's second stage.
        compiled: whether networks go through torch.compile (CUDA only).
        ranks: processes that train together, each with its share of every batch. Batches are rounded up to a multiple
            of it; a run that has begun goes on with as many. Not written where it is 1.
        autofuse_version, torch_version: that started the run.
    """

    kind: ClassVar[str] = "run"

    plan_digest: str
    configuration: str
    trainer: str
    fields: dict[str, JsonValue]
    fold: int = Field(ge=0)
    seed: int = Field(ge=0)
    steps: int | None = Field(default=None, ge=1)
    minutes: float | None = Field(default=None, gt=0)
    steps_per_epoch: int = Field(ge=1)
    validate_every: int = Field(default=1, ge=1)
    threads: int = Field(ge=1)
    precision: Literal["fp32", "bf16", "fp16"]
    device: Literal["cpu", "cuda"]
    labelled: tuple[str, ...]
    unlabelled: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()
    subjects: dict[str, str] = Field(default_factory=dict)
    prior_run: str | None = None
    taught_by: str | None = None
    compiled: bool = False
    ranks: int = Field(default=1, ge=1)
    autofuse_version: str
    torch_version: str

    @model_serializer(mode="wrap")
    def _without_one_rank(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = serialise(self)
        if self.ranks == 1:  # a run of one process reads and hashes as it always did
            del content["ranks"]
        return content

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("a run has a length in steps or in minutes, exactly one of them")
        return self

    @property
    def prior_key(self) -> str | None:
        """Under which name the store keeps the earlier stage's masks for this fold; None without an earlier stage."""
        return None if self.prior_run is None else prior_key(self.prior_run, self.fold)

    def same_training(self, other: RunPlan) -> bool:
        """Whether both ask for the same training; the machine (threads, device, precision, versions) may differ."""
        return self.model_copy(update=other.machine()) == other

    def machine(self) -> dict[str, Any]:
        """The part that the machine decides, not the user."""
        names = ("threads", "device", "precision", "compiled", "autofuse_version", "torch_version")
        return {name: getattr(self, name) for name in names}


def prior_key(run: str, fold: int) -> str:
    """Under which name the store keeps the masks that ``run`` predicted for the sake of ``fold``."""
    return f"{run}-fold_{fold}"


def run_name(run: RunPlan) -> str:
    """``<configuration>-<trainer>-<hash8>``, the same for all folds; other settings have another hash."""
    identity = {
        "plan": run.plan_digest,
        "configuration": run.configuration,
        "trainer": run.trainer,
        "fields": run.fields,
        "seed": run.seed,
        "steps": run.steps,
        "minutes": run.minutes,
        "prior_run": run.prior_run,
    }
    return f"{run.configuration}-{run.trainer}-{short_hash(identity)}"


def plan_run(
    task: Task,
    name: str,
    trainer: Trainer,
    *,
    fold: int,
    labelled: Iterable[str],
    unlabelled: Iterable[str] = (),
    held_out: Iterable[str] = (),
    subjects: Mapping[str, str] | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    seed: int = 12345,
    threads: int | None = None,
    precision: Literal["fp32", "bf16", "fp16"] | None = None,
    device: str = "cpu",
    validation_patches: int = 0,
    prior_run: str | None = None,
    taught_by: str | None = None,
    compiled: bool = False,
    ranks: int = 1,
) -> RunPlan:
    """The run of ``trainer`` (registered as ``name``) on one fold; without a length, the plan's number of steps.

    Args:
        threads: of each process; None for an even share of the processors.
        ranks: processes that train together.
        validation_patches: forward passes of one patch that a validation takes; validations are spread so that they
            take about a tenth of the time, by counting patches, never by the clock, so that runs can be repeated.

    Raises:
        UsageError: if both lengths are given, or one is not positive.
    """
    import torch

    from autofuse import __version__

    if steps is not None and minutes is not None:
        raise UsageError(
            "A length in steps and one in minutes were given.",
            found=f"{steps} steps and {minutes:g} minutes",
            remedy="Give --steps or --minutes.",
        )
    if (steps is not None and steps < 1) or (minutes is not None and not minutes > 0):
        raise UsageError(
            "The length of training must be positive.",
            found=f"{steps} steps" if steps is not None else f"{minutes} minutes",
        )
    if steps is None and minutes is None:
        steps = task.plan.steps
    per_epoch = epoch_length(steps)
    kind: Literal["cpu", "cuda"] = "cuda" if device.startswith("cuda") else "cpu"
    budget = task.plan.budget
    return RunPlan(
        plan_digest=task.plan.digest(),
        configuration=task.configuration.name,
        trainer=name,
        fields=trainer_fields(trainer),
        fold=fold,
        seed=seed,
        steps=steps,
        minutes=None if minutes is None else float(minutes),
        steps_per_epoch=per_epoch,
        validate_every=validation_interval(validation_patches, task.configuration.batch * per_epoch),
        threads=max(1, cpu_threads() // ranks) if threads is None else threads,
        precision=precision or (budget.precision if budget.device == kind else default_precision(device)),
        device=kind,
        labelled=tuple(sorted(labelled)),
        unlabelled=tuple(sorted(unlabelled)),
        held_out=tuple(sorted(held_out)),
        subjects=dict(subjects or {}),
        prior_run=prior_run,
        taught_by=taught_by,
        compiled=compiled,
        ranks=ranks,
        autofuse_version=__version__,
        torch_version=str(torch.__version__),
    )


def epoch_length(steps: int | None) -> int:
    """Steps of an epoch: a twentieth of the run within bounds; the upper bound where the run is timed."""
    if steps is None:
        return LONGEST_EPOCH_STEPS
    return min(steps, max(SHORTEST_EPOCH_STEPS, min(LONGEST_EPOCH_STEPS, -(-steps // FEWEST_EPOCHS))))


def validation_interval(validation_patches: int, epoch_samples: int) -> int:
    """Epochs between validations so that forward passes of validation take at most ``VALIDATION_SHARE`` of the work."""
    work = validation_patches * FORWARD_SHARE
    return max(1, -int(-work // (VALIDATION_SHARE * epoch_samples)))


def parse_settings(settings: Iterable[str]) -> dict[str, JsonValue]:
    """``["consistency=0.3", "mode=joint"]`` as a mapping; a value is read as JSON, and as text where it is none.

    Raises:
        UsageError: if a setting is not ``name=value`` or a name comes twice.
    """
    fields: dict[str, JsonValue] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        name = name.strip()
        if not equals or not name.isidentifier():
            raise UsageError("A setting is not name=value.", found=setting, expected="for example learning_rate=0.005")
        if name in fields:
            raise UsageError(f"The setting {name!r} is given twice.", found=setting)
        try:
            fields[name] = json.loads(text)
        except ValueError:
            fields[name] = text.strip()
    return fields


def make_trainer(name: str, fields: Mapping[str, JsonValue] | None = None) -> Trainer:
    """The trainer registered as ``name`` with ``fields`` instead of its defaults.

    Raises:
        UsageError: if there is no such trainer, it has no such field, or a value is of the wrong type; the message
            lists the fields and their types.
    """
    kind: Any = load_registered(TRAINERS, name)
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        raise UsageError(f"What is registered as trainer {name!r} is not a dataclass.", found=repr(kind)[:120])
    types = _field_types(kind)
    values = {}
    for field, value in (fields or {}).items():
        if field not in types:
            raise UsageError(
                f"The trainer {name!r} has no field {field!r}.", found=field, expected=_describe(kind, types)
            )
        values[field] = _checked(name, field, value, kind, types)
    return cast("Trainer", kind(**values))


def trainer_fields(trainer: Trainer) -> dict[str, JsonValue]:
    """All hyper-parameters of ``trainer`` as JSON, defaults included."""
    types = _field_types(type(trainer))
    return {
        name: _adapter(kind).dump_python(getattr(trainer, name), mode="json") for name, kind in sorted(types.items())
    }


def _field_types(kind: type[Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind) if field.init}


def _adapter(kind: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(kind, config=ConfigDict(allow_inf_nan=False))
    except Exception:  # pydantic refuses a config for types that carry one of their own
        return TypeAdapter(kind)


def _checked(name: str, field: str, value: JsonValue, kind: type[Any], types: dict[str, Any]) -> Any:
    try:
        return _adapter(types[field]).validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        raise UsageError(
            f"The field {field!r} of trainer {name!r} does not take this value: {error.errors()[0]['msg']}.",
            found=json.dumps(value),
            expected=_describe(kind, types),
        ) from None


def _describe(kind: type[Any], types: dict[str, Any]) -> str:
    defaults = {field.name: field.default for field in dataclasses.fields(kind)}
    return ", ".join(f"{name}: {_type_name(hint)} = {defaults[name]!r}" for name, hint in types.items())


def _type_name(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Annotated:
        base, *notes = typing.get_args(hint)
        limits = [item for note in notes for item in getattr(note, "metadata", [note])]
        bounds = [f"{sign} {getattr(limit, key):g}" for limit in limits for key, sign in _SIGNS if hasattr(limit, key)]
        return f"{_type_name(base)} ({', '.join(bounds)})" if bounds else _type_name(base)
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
