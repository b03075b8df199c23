"""The copy as an nnU-Net raw folder: what its dataset.json says, and which file of the source becomes which."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autofuse.dataset.description import FILE as DESCRIPTION
from autofuse.dataset.description import Description, read_description
from autofuse.dataset.fixed_splits import FILE as SPLITS
from autofuse.dataset.label_declaration import MAX_RAW_VALUE
from autofuse.dataset.nnunet import DENSE_LABELS, FLAT_ENDINGS
from autofuse.dataset.problems import Findings
from autofuse.dataset.types import Case, Dataset, ImageFile, Labels

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
    """One case, and the files that it has in the copy; ``None`` where there is none."""

    case: Case
    images: tuple[CopiedImage, ...]
    scribbles: str | None
    dense: str | None

    @property
    def targets(self) -> tuple[str, ...]:
        """All its files."""
        labels = [path for path in (self.scribbles, self.dense) if path is not None]
        return (*(image.target for image in self.images), *labels)

    @property
    def truth(self) -> str | None:
        """The file of the source that the dense label is copied from."""
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


def copied_cases(dataset: Dataset) -> list[CopiedCase]:
    """Training cases and test cases, with their files in the copy."""
    ending = common_ending(dataset)
    copied = []
    for cases, folder, truths in (
        (dataset.cases, "imagesTr", DENSE_LABELS),
        (dataset.test_cases, "imagesTs", TEST_LABELS),
    ):
        whole = ending in FLAT_ENDINGS and all(_holds_all(case) for case in cases)
        for case in cases:
            name = f"{case.id}{ending}"
            truth = case.evaluation_label or case.label
            copied.append(
                CopiedCase(
                    case=case,
                    images=tuple(_images(case, folder, ending, whole)),
                    scribbles=f"{LABELS}/{name}" if case.label is not None else None,
                    dense=f"{truths}/{name}" if truth is not None else None,
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


def with_ignore(labels: Labels) -> Labels:
    """The same labels with an ignore value: their own, or the next one, which nnU-Net wants to be the highest."""
    if labels.ignore is not None:
        return labels
    free = max(labels.raw_values) + 1
    if free > MAX_RAW_VALUE:
        free = max(set(range(1, MAX_RAW_VALUE)) - set(labels.raw_values))
    return labels.model_copy(update={"ignore": free})


def small_files(dataset: Dataset, labels: Labels) -> dict[str, bytes]:
    """Content by name of everything beside images and labels; the description comes last."""
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
    files[DESCRIPTION] = _json(_description(dataset, labels, description, extensions))
    return files


def _description(
    dataset: Dataset, labels: Labels, description: Description | None, extensions: dict[str, Any]
) -> dict[str, Any]:
    """dataset.json of the copy: all that the source says, where it is still true."""
    said = description.content if description else {}
    content = {key: value for key, value in said.items() if key not in (*_OWN_KEYS, "autofuse")}
    content["channel_names"] = {str(k): modality.name for k, modality in enumerate(dataset.modalities)}
    content["labels"] = _declared(labels)
    if labels.has_regions:
        content["regions_class_order"] = list(labels.region_values)
    content["numTraining"] = len(dataset.cases)
    content["file_ending"] = common_ending(dataset)
    return content | ({"autofuse": extensions} if extensions else {})


def _declared(labels: Labels) -> dict[str, Any]:
    single = not labels.has_regions
    foreground = {item.name: item.raw_values[0] if single else list(item.raw_values) for item in labels.classes}
    return {"background": 0, **foreground, "ignore": labels.ignore}


def _subject_table(cases: Sequence[Case]) -> bytes:
    text = io.StringIO()
    rows = sorted({case.id: case.subject for case in cases}.items())
    csv.writer(text, lineterminator="\n").writerows([("case", "subject"), *rows])
    return text.getvalue().encode()


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()
