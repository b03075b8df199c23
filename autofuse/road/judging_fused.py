"""Fused images judged: scores of a folder of them, the trivial fusions beside, and a frozen segmenter's Dice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from autofuse.foundation.console import Advance, log, progress, say
from autofuse.foundation.errors import AutofuseError, DataError, ModelError
from autofuse.road.steps import Device, Folder, explicit, open_both

if TYPE_CHECKING:
    from autofuse.dataset.types import Dataset
    from autofuse.evaluation.fusion.folder import FusedCase
    from autofuse.evaluation.fusion.greys import Window
    from autofuse.evaluation.fusion.segmenter import Segmenter
    from autofuse.evaluation.fusion.types import CaseDice, CaseFusion, FusionScores, Segmented
    from autofuse.evaluation.types import Failure

SCORES_FILE, TABLE_FILE = "fusion_scores.json", "fusion_scores.csv"
TRIVIAL_FOLDER = "trivial_fusions"
"""Where tables of trivial fusions alone go, in the workspace's folder of scores."""


def judge_fused(
    dataset: Folder,
    fused: Folder | None = None,
    *,
    segmenter: Folder | None = None,
    windows: Mapping[str, Window] | None = None,
    out: Folder | None = None,
    workspace: Folder | None = None,
    device: Device = "auto",
    workers: int | None = None,
) -> tuple[FusionScores, Path]:
    """Scores of fused images beside those of the trivial fusions, and the folder that their tables are in.

    Stopped at any moment, the same call goes on; scores of unchanged images are kept.

    Args:
        fused: folder of ``<case><ending>`` on the cases' reference grids; None for the trivial fusions alone.
        segmenter: folder of a run, of one of its folds, or of a workspace with finished runs (the newest is taken),
            trained on one modality and on neither kind of fused image.
        windows: by modality, and "fused", the intensities that become 0 and 1; percentiles where none is given.
        out: where tables and records go; None for the workspace's folder of scores.

    Raises:
        DataError: if there is nothing to judge, or no case could be.
        ModelError: if the segmenter cannot judge such images.
    """
    from autofuse.evaluation.fusion.folder import find_fused, require_known, score_cases
    from autofuse.evaluation.types import Failure
    from autofuse.foundation.machine import default_device
    from autofuse.road.groundwork import waiting_lock

    opened, place = open_both(dataset, workspace)
    images = None if fused is None else Path(fused).absolute()
    declared = dict(windows or {})
    require_known(declared, opened)
    wanted = find_fused(opened, images)
    where = "cpu" if segmenter is None else default_device(explicit(device))
    judge = None if segmenter is None else _open_segmenter(opened, Path(segmenter), where)
    folder = Path(out) if out is not None else place.scores / (images.name if images else TRIVIAL_FOLDER)
    say(f"Judging {len(wanted)} cases.")
    with waiting_lock(folder):
        outcomes = score_cases(opened, wanted, folder, declared, workers)
        cases = [item.value for item in outcomes if item.value is not None]
        failed = [Failure(case=item.name, problem=str(item.error)) for item in outcomes if item.error is not None]
        if not cases:
            raise _nothing_judged(images, failed)
        judged = {case.case for case in cases}
        dice, part = _segment(
            opened, [item for item in wanted if item.case.id in judged], judge, folder, declared, where
        )
        scores = _summed_up(opened, images, declared, cases, failed, dice, part)
        _write(scores, folder)
    return scores, folder


def _open_segmenter(dataset: Dataset, folder: Path, device: str) -> Segmenter:
    from autofuse.evaluation.fusion.segmenter import load_segmenter

    return load_segmenter(folder.absolute(), segmenter_folds(folder), dataset.labels, device)


def segmenter_folds(folder: Path) -> list[Path]:
    """Folders of the finished folds that ``folder`` means: a fold, a run, or a workspace of a data set.

    Raises:
        ModelError: if there is none.
    """
    from autofuse.foundation.workspace import Workspace
    from autofuse.road.runs import FINISHED_FILE, RUN_FILE, choose_run

    folder = folder.absolute()
    if (folder / "runs").is_dir():
        return [fold.folder for fold in choose_run(Workspace(folder.parent, folder.name))]
    folds = [folder] if (folder / RUN_FILE).is_file() else sorted(path.parent for path in folder.glob(f"*/{RUN_FILE}"))
    finished = [fold for fold in folds if (fold / FINISHED_FILE).is_file()]
    if not finished:
        raise ModelError(
            "No finished training run is here to segment with.",
            file=folder,
            found=", ".join(fold.name for fold in folds) or "no run",
            expected="the folder of a run, of one of its folds, or of a data set in a workspace",
            remedy="`autofuse info DATASET` lists the runs of a data set.",
        )
    return finished


def _segment(
    dataset: Dataset,
    wanted: Sequence[FusedCase],
    segmenter: Segmenter | None,
    out: Path,
    windows: Mapping[str, Window],
    device: str,
) -> tuple[list[CaseDice], Segmented | None]:
    """Dice of all rows of the cases that the segmenter can judge, and which those are."""
    from autofuse.evaluation.fusion.segmenter import segment_case
    from autofuse.evaluation.fusion.types import Segmented

    if segmenter is None:
        return [], None
    found, left_out = [], {}
    with progress("segment", len(wanted)) as advance:
        for item in wanted:
            tell = partial(_tell_row, advance, item.case.id)
            try:
                found.append(segment_case(item, dataset, segmenter, out, windows, device=device, tell=tell))
            except AutofuseError as error:
                left_out[item.case.id] = error.problem
                log().warning("segment: %s: %s", item.case.id, error)
            advance(1, note=item.case.id)
    part = Segmented(
        segmenter=str(segmenter.folder),
        modality=segmenter.modality,
        counted={item.case: item.folds for item in found},
        left_out=left_out,
    )
    return found, part


def _tell_row(advance: Advance, case: str, row: str) -> None:
    """Show what is at work; a case counts when all of its rows are done."""
    advance(0, note=f"{case}, {row}")


def _summed_up(
    dataset: Dataset,
    images: Path | None,
    windows: Mapping[str, Window],
    cases: Sequence[CaseFusion],
    failed: Sequence[Failure],
    dice: Sequence[CaseDice],
    part: Segmented | None,
) -> FusionScores:
    from autofuse.evaluation.fusion.summary import flags_of, leads_of, row_statistics, tabulate
    from autofuse.evaluation.fusion.types import FUSED, FusionScores

    ordered = sorted(cases, key=lambda case: case.case)
    values, subjects = tabulate(ordered, dice), {case.case: case.subject for case in ordered}
    return FusionScores(
        dataset=dataset.name,
        fused=None if images is None else str(images),
        stretch="declared" if FUSED in windows else "own",
        cases=tuple(ordered),
        dice=tuple(sorted(dice, key=lambda item: item.case)),
        rows=row_statistics(values, subjects),
        leads=leads_of(values, subjects),
        flags=flags_of(ordered),
        segmented=part,
        failed=tuple(failed),
    )


def _write(scores: FusionScores, folder: Path) -> None:
    from autofuse.evaluation.fusion.table import to_csv
    from autofuse.foundation.files import write_bytes

    scores.save(folder / SCORES_FILE)
    write_bytes(folder / TABLE_FILE, to_csv(scores).encode())


def _nothing_judged(images: Path | None, failed: Sequence[Failure]) -> DataError:
    return DataError(
        "No case could be judged.",
        file=images,
        found="\n".join(f"{item.case}: {item.problem}" for item in failed[:5]) or "no case with images",
        remedy="Mend these files and run the same command again.",
    )
