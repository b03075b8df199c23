"""What is written beside a predicted mask, so that the same command skips what is finished and unchanged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

from autofuse.dataset.types import Case, Dataset
from autofuse.fingerprint.sources import source_stamp
from autofuse.foundation.errors import AutofuseError
from autofuse.foundation.files import crc32_of_file
from autofuse.foundation.values import StoredValue, short_hash
from autofuse.inference.prediction import PredictOptions, Seen
from autofuse.training.model import AnyModel

RECORDS = "records"
"""Folder beside the masks; a record a case, and the lock."""


_KNOWN_BEFORE = ("case", "models", "weights", "ensemble", "settings", "source")


class PredictionRecord(StoredValue):
    """One predicted case.

    Attributes:
        models: hash of each member (its run and its weights), in order; weights: their shares.
        ensemble: hash of the ensemble's members and recipe, where an ensemble.json predicts.
        settings: hash of the options that decide the result.
        source: names, sizes and times of the images, and of a cascade's earlier masks.
        files: CRC-32 of the mask and of what was asked for beside it, by name.
        absent, partly, grid: what the prediction was made from, as ``Seen`` says it.
    """

    kind: ClassVar[str] = "prediction"

    case: str
    models: tuple[str, ...]
    weights: tuple[float, ...] | None
    settings: str
    source: str
    files: dict[str, int]
    ensemble: str = ""
    absent: tuple[str, ...] = ()
    partly: tuple[tuple[str, float], ...] = ()
    grid: str = ""

    @property
    def seen(self) -> Seen:
        """What the prediction was made from."""
        return Seen(self.absent, self.partly, self.grid)


def model_digest(model: AnyModel) -> str:
    """Names a model by what it was trained for and by its weights."""
    return short_hash([model.run.digest(), model.weights_crc32])


def settings_digest(options: PredictOptions, file_ending: str) -> str:
    """Hash of the options that change masks or probabilities; what is kept beside masks, memory and the place of
    scratch files do not."""
    return short_hash(
        {
            "step": options.step,
            "mirror": options.mirror,
            "device": options.device.split(":")[0],
            "precision": options.precision,
            "alone": options.uncertainty,
            "thresholds": options.thresholds,
            "temperature": options.temperature,
            "steps": [step.model_dump(mode="json") for step in options.steps],
            "ending": file_ending,
        }
    )


def source_of(dataset: Dataset, case: Case, priors: Sequence[Path]) -> str:
    """Hash that changes when the images of a case, or the earlier masks that it is given, do.

    Raises:
        DataError: if an image is missing.
    """
    stamps = [[path.name, path.stat().st_size, crc32_of_file(path)] for path in priors if path.is_file()]
    return short_hash([source_stamp(dataset, case.without_labels()), stamps])


def kept_record(
    path: Path, expected: PredictionRecord, out: Path, wanted: Iterable[str] = ()
) -> PredictionRecord | None:
    """The record in ``path`` if it is the expected one (what is only known after predicting apart), has the files that
    are wanted, and its files are whole; else None."""
    try:
        found = PredictionRecord.load(path)
        same = all(getattr(found, name) == getattr(expected, name) for name in _KNOWN_BEFORE)
        whole = bool(found.files) and set(wanted) <= set(found.files)
        whole = whole and all(crc32_of_file(out / name) == crc for name, crc in found.files.items())
        return found if same and whole else None
    except (AutofuseError, OSError):
        return None
