"""A scribbled copy of a data set: a command of its own, whose result is a data set like any other."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from autofuse.foundation.console import log
from autofuse.foundation.errors import AutofuseError
from autofuse.road.places import dataset_folder
from autofuse.road.spreading import evenly

if TYPE_CHECKING:
    from autofuse.dataset.types import Dataset
    from autofuse.report.strokes import Scribbled
    from autofuse.scribbles.options import ScribbleOptions
    from autofuse.scribbles.types import CaseScribbles, Scribbles

PICTURE_FILE = "scribbles.png"
MOST_PICTURED = 3
"""Cases in the picture, evenly spread over the list of cases."""


def scribble(
    dataset: str | Path, out: str | Path, *, options: ScribbleOptions | None = None, workers: int | None = None
) -> Scribbles:
    """What was drawn; ``out`` then holds a copy of the data set whose labels are scribbles.

    The copy is an nnU-Net raw folder with the dense labels beside the scribbles, to judge by. Images are linked where
    the disk allows it. The same call again goes on, or finds the copy finished.

    Args:
        options: how strokes are drawn.
        workers: processes; 0 for none, None decides.

    Raises:
        UsageError: if the options make no sense, or ``out`` holds anything but this copy or lies in the data set.
        DataError: naming all cases that cannot be used.
    """
    from autofuse.dataset.opening import open_dataset
    from autofuse.road.groundwork import waiting_lock
    from autofuse.scribbles.options import ScribbleOptions
    from autofuse.scribbles.write import refuse_other_content, write_scribbled

    options = options or ScribbleOptions()
    opened = open_dataset(dataset_folder(dataset))
    folder = Path(os.path.abspath(out))  # noqa: PTH100  (resolve() would lose the name of a linked folder)
    refuse_other_content(opened, folder, options)
    with waiting_lock(folder):
        before = (folder / "scribbles.json").exists()
        made = write_scribbled(opened, folder, options, workers=workers)
        if not before or not (folder / PICTURE_FILE).exists():
            _draw_picture(folder, made)
    return made


def _draw_picture(folder: Path, made: Scribbles) -> None:
    """The picture beside the copy; one that fails is only logged."""
    from autofuse.dataset.opening import open_dataset
    from autofuse.foundation.files import write_bytes
    from autofuse.report.strokes import scribble_sheet

    try:
        copy = open_dataset(folder)
        shown = [_pictured(copy, case) for case in evenly(made.cases, MOST_PICTURED)]
        cases = [case for case in shown if case is not None]
        if cases:
            title = f"{made.dataset}: scribbles, and the labels that they were drawn from"
            write_bytes(folder / PICTURE_FILE, scribble_sheet(title, cases, copy.labels))
    except (AutofuseError, OSError, ValueError) as error:
        log().warning("%s was not drawn: %s", folder / PICTURE_FILE, error)


def _pictured(copy: Dataset, drawn: CaseScribbles) -> Scribbled | None:
    """One case for the picture; None where no image lies on the label's grid."""
    from autofuse.dataset.raw import load_case, load_truth
    from autofuse.report.strokes import Scribbled

    raw = load_case(copy, copy.case(drawn.id))
    truth = load_truth(copy, raw.case)
    channel = next((k for k in range(len(raw.images)) if raw.on_reference(k)), None)
    image = None if channel is None else raw.images[channel]
    if channel is None or image is None or raw.label is None or truth is None:
        return None
    return Scribbled(
        name=drawn.id,
        note=f"{drawn.share:.2%} of the voxels, strokes on {drawn.slices_drawn} of {drawn.slices} slices",
        modality=copy.modalities[channel].name,
        image=image.voxels,
        strokes=raw.label,
        dense=truth[0],
        geometry=raw.geometry,
        axis=drawn.axis,
    )
