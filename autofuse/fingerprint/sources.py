"""Whether a case's files are still those that were measured."""

from __future__ import annotations

from autofuse.dataset.types import Case, Dataset
from autofuse.foundation.errors import DataError
from autofuse.foundation.files import crc32_of_file
from autofuse.foundation.values import short_hash


def source_files(case: Case) -> tuple[str, ...]:
    """Paths, relative to the data set's root, of the images and the labels of ``case``; each once."""
    images = [image.path for image in case.images if image is not None]
    return tuple(dict.fromkeys([*images, *case.label_files]))


def source_stamp(dataset: Dataset, case: Case) -> str:
    """Hash of what the case consists of, what its labels mean, and its files' names, sizes and modification times.
    Reads no voxels.

    Raises:
        DataError: if a file is missing.
    """
    states = [_status(dataset, case, name) for name in source_files(case)]
    return short_hash([_measured_part(case), dataset.labels.model_dump(mode="json"), states])


def source_digest(dataset: Dataset, case: Case) -> str:
    """Hash of what the case consists of and of its files' names and contents (CRC-32); equal for a copy of the data.

    Raises:
        DataError: if a file is missing.
    """
    contents = []
    for name in source_files(case):
        _status(dataset, case, name)
        contents.append([name, crc32_of_file(dataset.path(name))])
    return short_hash([_measured_part(case), contents])


def _measured_part(case: Case) -> dict[str, object]:
    """The case's description without a dense truth that is kept for judging: that is not measured."""
    return case.model_copy(update={"evaluation_label": None, "evaluation_labels": ()}).model_dump(mode="json")


def _status(dataset: Dataset, case: Case, name: str) -> tuple[str, int, int]:
    try:
        status = dataset.path(name).stat()
    except OSError as error:
        raise DataError(
            "A file of this case cannot be found.",
            case=case.id,
            file=dataset.path(name),
            found=error.strerror or str(error),
            remedy=f"Put the file back, or take the case out; `autofuse check {dataset.root}` lists all problems.",
        ) from None
    return name, status.st_size, status.st_mtime_ns
