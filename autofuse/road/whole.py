"""The whole road in one command: from a folder of images to masks and scores, within a time if one is given."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autofuse.dataset.types import Dataset
from autofuse.foundation.console import say
from autofuse.foundation.errors import DataError, UsageError
from autofuse.foundation.workspace import Workspace
from autofuse.road.dials import Asked, Dials
from autofuse.road.fold import Method, Precision, chosen_trainer, prepare, stages, train_fold
from autofuse.road.groundwork import Ground, lay_ground
from autofuse.road.page import add_page
from autofuse.road.pilot import arbitrate, pilot_seconds
from autofuse.road.results import REPORT_FILE, FoldReport, RunReport
from autofuse.road.runs import TrainedFold, require_fold
from autofuse.road.steps import Device, Folder, check, explicit, method_of, open_both
from autofuse.road.suiting import suited
from autofuse.road.teaching import to_label
from autofuse.road.timetable import Clock, divide_time, settle_mirroring

if TYPE_CHECKING:
    from autofuse.evaluation.types import Scores
    from autofuse.road.prediction import Crew

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

    Raises:
        UsageError: if a pilot is to choose what is chosen already.
        DataError: if the data set has something that must be mended first; all of it is listed.
    """
    clock = Clock(minutes)
    pilot = pilot or pilot_minutes is not None
    if pilot:
        _require_open(configuration, trainer, settings)
    method = method_of(configuration, trainer, settings, steps, minutes, seed, precision)
    opened, place = open_both(dataset, workspace)
    if not place.fingerprint.exists():
        _require_good(opened, workers)
    count = ALL_FOLDS if folds is None else len(folds)
    shared_by = count if minutes is not None else None
    wishes: dict[str, Any] = {"expect_missing": expect_missing, "want_fused": want_fused, "topology": topology}
    asked = Asked(planner, explicit(device), memory_gib, minutes, shared_by, **wishes, vram_gib=vram_gib)

    def training_minutes(dials: Dials) -> float | None:
        return clock.planned_minutes(dials.shared_by or 1, pilot_seconds(minutes, pilot_minutes) if pilot else 0.0)

    ground = lay_ground(opened, place, asked, workers=workers, training_minutes=training_minutes)
    chosen = tuple(range(len(ground.splits.folds))) if folds is None else tuple(folds)
    for fold in chosen:
        require_fold(fold, len(ground.splits.folds))
    if pilot:
        ground = arbitrate(ground, minutes=pilot_minutes, whole_minutes=minutes, steps=steps, workers=workers)
    return _Road(suited(ground, trainer), method, chosen, clock, workers).travel()


def _require_open(configuration: str | None, trainer: str | None, settings: Mapping[str, Any] | None) -> None:
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


