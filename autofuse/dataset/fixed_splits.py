"""Folds that the data set itself gives, checked against its cases."""

from __future__ import annotations

from typing import Any

from autofuse.dataset.extensions import Extensions, FixedFold
from autofuse.dataset.json_file import read_json
from autofuse.dataset.problems import Findings
from autofuse.dataset.types import Dataset

FILE = "splits_final.json"
"""nnU-Net's name for fixed folds: a list of {"train": [ids], "val": [ids]}."""

Folds = tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]


def read_fixed_splits(dataset: Dataset, extensions: Extensions, findings: Findings) -> Folds:
    """The folds of the key ``autofuse.splits`` or of splits_final.json, each id list sorted; empty where neither is."""
    file = "dataset.json"
    folds = extensions.splits or ()
    if not folds and dataset.path(FILE).is_file():
        file = FILE
        content: Any = None
        before = len(findings.errors)
        with findings.caught("splits", file=FILE):
            content = read_json(dataset.path(FILE))
        if len(findings.errors) > before:
            return ()
        folds = _parse(content, findings)
    for number, fold in enumerate(folds):
        _check(dataset, number, fold, file, findings)
    return tuple((tuple(sorted(set(fold.train))), tuple(sorted(set(fold.val)))) for fold in folds)


def _parse(content: Any, findings: Findings) -> tuple[FixedFold, ...]:
    def is_ids(value: Any) -> bool:
        return isinstance(value, list) and all(isinstance(item, str) for item in value)

    good = isinstance(content, list) and bool(content)
    if not good or not all(
        isinstance(fold, dict) and is_ids(fold.get("train")) and is_ids(fold.get("val")) for fold in content
    ):
        findings.error(
            "splits",
            "The file of fixed splits is no list of folds.",
            file=FILE,
            found=repr(content)[:100],
            expected='[{"train": ["case_1"], "val": ["case_2"]}, …]',
            remedy="Correct the file, or remove it to have splits made.",
        )
        return ()
    return tuple(FixedFold(train=tuple(fold["train"]), val=tuple(fold["val"])) for fold in content)


def _check(dataset: Dataset, number: int, fold: FixedFold, file: str, findings: Findings) -> None:
    """Every id known, none on both sides, held-out cases can be judged, no subject on both sides."""
    known = {case.id: case for case in dataset.cases}
    remedy = "Correct the fold, or remove the fixed splits to have them made."
    for case in sorted({*fold.train, *fold.val} - set(known)):
        findings.error(
            "splits", f"Fold {number} names a case that does not exist.", case=case, file=file, remedy=remedy
        )
    for case in sorted(set(fold.train) & set(fold.val)):
        findings.error(
            "splits", f"Fold {number} trains on a case that it holds out.", case=case, file=file, remedy=remedy
        )
    for case in sorted(set(fold.val) & set(known)):
        if not known[case].truths:
            findings.error(
                "splits", f"Fold {number} holds out a case without a label.", case=case, file=file, remedy=remedy
            )
    if not any(case in known and known[case].labelled for case in fold.train):
        findings.error("splits", f"Fold {number} has no labelled case to train on.", file=file, remedy=remedy)
    train = {known[case].subject for case in fold.train if case in known}
    held_out = {known[case].subject for case in fold.val if case in known}
    note = findings.warn if dataset.subjects_guessed else findings.error
    for subject in sorted(train & held_out):
        note(
            "splits",
            f"Fold {number} has cases of one subject on both sides, so its scores would be too good.",
            file=file,
            found=f"subject {subject}; {dataset.subject_rule}",
            remedy="Put all cases of a subject on the same side; if they are not of one subject, say so in "
            "autofuse.subject_pattern.",
        )
