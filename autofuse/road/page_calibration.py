"""Calibration of a run, from the probabilities that are kept beside the masks of its held-out cases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from autofuse.foundation.errors import AutofuseError
from autofuse.road.runs import TrainedFold
from autofuse.road.spreading import evenly

if TYPE_CHECKING:
    from autofuse.dataset.types import Case, Dataset
    from autofuse.evaluation.reliability import Reliability, Tally


def measure_calibration(
    dataset: Dataset, folds: Sequence[TrainedFold], most: int
) -> tuple[tuple[Reliability, ...], int, int]:
    """Reliability of each class, from how many cases, and how many cases could not be read; nothing without files.

    Args:
        most: cases that are read, evenly spread over those that have probabilities and a truth.
    """
    from autofuse.evaluation.reliability import reliabilities

    known = {case.id: case for case in dataset.cases if case.evaluation_label or case.label}
    kept = [
        (known[case], path)
        for fold in folds
        for case in fold.plan.held_out
        if case in known and (path := _kept(fold.held_out, case)) is not None
    ]
    total, read, problems = None, 0, 0
    for case, path in evenly(kept, most):
        try:
            tally = _tally(dataset, case, path)
        except (AutofuseError, OSError, RuntimeError, ValueError, IndexError):
            problems += 1
            continue
        total, read = tally if total is None else total + tally, read + 1
    return (() if total is None else reliabilities(total, dataset.labels)), read, problems


def _kept(folder: Path, case: str) -> Path | None:
    """The probabilities that are kept of a case; None where there are none."""
    from autofuse.inference.writing import PROBABILITIES_ENDING

    path = folder / f"{case}{PROBABILITIES_ENDING}"
    return path if path.is_file() else None


def _tally(dataset: Dataset, case: Case, path: Path) -> Tally:
    """What one case says; its file is only used as it was written.

    Raises:
        ValueError: if the file is not the one that its record vouches for, or has another shape than the truth.
    """
    import blosc2

    from autofuse.dataset.raw import load_truth
    from autofuse.evaluation.reliability import tally_case
    from autofuse.foundation.files import crc32_of_file
    from autofuse.inference.record import PredictionRecord
    from autofuse.inference.writing import record_path

    record = PredictionRecord.load(record_path(path.parent, case.id))
    if record.files.get(path.name) != crc32_of_file(path):
        raise ValueError(f"{path.name} is not as it was written")
    truth = load_truth(dataset, case)
    stored = blosc2.open(str(path), mode="r")
    if truth is None or stored.shape != (dataset.labels.outputs, *truth[0].shape):
        raise ValueError(f"{path.name} does not fit the truth of its case")
    return tally_case(lambda output: stored[output], truth[0], dataset.labels)