def _require_good(dataset: Dataset, workers: int | None) -> None:
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
        )
        method = self.method if table is None else replace(self.method, minutes=table.training_minutes)
        trained = [train_fold(self.ground, method, fold, workers=self.workers) for fold in self.folds]
        mirror = settle_mirroring(
            self.workspace.folder,
            table,
            self.ground.plan,
            self.clock,
            cases=self._to_predict(),
            step_s=_seconds_per_step(trained),
            judging=self._judging(),
        )
        scores = {fold.fold: self._held_out(fold, mirror) for fold in trained}
        crew = self._select(trained, mirror)
        report = self._report(trained, scores, crew, mirror)
        report = report.model_copy(update={"minutes": round(self._minutes(started), 2)})
        report.save(self.workspace.folder / REPORT_FILE)
        add_page(self.workspace, self.dataset.root, report.run)
        return report

    def _minutes(self, started: float) -> float:
        return (time.monotonic() - min(started, self.clock.started)) / 60

    def _judging(self) -> int:
        return sum(len(self.ground.splits.folds[fold][1]) for fold in self.folds)

    def _to_predict(self) -> int:
        taught = to_label(self.ground, chosen_trainer(self.ground, self.method)[1].teaching(), self.folds)
        return self._judging() + len(self.dataset.test_cases) * len(self.folds) + taught

    def _held_out(self, fold: TrainedFold, mirror: bool) -> Scores | None:
        from autofuse.road.judging import judge_held_out
        from autofuse.road.prediction import predict_held_out

        if not fold.plan.held_out:
            say(f"Fold {fold.fold} holds nothing out: there is nothing to judge it by.")
            return None
        predict_held_out(self.dataset, fold, mirror=mirror, device=self.ground.device, workers=self.workers, coded=True)
        return judge_held_out(self.dataset, fold, workers=self.workers)

    def _select(self, trained: list[TrainedFold], mirror: bool) -> Crew:
        """What predicts new cases: chosen from all runs where cases are held out, else what was trained just now."""
        from autofuse.road.crews import ensemble_crew
        from autofuse.road.prediction import crew_of
        from autofuse.road.selecting import select_ensemble

        if not any(fold.plan.held_out for fold in trained):
            return crew_of(trained)
        # Within a time, other runs compete only if that costs none.
        ensemble = select_ensemble(
            self.dataset,
            self.workspace,
            mirror=mirror,
            device=self.ground.device,
            workers=self.workers,
            only_ready=None if self.clock.minutes is None else trained[0].run,
        )
        for item in ensemble.evidence.left_out if ensemble.evidence is not None else ():
            if item.run == trained[0].run:
                say(f"{item.run} did not compete: {item.why}.")
        say(f"Chosen for new cases: {ensemble.in_words()}.")
        return ensemble_crew(self.workspace.runs, ensemble)

    def _report(
        self, trained: list[TrainedFold], scores: dict[int, Scores | None], crew: Crew, mirror: bool
    ) -> RunReport:
        from autofuse.road.judging import join_scores

        first = trained[0]
        report = RunReport(
            dataset=self.dataset.name,
            run=first.run,
            configuration=first.plan.configuration,
            trainer=first.plan.trainer,
            folds=tuple(self._fold_report(fold, scores[fold.fold]) for fold in trained),
            ensemble=crew.members or None,
            minutes=0.0,
        )
        known = [item for item in scores.values() if item is not None]
        if known:
            folder = self.workspace.scores / first.run / "held_out"
            joined = join_scores(self.dataset, known, folder)
            report = report.model_copy(
                update={"held_out_dice": joined.mean_dice, "held_out_scores": self._relative(folder)}
            )
        if self.dataset.test_cases:
            report = self._tests(report, crew, mirror)
        if self.ground.plan.budget.want_fused:
            self._fuse(trained, report)
        return report.model_copy(update={"pictures": self._pictures(trained, report)})

    def _fuse(self, trained: list[TrainedFold], report: RunReport) -> None:
        """Fused images beside the masks of held-out and of test cases, where the method makes any."""
        from autofuse.road.fusing import FUSED, fuse_into, that_fuse

        fusing = that_fuse(trained)
        for fold in fusing:
            cases = [case for case in self.dataset.cases if case.id in fold.plan.held_out]
            if cases:
                fuse_into(self.dataset, [fold], cases, fold.held_out / FUSED, self.ground.device)
        if fusing and report.predictions is not None:
            masks = self.workspace.folder / report.predictions
            fuse_into(self.dataset, fusing, self.dataset.test_cases, masks / FUSED, self.ground.device)

    def _fold_report(self, fold: TrainedFold, scores: Scores | None) -> FoldReport:
        assert fold.finished is not None
        return FoldReport(
            fold=fold.fold,
            folder=self._relative(fold.folder),
            steps=fold.finished.steps,
            minutes=round(fold.finished.seconds / 60, 2),
            held_out_cases=len(fold.plan.held_out),
            held_out_dice=None if scores is None else scores.mean_dice,
        )

    def _tests(self, report: RunReport, crew: Crew, mirror: bool) -> RunReport:
        from autofuse.evaluation.folder import evaluate_folder
        from autofuse.road.judging import references_of, subjects_of
        from autofuse.road.prediction import predict_with

        masks = predict_with(
            self.dataset,
            self.workspace,
            crew,
            mirror=mirror,
            device=self.ground.device,
            workers=self.workers,
            need_one=False,
        )
        changes: dict[str, Any] = {
            "predictions": self._relative(Path(masks.folder)),
            "predicted_cases": len(masks.cases),
            "failed": masks.failed,
            "incomplete": masks.incomplete,
        }
        references = references_of(self.dataset, self.dataset.test_cases)
        references = {name: path for name, path in references.items() if name in masks.cases}
        if references:
            folder = self.workspace.scores / crew.name / "test"
            scores = evaluate_folder(
                Path(masks.folder),
                references,
                self.dataset.labels,
                folder,
                subjects=subjects_of(self.dataset),
                workers=self.workers,
            )
            changes |= {"test_dice": scores.mean_dice, "test_scores": self._relative(folder)}
        return report.model_copy(update=changes)

    def _pictures(self, trained: list[TrainedFold], report: RunReport) -> tuple[str, ...]:
        from autofuse.road.pictures import draw_pictures

        return tuple(self._relative(path) for path in draw_pictures(self.dataset, self.workspace, trained, report))

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.workspace.folder).as_posix()


def _seconds_per_step(trained: Sequence[TrainedFold]) -> float:
    """What a step really took, with everything around it."""
    ended = [fold.finished for fold in trained if fold.finished is not None]
    return sum(item.seconds for item in ended) / max(1, sum(item.steps for item in ended))
