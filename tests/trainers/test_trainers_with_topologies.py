"""The supervised trainer keeps the engine's rules with every topology."""

from __future__ import annotations

import pytest
import torch

from autofuse.networks import TOPOLOGIES
from autofuse.testing.conformance import run_checks
from autofuse.testing.examples import example_task
from autofuse.testing.trainer_checks import TASK_CHECKS
from autofuse.testing.trial import Trial
from autofuse_trainers.supervised import Supervised

SETTINGS = ((1, 2, False, False), (2, 3, False, False), (3, 2, True, True))


@pytest.mark.parametrize("setting", SETTINGS, ids=["one in 2D", "two in 3D", "three in a cascade with regions"])
@pytest.mark.parametrize("topology", sorted(set(TOPOLOGIES) - {"early"}))
def test_supervised_training_is_sound(topology: str, setting: tuple[int, int, bool, bool]) -> None:
    modalities, dimensions, regions, cascade = setting
    task = example_task(modalities, dimensions, regions=regions, cascade=cascade, topology=topology)  # type: ignore[arg-type]
    with torch.random.fork_rng(devices=[]):
        results = run_checks(TASK_CHECKS, Trial(Supervised(), task), topology)
    assert [(result.check, result.defects) for result in results if not result.passed] == []
