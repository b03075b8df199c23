"""Pictures of a finished run: slices of the images with the predicted and the true outlines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from autofuse.dataset.types import Case, Dataset
from autofuse.foundation.console import log
from autofuse.foundation.errors import AutofuseError
from autofuse.foundation.workspace import Workspace
from autofuse.road.results import RunReport
from autofuse.road.runs import TrainedFold

MOST_CASES = 6
"""Cases on one sheet."""


def draw_pictures(
    dataset: Dataset, workspace: Workspace, trained: Sequence[TrainedFold], report: RunReport
) -> list[Path]:
    """Sheets of held-out and of test cases in the workspace's report folder; a picture that fails is only logged."""
    made = []
    held_out = {case: fold.held_out for fold in trained for case in fold.plan.held_out}
    cases = [(case, held_out[case.id]) for case in dataset.cases if case.id in held_out]
    sheets = {"held_out": cases}
    if report.predictions is not None:
        bad = {item.case for item in report.failed}
        masks = workspace.folder / report.predictions
        sheets["test"] = [(case, masks) for case in dataset.test_cases if case.id not in bad]
    for name, wanted in sheets.items():
        if not wanted:
            continue
        path = workspace.report / f"{report.run}-{name}.png"
        try:
            _draw(dataset, wanted[:MOST_CASES], path)
        except (AutofuseError, OSError, ValueError) as error:
            log().warning("%s was not drawn: %s", path, error)
            continue
        made.append(path)
    return made


def _draw(dataset: Dataset, wanted: Sequence[tuple[Case, Path]], path: Path) -> None:
    raise ValueError("not yet")
