"""A changed copy of a data set as an nnU-Net raw folder: what its dataset.json says, which file becomes which, and the
files themselves, each whole or absent."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autofuse.dataset.description import FILE as DESCRIPTION
from autofuse.dataset.description import Description, read_description
from autofuse.dataset.fixed_splits import FILE as SPLITS
from autofuse.dataset.nnunet import DENSE_LABELS, FLAT_ENDINGS
from autofuse.dataset.one_mask import require_one_mask
from autofuse.dataset.problems import Findings
from autofuse.dataset.raw import CaseFiles
from autofuse.dataset.types import Case, Dataset, ImageFile, Labels
from autofuse.foundation.files import crc32_of_file, write_atomically
from autofuse.images import read_label_image, write_image, write_labels
from autofuse.images.io import ending_of

LABELS, TEST_LABELS = "labelsTr", "labelsTs"
SUBJECTS = "subjects.csv"
ANY_IMAGE = ".nii.gz"
"""The format that holds every kind of image: of a copy whose sources have several."""
_OWN_KEYS = ("dataset", "modality", "tensorImageSize", "training", "test", "regions_class_order")
"""Keys of a source that say something about its files that is not true of the copy's."""


@dataclass(frozen=True)
class CopiedImage:
    """One image file of the copy.

    Attributes:
        target: path relative to the copy's folder.
        source: where it comes from; channel: which one it is, or is the first of.
        as_is: whether the file itself is taken, neither split nor converted.
    """

    target: str
    source: ImageFile
    channel: int
    as_is: bool


@dataclass(frozen=True)
class CopiedCase:
    """One case, and the files that it has in the copy; ``None`` where there is none.

    Attributes:
        label: what is taught; truth: what is judged by.
    """

    case: Case
    images: tuple[CopiedImage, ...]
    label: str | None
    truth: str | None

    @property
    def targets(self) -> tuple[str, ...]:
        """All its files."""
        labels = [path for path in (self.label, self.truth) if path is not None]
        return (*(image.target for image in self.images), *labels)

    @property
    def truth_source(self) -> str | None:
        """The file of the source that the truth is copied from."""
        return self.case.evaluation_label or self.case.label


def source_description(dataset: Dataset) -> Description | None:
    """What the source's dataset.json says; None where it has none."""
    root = Path(dataset.root)
    return read_description(root, Findings(root)) if (root / DESCRIPTION).is_file() else None


def common_ending(dataset: Dataset) -> str:
    """The ending that all images and labels have, or one that suits them all."""
    cases = (*dataset.cases, *dataset.test_cases)
    paths = {image.path for case in cases for image in case.images if image is not None}
    paths |= {path for case in cases for path in (case.label, case.evaluation_label) if path is not None}
    return dataset.file_ending if all(path.endswith(dataset.file_ending) for path in paths) else ANY_IMAGE


def copied_cases(dataset: Dataset, *, all_truths: bool) -> list[CopiedCase]:
    """Training cases and test cases, with their files in the copy.

    Args:
        all_truths: whether training cases without a truth of their own are judged by a copy of their label.

    Raises:
        DataError: if modalities carry masks of their own.
    """
    require_one_mask(dataset, "A changed copy")
    ending = common_ending(dataset)
    copied = []
    for cases, folder, truths in (
        (dataset.cases, "imagesTr", DENSE_LABELS),
        (dataset.test_cases, "imagesTs", TEST_LABELS),
    ):
        whole = ending in FLAT_ENDINGS and all(_holds_all(case) for case in cases)
        for case in cases:
            name = f"{case.id}{ending}"
            truth = case.evaluation_label or (case.label if all_truths else None)
            copied.append(
                CopiedCase(
                    case=case,
                    images=tuple(_images(case, folder, ending, whole)),
                    label=f"{LABELS}/{name}" if case.label is not None else None,
                    truth=f"{truths}/{name}" if truth is not None else None,
                )
            )
    return copied


def _holds_all(case: Case) -> bool:
    """Whether one file holds all channels in order, as nnU-Net lets pictures do."""
    parts = [(image.path, image.component) for image in case.images if image is not None]
    return len(parts) == len(case.images) > 1 and parts == [(parts[0][0], k) for k in range(len(parts))]


def _images(case: Case, folder: str, ending: str, whole: bool) -> Iterator[CopiedImage]:
    for channel, image in enumerate(case.images[:1] if whole else case.images):
        if image is not None:
            as_is = whole or (image.component is None and image.path.endswith(ending))
            yield CopiedImage(f"{folder}/{case.id}_{channel:04d}{ending}", image, channel, as_is)


