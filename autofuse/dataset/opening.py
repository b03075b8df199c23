"""From a folder to a data set: which layout it has, and what is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from autofuse.dataset.assembly import images_of
from autofuse.dataset.decathlon import import_decathlon, is_decathlon
from autofuse.dataset.description import FILE, read_description
from autofuse.dataset.listing import group_by_case, list_files
from autofuse.dataset.nnunet import FLAT_ENDINGS, import_nnunet
from autofuse.dataset.problems import Findings, printable
from autofuse.dataset.table import FILE as TABLE
from autofuse.dataset.table import import_table
from autofuse.dataset.types import Case, Dataset, Labels, Modality
from autofuse.foundation.console import log
from autofuse.foundation.errors import DataError

MAX_CHANNELS = 10_000
"""Channels are numbered by four digits."""


def open_dataset(folder: str | Path) -> Dataset:
    """The data set in ``folder``: an nnU-Net v2 raw folder, a Decathlon task or a cases.csv. Only names and lists are
    read, no image; nothing is written.

    Raises:
        DataError: with the first of what is wrong.
    """
    dataset, findings = survey(folder)
    findings.raise_first()
    assert dataset is not None, "a survey without errors yields a data set"
    return dataset


def survey(folder: str | Path) -> tuple[Dataset | None, Findings]:
    """The data set in ``folder`` as far as it can be described, and everything that is odd about its description."""
    root = Path(os.path.abspath(folder))  # noqa: PTH100  (resolve() would hide the name of a linked folder)
    if root.name == FILE and root.is_file():
        root = root.parent
    findings = Findings(root)
    try:
        return _import(root, findings), findings
    except OSError as error:  # a folder that may not be entered, a share that went away
        findings.error(
            "folder",
            "The data set's folder cannot be read.",
            file=error.filename or root,
            found=error.strerror or str(error),
            remedy="Check the permissions of the folder and that its disk is there.",
        )
        return None, findings


def _import(root: Path, findings: Findings) -> Dataset | None:
    """What the importer that fits the folder makes of it."""
    if printable(str(root)) != str(root):
        findings.error("folder", "The folder's path is not valid UTF-8.", file=root, remedy="Rename the folder.")
        return None
    if not root.is_dir():
        findings.error(
            "folder",
            "The data set's folder does not exist or is no folder.",
            file=root,
            remedy="Check the path that was given.",
        )
        return None
    described = (root / FILE).exists() or (root / FILE).is_symlink()
    description = read_description(root, findings) if described else None
    if described and description is None:
        return None
    if description is not None and is_decathlon(description.content):
        return import_decathlon(root, description, findings)
    if (root / TABLE).is_file() and (description is None or not description.channels):
        return import_table(root, description, findings)
    if description is not None:
        return import_nnunet(root, description, findings)
    findings.error(
        "folder",
        "The folder holds neither a dataset.json nor a cases.csv, so it is no data set.",
        file=root,
        found=_hint(root),
        expected="imagesTr, labelsTr and dataset.json (nnU-Net's layout), or cases.csv",
        remedy="Give the folder that holds dataset.json; documentation/reference/dataset_format.md describes it.",
    )
    return None


def _hint(root: Path) -> str:
    """What lies in a folder that is no data set; a data set one level below is pointed at."""
    try:
        names = sorted(entry.name for entry in root.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        return str(error)
    inner = [name for name in names if (root / name / FILE).is_file() or (root / name / TABLE).is_file()]
    if inner:
        return f"data sets one level below: {', '.join(inner[:5])}"
    return ", ".join(names[:8]) or "an empty folder"


def open_images(folder: str | Path, modalities: Sequence[str | Modality], file_ending: str) -> tuple[Case, ...]:
    """Cases to predict from any folder of ``<case>_0000.nii.gz`` … files; paths in them are absolute.

    A case that lacks a modality has None in its place; whoever predicts decides whether that will do. A case with more
    channels than ``modalities`` is returned with all of them, and refused when it is read. So one bad case never stops
    the others. Files that do not fit at all are logged and left out.

    Raises:
        DataError: if the folder cannot be read or holds no such file.
    """
    root = Path(os.path.abspath(folder))  # noqa: PTH100
    findings = Findings(root)
    names = list_files(root, "", findings)
    findings.raise_first()
    grouped = group_by_case(names, "", file_ending, MAX_CHANNELS, findings)
    for problem in findings.problems:
        log().warning("%s", problem.as_error())
    if not grouped:
        raise DataError(
            "The folder holds no image to predict.",
            file=root,
            found=", ".join(names[:5]) or "no files",
            expected=f"files such as case_1_0000{file_ending}",
            remedy="Name the images <case>_<four digits of the channel> as in training.",
        )
    shared = file_ending in FLAT_ENDINGS and all(set(files) == {0} for files in grouped.values())
    whole = {case: {k: str(root / name) for k, name in files.items()} for case, files in grouped.items()}
    return tuple(
        Case(id=case, subject=case, images=images_of(files, max(len(modalities), max(files) + 1), shared))
        for case, files in whole.items()
    )


def images_as_dataset(
    folder: str | Path, modalities: Sequence[str | Modality], labels: Labels, file_ending: str
) -> Dataset:
    """``open_images`` as a data set whose test cases they are, so that ``load_case`` reads them.

    Raises:
        DataError: as ``open_images``.
    """
    named = tuple(item if isinstance(item, Modality) else Modality(name=item) for item in modalities)
    root = Path(os.path.abspath(folder))  # noqa: PTH100
    return Dataset(
        name=root.name or "images",
        root=str(root),
        layout="images",
        modalities=named,
        labels=labels,
        cases=(),
        test_cases=open_images(folder, named, file_ending),
        file_ending=file_ending,
    )
