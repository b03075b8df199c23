"""Two methods under one plan differ in nothing but the method."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from autofuse.plan.types import TrainerChoice
from autofuse.road.fold import Method, chosen_trainer


def _ground(fields: dict[str, Any]) -> Any:
    return cast(Any, SimpleNamespace(plan=SimpleNamespace(trainer=TrainerChoice(name="supervised", fields=fields))))


def test_the_plans_augmentation_counts_for_every_trainer() -> None:
    ground = _ground({"rotation": 0.5, "dice_weight": 0.7})
    name, planned = chosen_trainer(ground, Method())
    assert (name, planned.rotation, planned.dice_weight) == ("supervised", 0.5, 0.7)  # type: ignore[attr-defined]
    name, other = chosen_trainer(ground, Method(trainer="partial"))
    assert (name, other.rotation, other.dice_weight) == ("partial", 0.5, 1.0)  # type: ignore[attr-defined]


@pytest.mark.parametrize("trainer", [None, "partial"])
def test_a_setting_of_the_command_wins(trainer: str | None) -> None:
    _, chosen = chosen_trainer(_ground({"rotation": 0.5}), Method(trainer=trainer, settings={"rotation": 0.1}))
    assert chosen.rotation == 0.1