def small_files(dataset: Dataset, labels: Labels, added: Sequence[str] = ()) -> dict[str, bytes]:
    """Content by name of everything beside images and labels; the description comes last.

    Args:
        labels: as the copy declares them; added: names of modalities that it has beside the source's.
    """
    description = source_description(dataset)
    extensions = dict(description.content.get("autofuse", {})) if description else {}
    files: dict[str, bytes] = {}
    # Folders and lists of the source have other names here.
    for key in ("evaluation_labels", "outside_files"):
        extensions.pop(key, None)
    told = dataset.layout == "table" and not dataset.subjects_guessed
    if told or extensions.pop("subject_table", None) is not None:
        extensions.pop("subject_pattern", None)
        extensions["subject_table"] = SUBJECTS
        files[SUBJECTS] = _subject_table((*dataset.cases, *dataset.test_cases))
    if dataset.fixed_splits and not extensions.get("splits"):
        folds = [{"train": train, "val": held_out} for train, held_out in dataset.fixed_splits]
        files[SPLITS] = _json(folds)
    files[DESCRIPTION] = _json(_description(dataset, labels, added, description, extensions))
    return files


def _description(
    dataset: Dataset,
    labels: Labels,
    added: Sequence[str],
    description: Description | None,
    extensions: dict[str, Any],
) -> dict[str, Any]:
    """dataset.json of the copy: all that the source says, where it is still true."""
    said = description.content if description else {}
    content = {key: value for key, value in said.items() if key not in (*_OWN_KEYS, "autofuse")}
    names = (*(modality.name for modality in dataset.modalities), *added)
    content["channel_names"] = {str(k): name for k, name in enumerate(names)}
    content["labels"] = _declared(labels)
    if labels.has_regions:
        content["regions_class_order"] = list(labels.region_values)
    content["numTraining"] = len(dataset.cases)
    content["file_ending"] = common_ending(dataset)
    return content | ({"autofuse": extensions} if extensions else {})


def _declared(labels: Labels) -> dict[str, Any]:
    single = not labels.has_regions
    foreground = {item.name: item.raw_values[0] if single else list(item.raw_values) for item in labels.classes}
    return {"background": 0, **foreground} | ({} if labels.ignore is None else {"ignore": labels.ignore})


def _subject_table(cases: Sequence[Case]) -> bytes:
    text = io.StringIO()
    rows = sorted({case.id: case.subject for case in cases}.items())
    csv.writer(text, lineterminator="\n").writerows([("case", "subject"), *rows])
    return text.getvalue().encode()


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def copy_label(source: Path, target: Path) -> None:
    """A copy of a label, never a link: who mends one in the copy must not change the source."""
    if not source.name.endswith(ending_of(target)):
        image = read_label_image(source)
        write_labels(target, image.voxels, image.geometry)
        return
    if target.exists() and not target.samefile(source) and _equal(target, source):
        return

    def fill(temp: Path) -> None:
        shutil.copyfile(source, temp)

    def verify(temp: Path) -> None:
        if crc32_of_file(temp) != crc32_of_file(source):
            raise OSError("what was read back is not what was copied")

    write_atomically(target, fill, verify)


def copy_image(files: CaseFiles, image: CopiedImage, folder: Path) -> None:
    """Put one image into the copy: the file itself linked, or what it holds written anew.

    Raises:
        DataError: if it cannot be read.
        ResourceError: if the disk is full.
    """
    target = folder / image.target
    if image.as_is:
        link(files.dataset.path(image.source.path), target)
        return
    read = files.image(image.channel)
    assert read is not None
    write_image(target, read.voxels, read.geometry)


def link(source: Path, target: Path) -> None:
    """The same file under another name; a copy where the disk or its rights do not allow that."""
    real = source.resolve()
    if target.exists() and (target.samefile(real) or _equal(target, real)):
        return

    def fill(temp: Path) -> None:
        try:
            os.link(real, temp)
        except OSError:
            shutil.copyfile(real, temp)

    def verify(temp: Path) -> None:
        if temp.stat().st_size != real.stat().st_size:
            raise OSError("what was copied is shorter than its source")

    write_atomically(target, fill, verify)


def _equal(one: Path, other: Path) -> bool:
    return one.stat().st_size == other.stat().st_size and crc32_of_file(one) == crc32_of_file(other)
