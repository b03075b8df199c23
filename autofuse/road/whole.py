"""The whole road in one command: from a folder of images to masks and scores, within a time if one is given."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from autofuse.dataset.types import Dataset
from autofuse.foundation.console import say
from autofuse.foundation.errors import DataError, UsageError
from autofuse.foundation.seat import started_seat
from autofuse.foundation.workspace import Workspace
from autofuse.road.closing import Closing
from autofuse.road.dials import Asked, Dials
from autofuse.road.fold import Method, Precision, chosen_trainer, prepare, stages, train_fold
from autofuse.road.groundwork import Ground, lay_ground
from autofuse.road.pilot import arbitrate, pilot_seconds
from autofuse.road.results import RunReport
from autofuse.road.runs import TrainedFold, require_fold
from autofuse.road.steps import Device, Folder, check, explicit, method_of, open_both
from autofuse.road.suiting import suited
from autofuse.road.teaching import to_label
from autofuse.road.timetable import Clock, divide_time, settle_mirroring
from autofuse.road.together import require_gpus

PROBLEMS_TOLD = 20
ALL_FOLDS = 5
"""How many folds share the time when all are asked for and the splits are not made yet."""


def run(
    dataset: Folder,
    *,
    workspace: Folder | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    folds: Sequence[int] | None = (0,),
    memory_gib: float | None = None,
    vram_gib: float | None = None,
    planner: str | None = None,
    expect_missing: bool | None = None,
    want_fused: bool | None = None,
    topology: str | None = None,
    configuration: str | None = None,
    trainer: str | None = None,
    settings: Mapping[str, Any] | None = None,
    pilot: bool = False,
    pilot_minutes: float | None = None,
    seed: int | None = None,
    precision: Precision | None = None,
    gpus: int = 1,
    device: Device = "auto",
    workers: int | None = None,
) -> RunReport:
    """The report of a finished road: checked, measured, planned, prepared, trained, predicted, scored.

    Stopped at any moment and called again with the same arguments, it goes on where it was.

    Args:
        minutes: for everything; what the other steps take is not left for training.
        steps: length of training one fold instead; the result then does not depend on the clock.
        folds: to be trained; None for all.
        memory_gib, vram_gib: the memory dial, as in ``plan``.
        expect_missing, want_fused, topology: wishes, as in ``plan``; None leaves them as they were.
        pilot: try the plan's challengers first, and train what wins.
        pilot_minutes: for that, instead of a tenth of ``minutes`` (or of training one fold, without a time).
        gpus: processes that train a fold together, each on a GPU of its own; on the CPU they share it.

    Raises:
        UsageError: if a pilot is to choose what is chosen already, or there are not as many GPUs.
        DataError: if the data set has something that must be mended first; all of it is listed.
    """
    clock = Clock(minutes)
    pilot = pilot or pilot_minutes is not None
    if pilot:
        require_open(configuration, trainer, settings)
    _require_alone()
    require_gpus(device, gpus)
    method = replace(method_of(configuration, trainer, settings, steps, minutes, seed, precision), gpus=gpus)
    opened, place = open_both(dataset, workspace)
    if not place.fingerprint.exists():
        require_good(opened, workers)
    count = ALL_FOLDS if folds is None else len(folds)
    shared_by = count if minutes is not None else None
    wishes: dict[str, Any] = {"expect_missing": expect_missing, "want_fused": want_fused, "topology": topology}
    asked = Asked(planner, explicit(device), memory_gib, minutes, shared_by, **wishes, vram_gib=vram_gib)

    def training_minutes(dials: Dials) -> float | None:
        return clock.planned_minutes(dials.shared_by or 1, pilot_seconds(minutes, pilot_minutes) if pilot else 0.0)

    ground = lay_ground(opened, place, asked, workers=workers, training_minutes=training_minutes)
    require_gpus(ground.device, gpus)
    chosen = tuple(range(len(ground.splits.folds))) if folds is None else tuple(folds)
    for fold in chosen:
        require_fold(fold, len(ground.splits.folds))
    if pilot:
        ground = arbitrate(ground, minutes=pilot_minutes, whole_minutes=minutes, steps=steps, workers=workers)
    return _Road(suited(ground, trainer), method, chosen, clock, workers).travel()


def _require_alone() -> None:
    if started_seat() is not None:
        raise UsageError(
            "A launcher has started this command several times, and it can be done only once.",
            found="RANK and WORLD_SIZE are set",
            remedy="autofuse run ... --gpus N starts the processes that it needs; torchrun can start `autofuse train`.",
        )


def require_open(configuration: str | None, trainer: str | None, settings: Mapping[str, Any] | None) -> None:
    """Nothing, if the command leaves to a pilot what a pilot decides.

    Raises:
        UsageError: if it does not.
    """
    named = {"--configuration": configuration, "--trainer": trainer, "--set": settings}
    given = [option for option, value in named.items() if value]
    if given:
        raise UsageError(
            "A pilot is to find out what is trained, and the command says it already.",
            found=", ".join(given),
            remedy=f"Leave out --pilot, or {' and '.join(given)}.",
        )


def require_good(dataset: Dataset, workers: int | None) -> None:
    """Nothing, if the data set can be used; warnings are told.

    Raises:
        DataError: naming every error.
    """
    say("Checking the data set.")
    report = check(dataset.root, workers=workers)
    for problem in report.warnings[:PROBLEMS_TOLD]:
        say(f"Warning: {problem.case or problem.file or ''} {problem.cause}".replace("  ", " "))
    if len(report.warnings) > PROBLEMS_TOLD:
        say(f"… and {len(report.warnings) - PROBLEMS_TOLD} more warnings; `autofuse check {dataset.root}` lists all.")
    if report.ok:
        return
    if len(report.errors) == 1:
        raise report.errors[0].as_error()
    lines = [f"{item.case or item.file or dataset.name}: {item.cause}" for item in report.errors[:PROBLEMS_TOLD]]
    if len(report.errors) > PROBLEMS_TOLD:
        lines.append(f"and {len(report.errors) - PROBLEMS_TOLD} more")
    raise DataError(
        f"This data set has {len(report.errors)} problems that keep it from being used.",
        file=dataset.root,
        found="\n    " + "\n    ".join(lines),
        remedy=f"autofuse check {dataset.root}",
    )


@dataclass(frozen=True)
class _Road:
    """The part of the road after the ground is laid."""

    ground: Ground
    method: Method
    folds: tuple[int, ...]
    clock: Clock
    workers: int | None

    @property
    def dataset(self) -> Dataset:
        return self.ground.dataset

    @property
    def workspace(self) -> Workspace:
        return self.ground.workspace

    def travel(self) -> RunReport:
        started = time.monotonic()
        parts = stages(self.ground, self.method.configuration)
        for configuration in parts:
            prepare(self.ground, configuration, self.workers)
        table = divide_time(
            self.workspace.folder,
            self.ground.plan,
            parts,
            self.clock,
            folds=len(self.folds),
            cases=self._to_predict(),
            training_cases=len(self.dataset.cases),
            judging=self._judging(),
            fused=self._to_fuse(),
        )
        method = self.method if table is None else replace(self.method, minutes=table.training_minutes)
        for earlier in parts[:-1]:
            # Of a cascade's first stage all folds come first: a case's masks are then from the fold that held it out.
            for fold in self.folds:
                train_fold(self.ground, replace(method, configuration=earlier.name), fold, workers=self.workers)
        trained = [train_fold(self.ground, method, fold, workers=self.workers) for fold in self.folds]
        mirror = settle_mirroring(
            self.workspace.folder,
            table,
            self.ground.plan,
            self.clock,
            cases=self._to_predict(),
            step_s=_seconds_per_step(trained),
            judging=self._judging(),
            fused=self._to_fuse(),
        )
        closing = Closing(self.ground, self.workers, mirror)
        for ended in trained:
            closing.score(ended)
        # Within a time, other runs compete only if that costs none.
        crew = closing.choose([trained], only_ready=None if self.clock.minutes is None else trained[0].run)
        return closing.report([trained], crew, lambda: self._minutes(started))

    def _minutes(self, started: float) -> float:
        return (time.monotonic() - min(started, self.clock.started)) / 60

    def _judging(self) -> int:
        return sum(len(self.ground.splits.folds[fold][1]) for fold in self.folds) * self._masks()

    def _masks(self) -> int:
        """How many masks are predicted of a case, one after the other."""
        plan = self.ground.plan
        return len(plan.modalities) if plan.masks_per_modality else 1

    def _to_predict(self) -> int:
        taught = to_label(self.ground, chosen_trainer(self.ground, self.method)[1].teaching(), self.folds)
        return self._judging() + len(self.dataset.test_cases) * len(self.folds) * self._masks() + taught

    def _to_fuse(self) -> int:
        if not self.ground.plan.budget.want_fused:
            return 0
        return self._judging() + len(self.dataset.test_cases) * len(self.folds)


def _seconds_per_step(trained: Sequence[TrainedFold]) -> float:
    """What a step really took, with everything around it."""
    ended = [fold.finished for fold in trained if fold.finished is not None]
    return sum(item.seconds for item in ended) / max(1, sum(item.steps for item in ended))
