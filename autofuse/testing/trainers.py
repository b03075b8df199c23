"""``check_trainer``: does a training method keep the rules that the engine's loop and prediction rely on?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from autofuse.testing.conformance import CheckResult, ConformanceError, run_checks
from autofuse.testing.examples import example_task
from autofuse.testing.trainer_checks import DECLARATION_CHECKS, TASK_CHECKS
from autofuse.testing.trial import Trial
from autofuse.training.trainer import Trainer


@dataclass(frozen=True)
class Setting:
    """One kind of data to try a trainer on."""

    modalities: int
    dimensions: Literal[2, 3]
    regions: bool = False
    cascade: bool = False

    def __str__(self) -> str:
        kind = "regions" if self.regions else "classes"
        return f"{self.dimensions}D, M = {self.modalities}, {kind}{', cascade' if self.cascade else ''}"


SETTINGS = (
    Setting(modalities=1, dimensions=2),
    Setting(modalities=2, dimensions=3),
    Setting(modalities=3, dimensions=2, regions=True),
    Setting(modalities=2, dimensions=3, regions=True, cascade=True),
    Setting(modalities=3, dimensions=3),
)


def check_trainer(
    trainer: type[Trainer] | Trainer, *, settings: tuple[Setting, ...] = SETTINGS
) -> tuple[CheckResult, ...]:
    """The results of every check, all passed; seconds on one core. The global random state is left as it was.

    Args:
        trainer: the class (its defaults are tried), or one value of it.
        settings: kinds of data to try it on.

    Raises:
        ConformanceError: if a check fails, listing every defect of every check.
    """
    kind = trainer if isinstance(trainer, type) else type(trainer)
    results = run_checks(DECLARATION_CHECKS, kind, "declaration")
    value = trainer
    if isinstance(value, type):
        try:
            value = value()
        except Exception as error:
            defect = f"{kind.__name__}() raised {type(error).__name__}: {error}; give every field a default"
            raise ConformanceError(
                kind.__name__, [*results, CheckResult("construct", "defaults", (defect,))]
            ) from error
    with torch.random.fork_rng(devices=[]):
        for setting in settings:
            task = example_task(
                setting.modalities,
                setting.dimensions,
                regions=setting.regions,
                cascade=setting.cascade,
                topology=getattr(kind, "topology", None) or "early",
            )
            results += run_checks(TASK_CHECKS, Trial(value, task), str(setting))
    if not all(result.passed for result in results):
        raise ConformanceError(kind.__name__, results)
    return tuple(results)
