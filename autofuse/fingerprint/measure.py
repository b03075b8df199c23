"""A data set, measured: case by case, in parallel, resumable, then pooled; and registration tried on a few cases."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from autofuse.dataset.types import Case, Dataset
from autofuse.fingerprint.case import CaseRecord, examine
from autofuse.fingerprint.pooling import pool_classes, pool_intensities, pool_reference
from autofuse.fingerprint.sources import source_stamp
from autofuse.fingerprint.trials import TrialRecord, try_registration
from autofuse.fingerprint.types import CaseFacts, Fingerprint, RegistrationFacts
from autofuse.foundation.errors import AutofuseError, DataError, ModelError
from autofuse.foundation.files import sweep_temps
from autofuse.foundation.values import short_hash
from autofuse.foundation.workers import Outcome, run_units
from autofuse.foundation.workspace import Workspace

_LISTED_AT_MOST = 50
_NOT_MEASURED = {"root", "test_cases", "fixed_splits", "subject_rule", "file_ending"}


def measure(dataset: Dataset, workspace: Workspace, *, workers: int | None = None) -> Fingerprint:
    """The fingerprint of ``dataset``, also saved as ``workspace.fingerprint``.

    What was measured on a case is kept in ``workspace.fingerprint_cases`` (``fingerprint_trials`` for registration),
    and used again while its files are unchanged. The result depends neither on the number of workers nor on the order
    in which they finish.

    Raises:
        DataError: if cases cannot be used; it names all of them.
    """
    if not dataset.cases:
        raise DataError(
            "This data set has no training case.",
            file=dataset.root,
            remedy=f"Run `autofuse check {dataset.root}` to see what was found there.",
        )
    folder = workspace.fingerprint_cases
    sweep_temps(folder)
    records = {case.id: record for case in dataset.cases if (record := _kept(dataset, case, folder)) is not None}
    items = [(case.id, case) for case in dataset.cases if case.id not in records]
    alone = dataset.model_copy(update={"cases": (), "test_cases": ()})
    outcomes = run_units(partial(_examine_and_keep, alone, folder), items, label="Measuring", workers=workers)
    _refuse_failures(dataset, outcomes)
    records |= {outcome.name: outcome.value for outcome in outcomes if outcome.value is not None}
    measured = [records[case.id] for case in dataset.cases]
    # Modalities that carry masks of their own are never registered.
    wanted = [] if dataset.labels_per_modality else measured
    trials = try_registration(dataset, wanted, workspace.fingerprint_trials, workers)
    _refuse_failures(dataset, trials)
    fingerprint = pool(dataset, measured, [trial.value for trial in trials if trial.value is not None])
    fingerprint.save(workspace.fingerprint)
    return fingerprint


def pool(dataset: Dataset, records: Sequence[CaseRecord], trials: Sequence[TrialRecord] = ()) -> Fingerprint:
    """The fingerprint that follows from what was measured on each case; cases in it keep no quantiles."""
    ordered = sorted(records, key=lambda record: record.facts.id)
    facts = tuple(record.facts for record in ordered)
    return Fingerprint(
        dataset=dataset.name,
        dataset_digest=dataset_digest(dataset),
        modalities=tuple(modality.name for modality in dataset.modalities),
        optional=tuple(modality.optional for modality in dataset.modalities),
        class_names=tuple(item.name for item in dataset.labels.classes),
        has_regions=dataset.labels.has_regions,
        has_ignore=dataset.labels.ignore is not None,
        intensities=tuple(pool_intensities(ordered, index) for index in range(len(dataset.modalities))),
        classes=pool_classes(facts, dataset.labels),
        cases=facts,
        reference=dataset.reference if dataset.reference is not None else pool_reference(facts),
        registrations=tuple(sorted((item for trial in trials for item in trial.found), key=_place)),
        labelled_per_modality=_labelled_per_modality(dataset, facts),
    )


def _labelled_per_modality(dataset: Dataset, facts: Sequence[CaseFacts]) -> tuple[int, ...]:
    if not dataset.labels_per_modality:
        return ()
    kinds = [case.modality_annotations for case in facts if case.modality_annotations]
    return tuple(sum(kind[k] != "none" for kind in kinds) for k in range(len(dataset.modalities)))


def _place(item: RegistrationFacts) -> tuple[str, int, int]:
    return item.case, item.fixed, item.moving


def dataset_digest(dataset: Dataset) -> str:
    """Hash of what the description says about training cases, modalities and labels; where the folder stands, test
    cases and splits do not change it."""
    return short_hash(dataset.model_dump(mode="json", exclude=_NOT_MEASURED))


def _record_file(folder: Path, case: Case) -> Path:
    return folder / f"{case.id.replace('/', '%2F')}.json"


def _kept(dataset: Dataset, case: Case, folder: Path) -> CaseRecord | None:
    """What was measured on ``case`` before, if it still holds."""
    path = _record_file(folder, case)
    if not path.exists():
        return None
    try:
        record = CaseRecord.load(path)
        fresh = record.stamp == source_stamp(dataset, case)
    except (ModelError, DataError):
        # A damaged record, or files that are gone: measuring again says what is wrong.
        return None
    return record if fresh else None


def _examine_and_keep(dataset: Dataset, folder: Path, case: Case) -> CaseRecord:
    record = examine(dataset, case)
    record.save(_record_file(folder, case))
    return record


def _refuse_failures(dataset: Dataset, outcomes: Sequence[Outcome[Any]]) -> None:
    """Raise one error that names every case that could not be measured."""
    failed = [(outcome.name, outcome.error) for outcome in outcomes if outcome.error is not None]
    if not failed:
        return
    if len(failed) == 1:
        raise failed[0][1]
    lines = [f"{name}: {_in_one_line(error)}" for name, error in failed[:_LISTED_AT_MOST]]
    if len(failed) > _LISTED_AT_MOST:
        lines.append(f"and {len(failed) - _LISTED_AT_MOST} more")
    data_errors = any(isinstance(error, DataError) for _, error in failed)
    kind: type[AutofuseError] = DataError if data_errors else type(failed[0][1])
    raise kind(
        f"{len(failed)} of {len(dataset.cases)} cases cannot be measured.",
        file=dataset.root,
        found="\n    " + "\n    ".join(lines),
        remedy=f"Mend or remove them; `autofuse check {dataset.root}` lists every problem with its remedy.",
    )


def _in_one_line(error: AutofuseError) -> str:
    parts = [error.problem]
    parts += [f"{name}: {value}" for name, value in error.fields().items() if value and name in ("file", "found")]
    return " ".join(parts)
