"""The end of the road: trained folds judged by their held-out cases, what predicts chosen, test cases predicted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autofuse.dataset.types import Dataset
from autofuse.foundation.console import say
from autofuse.foundation.workspace import Workspace
from autofuse.road.groundwork import Ground
from autofuse.road.page import add_page
from autofuse.road.results import REPORT_FILE, FoldReport, OtherRun, RunReport
from autofuse.road.runs import TrainedFold

if TYPE_CHECKING:
    from autofuse.evaluation.types import Scores
    from autofuse.road.prediction import Crew

Trained = Sequence[TrainedFold]
"""The folds of one run that a command has trained."""


@dataclass(frozen=True)
class Closing:
    """What comes after training; everything that is there is found, and nothing is made twice.

    Attributes:
        mirror: whether prediction averages over mirrored images.
    """

    ground: Ground
    workers: int | None
    mirror: bool = True

    @property
    def dataset(self) -> Dataset:
        """Whose road it is."""
        return self.ground.dataset

    @property
    def workspace(self) -> Workspace:
        """Where everything stands."""
        return self.ground.workspace

    def score(self, fold: TrainedFold) -> Scores | None:
        """Scores of the fold's held-out cases, predicted first; None where nothing is held out or known."""
        from autofuse.road.judging import judge_held_out

        if not fold.plan.held_out:
            say(f"Fold {fold.fold} holds nothing out: there is nothing to judge it by.")
            return None
        self.predict_held_out(fold)
        return judge_held_out(self.dataset, fold, workers=self.workers)

    def predict_held_out(self, fold: TrainedFold, share: tuple[int, int] | None = None) -> None:
        """Masks of the cases that a fold holds out, or of that share of them; with what an ensemble is chosen by."""
        from autofuse.road.prediction import predict_held_out

        predict_held_out(
            self.dataset,
            fold,
            mirror=self.mirror,
            device=self.ground.device,
            workers=self.workers,
            coded=not self.ground.plan.masks_per_modality,  # nothing is chosen where each modality has its own mask
            share=share,
        )

    def choose(self, runs: Sequence[Trained], *, only_ready: str | None = None) -> Crew:
        """What predicts new cases: chosen from all runs where cases are held out, else what was trained just now.

        Args:
            only_ready: of other runs than this one, only those compete whose held-out cases are predicted already.
        """
        from autofuse.road.crews import ensemble_crew
        from autofuse.road.prediction import crew_of
        from autofuse.road.selecting import select_ensemble

        if not self.chooses(runs):
            return crew_of(runs[0])
        ensemble = select_ensemble(
            self.dataset,
            self.workspace,
            mirror=self.mirror,
            device=self.ground.device,
            workers=self.workers,
            only_ready=only_ready,
        )
        own = {trained[0].run for trained in runs}
        for item in ensemble.evidence.left_out if ensemble.evidence is not None else ():
            if item.run in own:
                say(f"{item.run} did not compete: {item.why}.")
        say(f"Chosen for new cases: {ensemble.in_words()}.")
        return ensemble_crew(self.workspace.runs, ensemble)

    def chooses(self, runs: Sequence[Trained]) -> bool:
        """Whether there is what an ensemble is chosen by: cases held out, of one mask each."""
        if self.ground.plan.masks_per_modality:
            return False
        return any(fold.plan.held_out for trained in runs for fold in trained)

    def report(self, runs: Sequence[Trained], crew: Crew, minutes: Callable[[], float]) -> RunReport:
        """What was done, with the test cases predicted and judged; written to the workspace, with its page.

        Args:
            runs: the first is the one that the report tells of; others are named.
            minutes: that the command took until the report is written.
        """
        trained = runs[0]
        report = self._told(trained).model_copy(
            update={"ensemble": crew.members or None, "others": tuple(self._other(item) for item in runs[1:])}
        )
        if self.dataset.test_cases:
            report = self._tests(report, crew)
        if self.ground.plan.budget.want_fused:
            self._fuse(trained, report)
        report = report.model_copy(update={"pictures": self._pictures(trained, report)})
        report = report.model_copy(update={"minutes": round(minutes(), 2)})
        report.save(self.workspace.folder / REPORT_FILE)
        add_page(self.workspace, self.dataset.root, report.run)
        return report

    def _told(self, trained: Trained) -> RunReport:
        """One run and its folds, with its held-out scores."""
        from autofuse.road.judging import join_scores, kept_scores

        first = trained[0]
        scores = {fold.fold: kept_scores(fold) for fold in trained}
        report = RunReport(
            dataset=self.dataset.name,
            run=first.run,
            configuration=first.plan.configuration,
            trainer=first.plan.trainer,
            folds=tuple(self._fold_report(fold, scores[fold.fold]) for fold in trained),
            minutes=0.0,
        )
        known = [item for item in scores.values() if item is not None]
        if not known:
            return report
        folder = self.workspace.scores / first.run / "held_out"
        joined = join_scores(self.dataset, known, folder)
        return report.model_copy(update={"held_out_dice": joined.mean_dice, "held_out_scores": self._relative(folder)})

    def _other(self, trained: Trained) -> OtherRun:
        told = self._told(trained)
        return OtherRun(**{name: getattr(told, name) for name in OtherRun.model_fields})

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

    def _fuse(self, trained: Trained, report: RunReport) -> None:
        """Fused images beside the masks of held-out and of test cases, where the method makes any."""
        from autofuse.road.fusing import FUSED, fuse_into, that_fuse

        fusing = that_fuse(list(trained))
        for fold in fusing:
            cases = [case for case in self.dataset.cases if case.id in fold.plan.held_out]
            if cases:
                fuse_into(self.dataset, [fold], cases, fold.held_out / FUSED, self.ground.device)
        if fusing and report.predictions is not None:
            masks = self.workspace.folder / report.predictions
            fuse_into(self.dataset, fusing, self.dataset.test_cases, masks / FUSED, self.ground.device)

    def _tests(self, report: RunReport, crew: Crew) -> RunReport:
        from autofuse.evaluation.folder import evaluate_folder
        from autofuse.road.judging import modalities_of, references_of, subjects_of
        from autofuse.road.prediction import predict_with

        masks = predict_with(
            self.dataset,
            self.workspace,
            crew,
            mirror=self.mirror,
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
        references = references_of(self.dataset, [case for case in self.dataset.test_cases if case.id in masks.cases])
        if references:
            folder = self.workspace.scores / crew.name / "test"
            scores = evaluate_folder(
                Path(masks.folder),
                references,
                self.dataset.labels,
                folder,
                subjects=subjects_of(self.dataset),
                workers=self.workers,
                modalities=modalities_of(self.dataset),
            )
            changes |= {"test_dice": scores.mean_dice, "test_scores": self._relative(folder)}
        return report.model_copy(update=changes)

    def _pictures(self, trained: Trained, report: RunReport) -> tuple[str, ...]:
        from autofuse.road.pictures import draw_pictures

        return tuple(
            self._relative(path) for path in draw_pictures(self.dataset, self.workspace, list(trained), report)
        )

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.workspace.folder).as_posix()
