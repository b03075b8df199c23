"""Everything that is wrong with a data set, found in one run; a bad data set is a result, never an exception."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from autofuse.dataset.check_rules import compare_cases
from autofuse.dataset.inspection import CaseInspection, inspect_case
from autofuse.dataset.label_codes import region_membership
from autofuse.dataset.opening import survey
from autofuse.dataset.problems import Findings
from autofuse.dataset.report import CheckReport, DatasetFacts, LabelFacts, ModalityFacts, Range
from autofuse.dataset.splits import make_splits
from autofuse.dataset.types import Dataset
from autofuse.foundation.errors import DataError
from autofuse.foundation.workers import run_units

CASE_TIME_LIMIT_S = 300.0
"""Reading one case takes seconds; a worker that needs longer hangs."""


def check_dataset(folder: str | Path, *, workers: int | None = None) -> CheckReport:
    """What is in ``folder`` and all that is wrong with it, every image and label read once.

    Args:
        workers: processes that read cases; None decides itself, 0 reads in this process.
    """
    dataset, findings = survey(folder)
    facts = None
    if dataset is not None:
        seen = _inspect_all(dataset, workers, findings)
        for case in seen:
            findings.problems += case.problems
        compare_cases(dataset, seen, findings)
        facts = _facts(dataset, seen)
    ordered = sorted(dict.fromkeys(findings.problems), key=lambda problem: problem.severity != "error")
    return CheckReport(folder=str(findings.root), facts=facts, problems=tuple(ordered))


def _inspect_all(dataset: Dataset, workers: int | None, findings: Findings) -> list[CaseInspection]:
    items = [(case.id, (case, False)) for case in dataset.cases]
    items += [(case.id, (case, True)) for case in dataset.test_cases]
    outcomes = run_units(
        partial(inspect_case, dataset), items, label="check", workers=workers, timeout_s=CASE_TIME_LIMIT_S
    )
    seen = []
    for outcome in outcomes:
        if outcome.value is not None:
            seen.append(outcome.value)
        elif outcome.error is not None:
            with findings.caught("reading", case=outcome.name):
                raise outcome.error
    return seen


def _facts(dataset: Dataset, seen: Sequence[CaseInspection]) -> DatasetFacts:
    train = [case for case in seen if not case.test]
    sized = [case for case in seen if case.shape is not None and case.spacing_mm is not None]
    labelled = [case for case in dataset.cases if case.labelled]
    voxels = sum(sum(case.index_voxels) for case in train)
    ignored = sum(case.ignored for case in train)
    everything = (*dataset.cases, *dataset.test_cases)
    return DatasetFacts(
        name=dataset.name,
        layout=dataset.layout,
        cases=len(dataset.cases),
        test_cases=len(dataset.test_cases),
        labelled=len(labelled),
        sparse=sum(case.annotation == "sparse" for case in train),
        unlabelled=len(dataset.cases) - len(labelled),
        judged=sum(bool(case.evaluation_label or any(case.evaluation_labels)) for case in everything),
        subjects=len({case.subject for case in dataset.cases}),
        subject_rule=dataset.subject_rule,
        labelled_fraction=voxels / (voxels + ignored) if voxels + ignored else None,
        modalities=_modality_facts(dataset, seen),
        labels=_label_facts(dataset, train),
        shape=_ranges([case.shape for case in sized if case.shape]),
        spacing_mm=_ranges([case.spacing_mm for case in sized if case.spacing_mm]),
        folds=_folds(dataset),
    )


def _modality_facts(dataset: Dataset, seen: Sequence[CaseInspection]) -> tuple[ModalityFacts, ...]:
    return tuple(
        ModalityFacts(
            name=modality.name,
            optional=modality.optional,
            cases=sum(case.images[channel] is not None for case in dataset.cases),
            test_cases=sum(case.images[channel] is not None for case in dataset.test_cases),
            own_grids=sum(bool(case.own_grids and case.own_grids[channel]) for case in seen),
            labelled=sum(case.labels[channel] for case in seen if case.labels) if dataset.labels_per_modality else None,
        )
        for channel, modality in enumerate(dataset.modalities)
    )


def _label_facts(dataset: Dataset, train: Sequence[CaseInspection]) -> tuple[LabelFacts, ...]:
    counted = [case for case in train if case.index_voxels and case.spacing_mm is not None]
    membership = region_membership(dataset.labels)
    facts = []
    for index, item in enumerate(dataset.labels.classes):
        volumes = [
            float(membership[index] @ case.index_voxels) * float(np.prod(case.spacing_mm or 0)) / 1000
            for case in counted
        ]
        present = [volume for volume in volumes if volume > 0]
        facts.append(
            LabelFacts(
                name=item.name,
                raw_values=item.raw_values,
                cases=len(present),
                volume_ml=_ranges([(volume,) for volume in present])[0] if present else None,
            )
        )
    return tuple(facts)


def _ranges(rows: Sequence[Sequence[float]]) -> tuple[Range, ...]:
    return tuple(
        Range(minimum=float(min(axis)), median=float(np.median(axis)), maximum=float(max(axis)))
        for axis in zip(*rows, strict=True)
    )


def _folds(dataset: Dataset) -> str:
    try:
        splits = make_splits(dataset)
    except DataError as error:
        return error.problem
    sizes = ", ".join(str(len(held_out)) for _, held_out in splits.folds)
    return f"{len(splits.folds)}{' given by the data set' if dataset.fixed_splits else ''}, holding out {sizes} cases"
