"""Which cases are of the same person; splits must never separate those."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from autofuse.dataset.csv_file import read_csv
from autofuse.dataset.extensions import Extensions
from autofuse.dataset.listing import contained
from autofuse.dataset.problems import Findings

OWN = "each case is a subject of its own"

MIN_GROUPS = 5
"""Fewer subjects than this are not guessed from an unexplained last part of the ids."""
MAX_MEAN_SIZE = 10
"""Larger groups than this on average are more likely sites or series than persons."""
MIN_GROUPS_MARKED = 2
"""Where the last part says what it is (frame, visit, slice …), fewer subjects are believed, of any size."""

_MARKERS = (
    r"frame|fr|slice|slc|sl|visit|ses|session|scan|time|timepoint|tp|t|day|week|month|year|phase|run|acq|repeat|rep|view"
    r"|fu|followup|follow-up|baseline|bl|pre|post|ed|es|left|right|l|r|od|os"
)
_MARKED_TAIL = re.compile(rf"(?i)[ _.\-](?:{_MARKERS})[ _.\-]?\d*$")
_LAST_PART = re.compile(r"[ _.\-][^ _.\-]+$")


@dataclass(frozen=True)
class Subjects:
    """The subject of each case id; ``rule`` says in words how they were told apart, ``guessed`` whether by a guess."""

    of: dict[str, str]
    rule: str
    guessed: bool = False


def find_subjects(root: Path, ids: Iterable[str], extensions: Extensions, findings: Findings) -> Subjects:
    """The subjects by the data set's pattern or table if it has one, else by a careful guess from the ids."""
    unique = sorted(set(ids))
    if extensions.subject_table is not None:
        return _by_table(root, unique, extensions.subject_table, findings)
    if extensions.subject_pattern is not None:
        return _by_pattern(unique, extensions.subject_pattern, findings)
    return guess_subjects(unique)


def guess_subjects(ids: list[str]) -> Subjects:
    """Subjects guessed from ids such as patient021_frame01 and patient021_frame13; each its own if nothing is clear."""
    marked = _groups(ids, _without_markers)
    if len(marked) >= MIN_GROUPS_MARKED and _several(marked):
        return _guessed(marked, "the part that names a frame, visit, slice or side")
    plain = _groups(ids, lambda case: _LAST_PART.sub("", case))
    if len(plain) >= MIN_GROUPS and _several(plain) and len(ids) / len(plain) <= MAX_MEAN_SIZE:
        return _guessed(plain, "the last part")
    return Subjects({case: case for case in ids}, OWN)


def _guessed(groups: dict[str, list[str]], dropped: str) -> Subjects:
    example = next(members for members in groups.values() if len(members) > 1)
    rule = (
        f"guessed from the ids: without {dropped} they name {len(groups)} subjects "
        f"(so {example[0]} and {example[1]} are of one); set autofuse.subject_pattern in dataset.json to decide it"
    )
    return Subjects({case: subject for subject, cases in groups.items() for case in cases}, rule, guessed=True)


def _several(groups: dict[str, list[str]]) -> bool:
    return any(len(cases) > 1 for cases in groups.values())


def _without_markers(case: str) -> str:
    for _ in range(3):
        case = _MARKED_TAIL.sub("", case)
    return case


def _groups(ids: list[str], shorten: Callable[[str], str]) -> dict[str, list[str]]:
    """Cases by shortened id. A name is short enough to be a person's only while its last part has a number; a case
    whose shortened id has none (hippocampus_001 -> hippocampus) stays on its own."""
    groups: dict[str, list[str]] = defaultdict(list)
    for case in ids:
        short = shorten(case)
        tail = re.split(r"[ _.\-]", short)[-1]
        groups[short if any(letter.isdigit() for letter in tail) else case].append(case)
    return dict(groups)


def _by_pattern(ids: list[str], pattern: str, findings: Findings) -> Subjects:
    compiled = re.compile(pattern)
    group: int | str = "subject" if "subject" in compiled.groupindex else 1
    subjects = {}
    for case in ids:
        match = compiled.search(case)
        if match is None or not match[group]:
            findings.error(
                "subjects",
                "autofuse.subject_pattern does not find a subject in a case's id.",
                case=case,
                file="dataset.json",
                found=case,
                expected=f"a match of {pattern!r}",
                remedy="Widen the pattern, or list the subjects in a subject_table.",
            )
        subjects[case] = match[group] if match is not None and match[group] else case
    count = len(set(subjects.values()))
    return Subjects(subjects, f"the data set's pattern {pattern} names {count} subjects")


def _by_table(root: Path, ids: list[str], table: str, findings: Findings) -> Subjects:
    path = contained(root, table, outside=False)
    rows: list[dict[str, str]] = []
    if path is None:
        findings.error(
            "path outside",
            "autofuse.subject_table leaves the data set's folder.",
            file=table,
            remedy="Put the table into the folder.",
        )
        return Subjects({case: case for case in ids}, OWN)
    with findings.caught("subjects", file=path):
        rows = read_csv(root / path, required=("case", "subject"))
    listed = {row["case"]: row["subject"] for row in rows if row["subject"]}
    for case in ids:
        if rows and case not in listed:
            findings.error(
                "subjects",
                "The subject table does not say whose case this is.",
                case=case,
                file=path,
                remedy="Add a line for it.",
            )
    subjects = {case: listed.get(case, case) for case in ids}
    return Subjects(subjects, f"the data set's table {path} names {len(set(subjects.values()))} subjects")
