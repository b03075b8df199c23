"""What `autofuse run` was asked for, as a value: enough for any process on any machine to do a part of it."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import Field, JsonValue

from autofuse.foundation.errors import ModelError, UsageError
from autofuse.foundation.values import Value
from autofuse.road.dials import Asked
from autofuse.road.fold import DEFAULT_SEED, Method
from autofuse.units.shape import Graph

CASES_A_UNIT = 50
"""Cases that are prepared or predicted by one command, unless another number is asked for."""


class RunOrder(Value):
    """What is asked for. It says nothing of the machine, apart from the kind of device.

    Attributes:
        folds: to be trained; None for all.
        trainers: by registered name; empty for the plan's choice.
        settings: of every trainer that is trained.
        fold_minutes: for training one fold; steps: its length instead. None of both: as planned.
        gpus: processes that train a fold together, each on a GPU of its own; on the CPU they share it.
        memory_gib ... topology: dials and wishes of the plan; None leaves them as they were.
        pilot_minutes: for a pilot, which then takes place.
        cases_a_unit: of a share that is prepared or predicted by one command.
    """

    folds: tuple[int, ...] | None = (0,)
    configuration: str | None = None
    trainers: tuple[str, ...] = ()
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    steps: int | None = Field(default=None, ge=1)
    fold_minutes: float | None = Field(default=None, gt=0)
    seed: int = Field(default=DEFAULT_SEED, ge=0)
    precision: Literal["fp32", "bf16", "fp16"] | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    gpus: int = Field(default=1, ge=1)
    memory_gib: float | None = Field(default=None, gt=0)
    vram_gib: float | None = Field(default=None, gt=0)
    planner: str | None = None
    expect_missing: bool | None = None
    want_fused: bool | None = None
    topology: str | None = None
    pilot: bool = False
    pilot_minutes: float | None = Field(default=None, gt=0)
    cases_a_unit: int = Field(default=CASES_A_UNIT, ge=1)

    @property
    def methods(self) -> tuple[str | None, ...]:
        """The trainers; None for the plan's choice."""
        return self.trainers or (None,)

    def asked(self) -> Asked:
        """What it asks of the plan.

        Raises:
            UsageError: if CUDA is asked for and is not here.
        """
        from autofuse.road.steps import explicit

        return Asked(
            planner=self.planner,
            device=explicit(self.device),
            memory_gib=self.memory_gib,
            minutes=self.fold_minutes,
            expect_missing=self.expect_missing,
            want_fused=self.want_fused,
            topology=self.topology,
            vram_gib=self.vram_gib,
        )

    def method(self, trainer: str | None) -> Method:
        """What is trained by ``trainer``, apart from minutes, which are divided among a cascade's stages."""
        return Method(
            configuration=self.configuration,
            trainer=trainer,
            settings=dict(self.settings),
            steps=self.steps,
            seed=self.seed,
            precision=self.precision,
            gpus=self.gpus,
        )

    def identity(self) -> dict[str, Any]:
        """All that decides what one unit leaves: which other folds there are does not."""
        return self.model_dump(mode="json", exclude={"folds"})


def order_of(graph: Graph) -> RunOrder:
    """What the units of ``graph`` were made for.

    Raises:
        ModelError: if this version does not understand it.
    """
    try:
        return RunOrder.model_validate_json(json.dumps(graph.order.get("asked")))
    except ValueError as error:
        raise ModelError(
            "The order of these work units is not one that this version understands.",
            found=str(error).splitlines()[0],
            remedy="Give `autofuse run` again, with its options.",
        ) from None


def require_possible(order: RunOrder) -> None:
    """Nothing, if the order can be meant.

    Raises:
        UsageError: if two things exclude each other.
    """
    if order.steps is not None and order.fold_minutes is not None:
        raise UsageError(
            "A length in steps and one in minutes were given.",
            found=f"{order.steps} steps and {order.fold_minutes:g} minutes",
            remedy="Give --steps or --fold-minutes.",
        )
    if order.pilot or order.pilot_minutes is not None:
        from autofuse.road.whole import require_open

        require_open(order.configuration, ",".join(order.trainers) or None, order.settings)
    if order.vram_gib is not None and (order.device == "cpu" or order.memory_gib is not None):
        order.model_copy(update={"device": "cpu"}).asked().turned(None, "cpu")  # refuses, with the reason
    if len(set(order.trainers)) < len(order.trainers):
        raise UsageError("A trainer is named twice.", found=", ".join(order.trainers))
