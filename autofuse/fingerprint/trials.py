"""A few cases registered, to tell whether a rigid transform removes what lies between their modalities."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from autofuse.dataset.types import Case, Dataset
from autofuse.fingerprint.apart import percentile, reliable_pairs, worth_registering_mm
from autofuse.fingerprint.case import CaseRecord
from autofuse.fingerprint.types import CaseFacts, PairFacts, RegistrationFacts
from autofuse.foundation.errors import ModelError
from autofuse.foundation.files import sweep_temps
from autofuse.foundation.values import StoredValue
from autofuse.foundation.workers import Outcome, run_units

if TYPE_CHECKING:
    from autofuse.images.image import Image

TRIED_AT_MOST = 10
"""Cases that are registered: those that lie furthest apart."""
LARGEST_SHIFT_MM, LARGEST_ROTATION_DEGREES = 80.0, 30.0
"""Transforms beyond these are failures."""


class TrialRecord(StoredValue):
    """What registering one case brought; ``stamp`` of its files when they were read."""

    kind: ClassVar[str] = "trial_record"

    stamp: str
    found: tuple[RegistrationFacts, ...]


def cases_to_try(cases: Sequence[CaseFacts]) -> tuple[str, ...]:
    """Ids of the cases to register, the one that lies furthest apart first; none where modalities are aligned."""
    apart = {case.id: max(pair.distance_mm for pair in pairs) for case in cases if (pairs := reliable_pairs(case))}
    if not apart:
        return ()
    if percentile(list(apart.values())) <= worth_registering_mm(cases):
        return ()
    return tuple(sorted(apart, key=lambda name: (-apart[name], name))[:TRIED_AT_MOST])


def try_registration(
    dataset: Dataset, records: Sequence[CaseRecord], folder: Path, workers: int | None
) -> list[Outcome[TrialRecord]]:
    """One outcome for each case that is tried; what was found before is kept in ``folder`` and used again."""
    sweep_temps(folder)
    by_id = {record.facts.id: record for record in records}
    outcomes: list[Outcome[TrialRecord]] = []
    items: list[tuple[str, tuple[Case, CaseRecord]]] = []
    for name in cases_to_try([record.facts for record in records]):
        kept = _kept(_record_file(folder, name), by_id[name].stamp)
        if kept is None:
            items.append((name, (dataset.case(name), by_id[name])))
        else:
            outcomes.append(Outcome(name, kept, None, 0.0))
    alone = dataset.model_copy(update={"cases": (), "test_cases": ()})
    return outcomes + run_units(partial(_try_and_keep, alone, folder), items, label="Registering", workers=workers)


def try_case(dataset: Dataset, case: Case, pairs: Sequence[PairFacts]) -> tuple[RegistrationFacts, ...]:
    """What a rigid transform brings to each of the reliable ``pairs`` of one case.

    Raises:
        DataError: if a file of the case cannot be used.
    """
    from autofuse.dataset.raw import load_case

    raw = load_case(dataset, case, with_label=False)
    found = []
    for pair in pairs:
        fixed, moving = raw.images[pair.fixed], raw.images[pair.moving]
        if pair.reliable and fixed is not None and moving is not None:
            found.append(_try_pair(case.id, pair, fixed, moving))
    return tuple(found)


def _try_pair(case: str, pair: PairFacts, fixed: Image, moving: Image) -> RegistrationFacts:
    """Where registration fails, everything is left as it was."""
    from autofuse.alignment.displacement import measure_displacement
    from autofuse.alignment.rigid import register

    images = (fixed.voxels, fixed.geometry, moving.voxels, moving.geometry)
    rigid = register(*images, largest_shift_mm=LARGEST_SHIFT_MM, largest_rotation_degrees=LARGEST_ROTATION_DEGREES)
    left = pair.distance_mm if rigid is None else measure_displacement(*images, rigid=rigid).distance_mm
    return RegistrationFacts(
        case=case,
        fixed=pair.fixed,
        moving=pair.moving,
        before_mm=pair.distance_mm,
        after_mm=left,
        rotation_degrees=0.0 if rigid is None else round(rigid.degrees, 3),
        shift_mm=0.0 if rigid is None else round(float(np.linalg.norm(rigid.shift_mm)), 3),
    )


def _try_and_keep(dataset: Dataset, folder: Path, item: tuple[Case, CaseRecord]) -> TrialRecord:
    case, measured = item
    record = TrialRecord(stamp=measured.stamp, found=try_case(dataset, case, measured.facts.pairs))
    record.save(_record_file(folder, case.id))
    return record


def _record_file(folder: Path, case: str) -> Path:
    return folder / f"{case.replace('/', '%2F')}.json"


def _kept(path: Path, stamp: str) -> TrialRecord | None:
    """What was found before, if the case's files are still the same."""
    if not path.exists():
        return None
    try:
        record = TrialRecord.load(path)
    except ModelError:
        return None
    return record if record.stamp == stamp else None
