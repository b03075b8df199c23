"""Pictures of a finished run: slices of the images with the predicted and the true masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autofuse.dataset.types import Case, Dataset
from autofuse.foundation.console import log
from autofuse.foundation.errors import AutofuseError
from autofuse.foundation.workspace import Workspace
from autofuse.road.results import RunReport
from autofuse.road.runs import TrainedFold, read_plan
from autofuse.road.spreading import evenly

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from autofuse.dataset.raw import RawCase
    from autofuse.evaluation.types import Scores
    from autofuse.report.overlays import Pictured

MOST_CASES = 5
"""Cases on one sheet, evenly spread from the worst to the best."""


@dataclass(frozen=True)
class Shown:
    """A case with the folder of its mask, and how well that fits."""

    case: Case
    masks: Path
    dice: float | None


def draw_pictures(
    dataset: Dataset, workspace: Workspace, trained: Sequence[TrainedFold], report: RunReport
) -> list[Path]:
    """Sheets of held-out and of test cases in the workspace's report folder; a picture that fails is only logged."""
    held_out = {case: fold.held_out for fold in trained for case in fold.plan.held_out}
    judged = _dice_of(workspace, report.held_out_scores)
    sheets = {
        "held-out": [
            Shown(case, held_out[case.id], judged.get(case.id)) for case in dataset.cases if case.id in held_out
        ]
    }
    if report.predictions is not None:
        bad, judged = {item.case for item in report.failed}, _dice_of(workspace, report.test_scores)
        masks = workspace.folder / report.predictions
        sheets["test"] = [Shown(case, masks, judged.get(case.id)) for case in dataset.test_cases if case.id not in bad]
    if dataset.labels_per_modality:
        return []
    made = []
    for name, shown in sheets.items():
        path = workspace.report / f"{report.run}-{name}.png"
        try:
            if shown:
                reference = read_plan(trained[0]).reference
                _draw(dataset, spread(shown), reference, f"{dataset.name}: {name} cases, {report.run}", path)
                made.append(path)
        except (AutofuseError, OSError, ValueError) as error:
            log().warning("%s was not drawn: %s", path, error)
    return made


def spread(shown: Sequence[Shown], most: int = MOST_CASES) -> list[Shown]:
    """At most ``most`` of them, evenly spread from the worst to the best; those without a score come last."""
    ordered = sorted(shown, key=lambda item: (item.dice is None, item.dice or 0.0, item.case.id))
    return evenly(ordered, most)


def _draw(dataset: Dataset, shown: Sequence[Shown], reference: int, title: str, path: Path) -> None:
    from autofuse.foundation.files import write_bytes
    from autofuse.report.overlays import sheet

    cases = [pictured(dataset, item, reference) for item in shown]
    write_bytes(path, sheet(cases, dataset.labels, [modality.name for modality in dataset.modalities], title))


def pictured(dataset: Dataset, item: Shown, reference: int) -> Pictured:
    """The case as it is to be drawn, all on its reference grid.

    Raises:
        AutofuseError: if one of its files is missing or damaged.
    """
    from autofuse.dataset.raw import load_case, load_truth
    from autofuse.report.overlays import Pictured
    from autofuse.road.cascade import read_mask

    raw = load_case(dataset, item.case, with_label=False, reference=reference)
    truth = load_truth(dataset, item.case)
    return Pictured(
        name=item.case.id,
        images=[on_reference_grid(raw, channel) for channel in range(len(raw.images))],
        reference=None if truth is None else truth[0],
        prediction=read_mask(dataset, item.case, item.masks),
        geometry=raw.geometry,
        note="" if item.dice is None else f"Dice {item.dice:.3f}",
    )


def on_reference_grid(raw: RawCase, channel: int) -> NDArray[Any] | None:
    """A modality on the case's reference grid, 0 outside its field of view; None where it is absent."""
    from autofuse.alignment.regrid import regrid

    image = raw.images[channel]
    if image is None or raw.on_reference(channel):
        return None if image is None else image.voxels
    return regrid(image.voxels, image.geometry, raw.geometry, order=1)[0]


def _dice_of(workspace: Workspace, place: str | None) -> dict[str, float | None]:
    """Mean Dice by case from the tables in ``place``."""
    from autofuse.evaluation.folder import SCORES_FILE
    from autofuse.evaluation.types import Scores

    if place is None:
        return {}
    scores: Scores = Scores.load(workspace.folder / place / SCORES_FILE)
    return {case.case: case.mean_dice for case in scores.cases}
