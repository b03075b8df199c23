"""A folder of fused images scored beside the trivial fusions, case by case in parallel; what is scored is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from autofuse.dataset.types import Case, Dataset
from autofuse.evaluation.fusion.case import Windows, load_sources, read_fused, rows_of
from autofuse.evaluation.fusion.ceiling import entropy_ceiling
from autofuse.evaluation.fusion.greys import Window
from autofuse.evaluation.fusion.scores import score_fused
from autofuse.evaluation.fusion.types import FUSED, CaseFusion
from autofuse.fingerprint.sources import source_stamp
from autofuse.foundation.errors import AutofuseError, DataError, UsageError
from autofuse.foundation.files import crc32_of_file, sweep_temps
from autofuse.foundation.values import short_hash
from autofuse.foundation.workers import Outcome, run_units

RECORDS = "records"
"""Folder beside the table: a file per case, so that the same command goes on where it was stopped."""
DICE_RECORDS = f"{RECORDS}/dice"
_BYTES_A_VOXEL, _BYTES_A_SOURCE_VOXEL = 40, 12
"""Rows and what is computed from them; each source as it was read, in [0, 1], and as a copy to work on."""
_COMPUTED_AS = 1
"""Raised when scores of the same images come out different."""


class FusedCase(NamedTuple):
    """A case, and the file of its fused image; None where only trivial fusions are scored."""

    case: Case
    fused: Path | None


def find_fused(dataset: Dataset, folder: Path | None) -> list[FusedCase]:
    """The training and test cases that have a fused image in ``folder``; all cases with images where it is None.

    Raises:
        DataError: if the folder does not exist, or holds no fused image of any case.
    """
    cases = [case for case in (*dataset.cases, *dataset.test_cases) if any(case.images)]
    if folder is None:
        return [FusedCase(case, None) for case in cases]
    from autofuse.images import SUPPORTED_ENDINGS

    found = []
    for case in cases:
        files = [path for ending in SUPPORTED_ENDINGS if (path := folder / f"{case.id}{ending}").is_file()]
        found += [FusedCase(case, files[0])] if files else []
    if not found:
        names = sorted(path.name for path in folder.iterdir())[:5] if folder.is_dir() else []
        raise DataError(
            "There is no fused image of any case in this folder.",
            file=folder,
            found=", ".join(names) or ("an empty folder" if folder.is_dir() else "no such folder"),
            expected=f"files such as {cases[0].id if cases else 'case'}.nii.gz",
            remedy="Name each fused image as its case in the data set is named.",
        )
    return found


def require_known(windows: Windows, dataset: Dataset) -> None:
    """Nothing, if every window is that of a modality or of the fused images, and has a width.

    Raises:
        UsageError: if not.
    """
    names = [*(modality.name for modality in dataset.modalities), FUSED]
    unknown = sorted(set(windows) - set(names))
    if unknown:
        raise UsageError(
            "A window is declared for something that is no modality of this data set.",
            found=", ".join(unknown),
            expected="one of " + ", ".join(names),
        )
    for name, window in windows.items():
        if not window.upper > window.lower:
            raise UsageError(
                "A window must end above where it begins.", found=f"{name}={window.lower:g},{window.upper:g}"
            )


def score_cases(
    dataset: Dataset, wanted: Sequence[FusedCase], out: Path, windows: Windows, workers: int | None = None
) -> list[Outcome[CaseFusion]]:
    """An outcome per case, in order; scores of unchanged files that stand in ``out`` already are taken from there."""
    for folder in (out, out / RECORDS, out / DICE_RECORDS):
        sweep_temps(folder)
    score = partial(score_case_fusion, dataset=dataset, out=out, windows=dict(windows))
    units = [(item.case.id, item) for item in wanted]
    return run_units(score, units, label="judge fused", workers=workers, memory_gib_each=_memory_gib(dataset, wanted))


def _memory_gib(dataset: Dataset, wanted: Sequence[FusedCase]) -> float | None:
    """About what the case with the largest image file needs at its peak; None where that cannot be told."""
    from autofuse.images import read_header

    try:
        files = [dataset.path(image.path) for item in wanted for image in item.case.images if image is not None]
        shape = read_header(max(files, key=lambda path: path.stat().st_size)).geometry.shape
    except (AutofuseError, OSError):
        return None  # to be told with the case that it belongs to
    held = _BYTES_A_VOXEL + _BYTES_A_SOURCE_VOXEL * len(dataset.modalities)
    return float(np.prod(shape)) * held / 2**30


def score_case_fusion(item: FusedCase, *, dataset: Dataset, out: Path, windows: Mapping[str, Window]) -> CaseFusion:
    """Scores of one case, which are written to ``out`` too.

    Raises:
        DataError: naming case and file, if an image cannot be read or used.
    """
    stamp = made_from(dataset, item, windows)
    record = out / RECORDS / f"{item.case.id}.json"
    kept = _kept(record, stamp)
    if kept is not None:
        return kept
    sources = load_sources(dataset, item.case, windows)
    fused = None if item.fused is None else read_fused(item.fused, item.case.id, sources.geometry)
    box = sources.box
    share = float(1 - sources.body[box].mean())
    images = {name: image[box] for name, image in sources.images.items()}
    made = CaseFusion(
        case=item.case.id,
        subject=item.case.subject,
        made_from=stamp,
        background_share=share,
        entropy_ceiling=entropy_ceiling(share),
        rows={
            name: score_fused(row[box], images, slice_axis=sources.slice_axis, shared_background=share)
            for name, row in rows_of(sources, fused, windows).items()
        },
        warnings=sources.warnings,
    )
    made.save(record)
    return made


def made_from(dataset: Dataset, item: FusedCase, windows: Windows) -> str:
    """Hash of what decides the scores of a case.

    Raises:
        DataError: if a file is missing or may not be read.
    """
    try:
        fused = None if item.fused is None else [item.fused.name, crc32_of_file(item.fused)]
    except OSError as error:
        raise DataError(
            "The fused image cannot be read.",
            case=item.case.id,
            file=item.fused,
            found=error.strerror or str(error),
            remedy="Check the permissions of the file and that its disk is there.",
        ) from None
    declared = {name: window.model_dump(mode="json") for name, window in windows.items()}
    return short_hash([_COMPUTED_AS, source_stamp(dataset, item.case), fused, declared])


def _kept(record: Path, stamp: str) -> CaseFusion | None:
    try:
        found = CaseFusion.load(record) if record.exists() else None
    except AutofuseError:
        return None  # damaged: it is made anew
    return found if found is not None and found.made_from == stamp else None
