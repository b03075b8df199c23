"""One case of the copy: its scribbles, its dense truth and its images, each file whole or absent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from autofuse.dataset.copying import CopiedCase, copy_image, copy_label
from autofuse.dataset.label_codes import class_names, decode_labels
from autofuse.dataset.raw import CaseFiles
from autofuse.dataset.types import Dataset, Labels
from autofuse.foundation.files import crc32_of_file
from autofuse.images import write_labels
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
    made = None if copied.label is None else _scribble(copied, source, shared)
    if copied.truth is not None and copied.truth_source is not None:
        copy_label(shared.dataset.path(copied.truth_source), shared.folder / copied.truth)
    files = CaseFiles(shared.dataset, copied.case)
    for image in copied.images:
        copy_image(files, image, shared.folder)
    if made is not None:
        made.save(record_of(shared.records, copied.case.id))
    return made


def record_of(records: Path, case: str) -> Path:
    """Where it is written what a case got; it is there only when all its files are."""
    return records / f"{case}.json"


def _scribble(copied: CopiedCase, source: str, shared: Copying) -> CaseScribbles:
    from autofuse.scribbles.drawing import draw, stream_of, tally

    case = copied.case
    assert case.label is not None and copied.label is not None
    dense, geometry, _ = CaseFiles(shared.dataset, case).label(case.label)
    drawn = draw(dense, geometry, shared.options, stream_of(case.id, shared.options.seed))
    path = shared.folder / copied.label
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
