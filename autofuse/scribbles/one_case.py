"""One case of the copy: its scribbles, its dense truth and its images, each file whole or absent."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from autofuse.dataset.label_codes import class_names, decode_labels
from autofuse.dataset.raw import CaseFiles
from autofuse.dataset.types import Dataset, Labels
from autofuse.foundation.files import crc32_of_file, write_atomically
from autofuse.images import read_label_image, write_image, write_labels
from autofuse.images.io import ending_of
from autofuse.scribbles.layout import CopiedCase, CopiedImage
from autofuse.scribbles.options import ScribbleOptions
from autofuse.scribbles.types import CaseScribbles, ClassStrokes, share_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Copying:
    """What all cases of a copy share.

    Attributes:
        dataset: the source; its cases are not needed.
        folder: of the copy; records: of what each case got.
        labels: the source's, with an ignore value.
    """

    dataset: Dataset
    folder: Path
    records: Path
    labels: Labels
    options: ScribbleOptions


def copy_case(item: tuple[CopiedCase, str], shared: Copying) -> CaseScribbles | None:
    """What was drawn, after all files of the case are there; None for a case without a label.

    Args:
        item: the case, and the hash of its files in the source.

    Raises:
        DataError: if a file of the case cannot be used.
        ResourceError: if the disk is full.
    """
    copied, source = item
    made = None if copied.scribbles is None else _scribble(copied, source, shared)
    if copied.dense is not None and copied.truth is not None:
        _copy_label(shared.dataset.path(copied.truth), shared.folder / copied.dense)
    files = CaseFiles(shared.dataset, copied.case)
    for image in copied.images:
        _copy_image(files, image, shared)
    if made is not None:
        made.save(record_of(shared.records, copied.case.id))
    return made


def record_of(records: Path, case: str) -> Path:
    """Where it is written what a case got; it is there only when all its files are."""
    return records / f"{case}.json"


def _scribble(copied: CopiedCase, source: str, shared: Copying) -> CaseScribbles:
    from autofuse.scribbles.drawing import draw, stream_of, tally

    case = copied.case
    assert case.label is not None and copied.scribbles is not None
    dense, geometry, _ = CaseFiles(shared.dataset, case).label(case.label)
    drawn = draw(dense, geometry, shared.options, stream_of(case.id, shared.options.seed))
    path = shared.folder / copied.scribbles
    write_labels(path, decode_labels(drawn.label, shared.labels), geometry)
    largest = len(shared.labels.raw_values)
    there, shown = (tally(np.moveaxis(label, drawn.axis, 0), largest) for label in (dense, drawn.label))
    return CaseScribbles(
        id=case.id,
        source=source,
        crc32=crc32_of_file(path),
        axis=drawn.axis,
        slices=len(shown),
        slices_drawn=int(shown.any(axis=1).sum()),
        share=share_of(int(shown.sum()), int(there.sum())) or 0.0,
        classes=_classes(class_names(shared.labels), there, shown),
    )


def _classes(names: tuple[str, ...], there: NDArray[np.int64], shown: NDArray[np.int64]) -> tuple[ClassStrokes, ...]:
    """Per class what the dense label has and what was drawn; from voxels (slices, class indices)."""
    return tuple(
        ClassStrokes(
            name=name,
            dense_voxels=int(there[:, index].sum()),
            scribbled_voxels=int(shown[:, index].sum()),
            share=share_of(int(shown[:, index].sum()), int(there[:, index].sum())),
            slices=int(shown[:, index].astype(bool).sum()),
        )
        for index, name in enumerate(names)
    )


def _copy_label(source: Path, target: Path) -> None:
    """Labels are never linked: who mends one in the copy must not change the source."""
    if not source.name.endswith(ending_of(target)):
        image = read_label_image(source)
        write_labels(target, image.voxels, image.geometry)
        return

    def fill(temp: Path) -> None:
        shutil.copyfile(source, temp)

    def verify(temp: Path) -> None:
        if crc32_of_file(temp) != crc32_of_file(source):
            raise OSError("what was read back is not what was copied")

    write_atomically(target, fill, verify)


def _copy_image(files: CaseFiles, image: CopiedImage, shared: Copying) -> None:
    target = shared.folder / image.target
    if image.as_is:
        _link(shared.dataset.path(image.source.path), target)
        return
    read = files.image(image.channel)
    assert read is not None
    write_image(target, read.voxels, read.geometry)


def _link(source: Path, target: Path) -> None:
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
