"""A data set given as a table: cases.csv with a column per modality, and optionally labels, subject and split."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from autofuse.dataset.assembly import Draft, Images, assemble
from autofuse.dataset.csv_file import read_csv
from autofuse.dataset.description import Description
from autofuse.dataset.extensions import Extensions
from autofuse.dataset.listing import listed_file, note_orphans
from autofuse.dataset.problems import Findings
from autofuse.dataset.types import Dataset, ImageFile, LabelClass, Labels, mask_name
from autofuse.foundation.errors import AutofuseError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FILE = "cases.csv"
RESERVED = ("case", "subject", "label", "evaluation_label", "split")
"""Columns that are no modality."""
LABEL_OF, TRUTH_OF = "label_", "evaluation_label_"
"""Begin the name of a column with the label maps (or dense truth) of one modality, which follows."""
LABEL_FILES_LOOKED_AT = 20
"""So many label maps are read to find the label values where no dataset.json declares them."""


def import_table(root: Path, description: Description | None, findings: Findings) -> Dataset | None:
    """The data set that cases.csv lists, as far as it can be described; everything odd goes to ``findings``."""
    rows: list[dict[str, str]] = []
    before = len(findings.errors)
    with findings.caught("cases.csv", file=FILE):
        rows = read_csv(root / FILE, required=("case",))
    if len(findings.errors) > before:
        return None
    channels = _channels(rows[0]) if rows else ()
    if not channels:
        findings.error(
            "cases.csv",
            "cases.csv lists no case or has no column for a modality.",
            file=FILE,
            expected="columns such as case, T1, FLAIR, label",
            remedy="Name each modality in the first line and give its files below.",
        )
        return None
    extensions = description.extensions if description else Extensions()
    own = any(name in rows[0] for channel in channels for name in (LABEL_OF + channel, TRUTH_OF + channel))
    draft = Draft(layout="table", file_ending=_ending(rows, channels), labels_per_modality=own)
    _read_rows(root, rows, channels, extensions.outside_files, draft, findings)
    if own:
        _check_own_labels(rows, draft, findings)
    labels = description.labels if description else None
    if labels is None and draft.labels and not (description and "labels" in description.content):
        labels = _labels_in_use(root, sorted(draft.labels.values()), findings)
    content = description.content if description else {}
    table = Description(content, channels, labels, draft.file_ending, extensions)
    return assemble(root, draft, table, labels, findings)


def _read_rows(
    root: Path,
    rows: list[dict[str, str]],
    channels: tuple[str, ...],
    outside: bool,
    draft: Draft,
    findings: Findings,
) -> None:
    """Fill the draft from the table."""
    for number, row in enumerate(rows, start=2):
        case, split = row["case"], row.get("split", "").lower()
        if case in draft.train or case in draft.test or split not in ("", "train", "test"):
            findings.error(
                "cases.csv",
                f"Row {number} repeats a case, or its split is neither train nor test.",
                case=case,
                file=FILE,
                found=f"split {split!r}" if split not in ("", "train", "test") else f"{case!r} twice",
                remedy="Correct the row.",
            )
            continue
        test = split == "test"
        (draft.test if test else draft.train)[case] = _row_images(root, row, channels, outside, findings)
        for column, name, into in _label_columns(case, channels, draft, test):
            if row.get(column):
                file = listed_file(root, row[column], outside, case, findings)
                if file is not None:
                    into[name] = file
        if row.get("subject"):
            draft.subjects[case] = row["subject"]


def _channels(columns: Iterable[str]) -> tuple[str, ...]:
    """The columns that are modalities."""
    names = [name for name in columns if name not in RESERVED]
    labels = {prefix + name for prefix in (LABEL_OF, TRUTH_OF) for name in names}
    return tuple(name for name in names if name not in labels)


def _label_columns(
    case: str, channels: tuple[str, ...], draft: Draft, test: bool
) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Columns with labels of a case, under which names, and where they go."""
    sources = (("label", LABEL_OF, draft.labels), ("evaluation_label", TRUTH_OF, draft.truths))
    for column, prefix, files in sources:
        into = draft.test_truths if test else files
        if not draft.labels_per_modality:
            yield column, case, into
            continue
        for channel, name in enumerate(channels):
            yield prefix + name, mask_name(case, channel), into


def _check_own_labels(rows: list[dict[str, str]], draft: Draft, findings: Findings) -> None:
    """Where modalities have label columns of their own: no column for all beside them, no label without its image."""
    shared = [name for name in ("label", "evaluation_label") if any(row.get(name) for row in rows)]
    if shared:
        findings.error(
            "cases.csv",
            "cases.csv has a label for all modalities of a case beside labels of single modalities.",
            file=FILE,
            found=", ".join(shared),
            expected=f"columns such as {LABEL_OF}T1 alone, or {shared[0]} alone",
            remedy="Keep the columns of one kind.",
        )
    for files, cases in (
        (draft.labels, draft.train),
        (draft.truths, draft.train),
        (draft.test_truths, draft.test),
    ):
        names = draft.label_names(cases)
        note_orphans(files, names, findings)
        for name in set(files) - names:
            del files[name]


def _row_images(
    root: Path, row: dict[str, str], channels: tuple[str, ...], outside: bool, findings: Findings
) -> Images:
    """A row's images; columns that name the same file take its components in order."""
    paths = [listed_file(root, row[name], outside, row["case"], findings) if row[name] else None for name in channels]
    uses = Counter(path for path in paths if path is not None)
    images: list[ImageFile | None] = []
    for index, path in enumerate(paths):
        if path is None:
            images.append(None)
        else:
            component = paths[:index].count(path) if uses[path] > 1 else None
            images.append(ImageFile(path=path, component=component))
    return tuple(images)


def _ending(rows: list[dict[str, str]], channels: tuple[str, ...]) -> str:
    """How masks are written: as the labels are, else as the images; .nii.gz where nothing says it."""
    from autofuse.images import SUPPORTED_ENDINGS

    labels = [text for row in rows for name, text in row.items() if name == "label" or name.startswith(LABEL_OF)]
    names = labels + [row[name] for row in rows for name in channels]
    known = sorted(SUPPORTED_ENDINGS, key=len, reverse=True)
    return next((ending for name in names for ending in known if name.endswith(ending)), ".nii.gz")


def _labels_in_use(root: Path, files: Iterable[str], findings: Findings) -> Labels | None:
    """Classes named after the values that the first label maps hold. A value that turns up later is refused there."""
    import numpy as np

    from autofuse.images import read_label_image

    values: set[int] = set()
    for file in list(files)[:LABEL_FILES_LOOKED_AT]:
        try:
            values |= set(np.unique(read_label_image(root / file).voxels).tolist())
        except AutofuseError:
            continue  # the check of the case itself tells what is wrong with this file
    good = sorted(value for value in values if 0 < value <= 65535)
    if not good:
        findings.error(
            "labels",
            "Nothing says what is to be segmented: no dataset.json declares labels, and the label maps hold none.",
            file=FILE,
            remedy='Put {"labels": {"background": 0, "lesion": 1}} into a dataset.json beside cases.csv.',
        )
        return None
    findings.warn(
        "labels",
        "No dataset.json declares the labels; they are named after the values in the label maps.",
        file=FILE,
        found=", ".join(map(str, good)),
        remedy='Put {"labels": {"background": 0, "lesion": 1}} with their names into a dataset.json beside cases.csv.',
    )
    return Labels(classes=tuple(LabelClass(name=f"label {value}", raw_values=(value,)) for value in good))
