"""What the last steps of the road hand back."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from autofuse.foundation.values import StoredValue, Value, is_empty

REPORT_FILE = "report.json"


class FailedCase(Value):
    """A case that could not be predicted, and why."""

    case: str
    problem: str


class IncompleteCase(Value):
    """A case that was predicted from less than all modalities, whole.

    Attributes:
        absent: modalities that it lacks; partly: (modality, share of the image that it covers).
        words: the same for people.
    """

    case: str
    absent: tuple[str, ...] = ()
    partly: tuple[tuple[str, float], ...] = ()
    words: str


class Predicted(StoredValue):
    """Masks of one command `autofuse predict`.

    Attributes:
        run, folds: whose models were averaged; of an ensemble its name and all folds.
        members: of an ensemble, in words.
        folder: where the masks are, absolute.
        cases: that have a mask now; failed: the others.
        volumes: table of volumes, absolute, where uncertainty was asked for.
        incomplete: those of ``cases`` that lack a modality, or see a part of the image only with it.
        fused: where the fused images are, absolute; None where none were asked for.
        masks: names of the masks where each modality has its own; () where they are called like the cases.
    """

    kind: ClassVar[str] = "predicted"

    run: str
    folds: tuple[int, ...]
    members: str = ""
    folder: str
    cases: tuple[str, ...]
    failed: tuple[FailedCase, ...] = ()
    incomplete: tuple[IncompleteCase, ...] = ()
    fused: str | None = None
    volumes: str | None = None
    masks: tuple[str, ...] = Field(default=(), exclude_if=is_empty)


class FoldReport(Value):
    """One trained fold. ``held_out_dice``: mean over classes of the mean over its held-out cases, native grid."""

    fold: int
    folder: str
    steps: int
    minutes: float
    held_out_cases: int
    held_out_dice: float | None


class OtherRun(Value):
    """A run of another trainer that the same command has trained; fields as of ``RunReport``."""

    run: str
    configuration: str
    trainer: str
    folds: tuple[FoldReport, ...]
    held_out_dice: float | None = None
    held_out_scores: str | None = None


class RunReport(StoredValue):
    """What `autofuse run` did; stands as report.json in the workspace. Paths are relative to the workspace's folder.

    Attributes:
        held_out_dice: over the held-out cases of all folds of this run; None where nothing is held out.
        held_out_scores: folder of their tables.
        others: runs of further trainers, where several were asked for.
        ensemble: what was chosen from all runs, in words; it is in ensemble.json. None where nothing is held out.
        predictions: folder of the masks of the test cases, or None without test cases.
        incomplete: test cases that were predicted from less than all modalities, whole.
        test_dice, test_scores: where the data set has references for its test cases.
        pictures: files for people.
        minutes: that the command took this time; of a run in work units, what all units took together.
    """

    kind: ClassVar[str] = "run_report"

    dataset: str
    run: str
    configuration: str
    trainer: str
    folds: tuple[FoldReport, ...]
    held_out_dice: float | None = None
    held_out_scores: str | None = None
    others: tuple[OtherRun, ...] = ()
    ensemble: str | None = None
    predictions: str | None = None
    predicted_cases: int = 0
    failed: tuple[FailedCase, ...] = ()
    incomplete: tuple[IncompleteCase, ...] = ()
    test_dice: float | None = None
    test_scores: str | None = None
    pictures: tuple[str, ...] = ()
    minutes: float

    def absolute(self, folder: Path) -> dict[str, str]:
        """The paths of this report, absolute, by name; ``folder`` is the workspace's."""
        named = {
            "held_out_scores": self.held_out_scores,
            "predictions": self.predictions,
            "test_scores": self.test_scores,
            **{f"fold_{item.fold}": item.folder for item in self.folds},
        }
        return {name: str(folder / path) for name, path in named.items() if path is not None}
