"""The verbs that read and write DICOM: their options, what they do, and what they show."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from autofuse.cli.answers import Answer, answer

if TYPE_CHECKING:
    from rich.table import Table

    from autofuse.road import CaseRead, SegmentationWritten


def add_from_dicom(parser: ArgumentParser) -> None:
    """Which series, and what they become."""
    parser.set_defaults(dataset=None)
    parser.add_argument(
        "series", metavar="SERIES_DIR", nargs="+", help="folder of one series; one for each modality, in their order"
    )
    parser.add_argument("-o", "--out", metavar="IMAGES", required=True, help="folder where the images go")
    parser.add_argument(
        "--case", metavar="NAME", required=True, help="of the case: images are NAME_0000.nii.gz and so on"
    )


def add_to_dicom_seg(parser: ArgumentParser) -> None:
    """Which mask, on which series, and what its values mean."""
    parser.set_defaults(dataset=None)
    parser.add_argument("mask", metavar="MASK", help="a mask that `autofuse predict` wrote, or any on the series' grid")
    parser.add_argument(
        "--series", metavar="SERIES_DIR", required=True, help="folder of the series on whose grid the mask lies"
    )
    parser.add_argument("-o", "--out", metavar="FILE", required=True, help="the DICOM file to write, such as seg.dcm")
    parser.add_argument(
        "--labels",
        metavar="LABELS",
        required=True,
        help="what the mask's values mean: a dataset.json, a data set's folder, or the name of an imported model",
    )
    parser.add_argument(
        "--algorithm", metavar="NAME", default="autofuse", help="that stands in every segment (default: autofuse)"
    )
    parser.add_argument(
        "--workspace", metavar="DIR", help="where imported models are looked for (default: ./autofuse_workspace)"
    )


def from_dicom(options: Namespace) -> Answer:
    """Images out of series."""
    from autofuse import road
    from autofuse.cli import tables

    made = road.from_dicom(options.series, options.out, case=options.case)
    folder = str(Path(options.out).absolute())
    return answer(made, lambda: _series(made), lambda: tables.where({"folder": folder}))


def to_dicom_seg(options: Namespace) -> Answer:
    """A segmentation object out of a mask."""
    from autofuse import road
    from autofuse.cli import tables

    made = road.to_dicom_seg(
        options.mask,
        options.series,
        options.out,
        labels=options.labels,
        algorithm=options.algorithm,
        workspace=options.workspace,
    )
    return answer(made, lambda: _segments(made), lambda: tables.where({"segmentation": made.file}))


def _series(made: CaseRead) -> Table:
    """A line for each series: what it is, its grid, and the file's name."""
    from rich.markup import escape
    from rich.table import Table

    table = Table("series", "slices x rows x columns", "spacing in mm", "image", title=f"{made.case}, from DICOM")
    for item in made.series:
        table.add_row(
            escape(f"{item.modality} {item.description}".strip()),
            " x ".join(map(str, item.shape)),
            " x ".join(f"{value:.3g}" for value in item.spacing_mm),
            escape(Path(item.file).name),
        )
    return table


def _segments(made: SegmentationWritten) -> Table:
    """A line for each segment."""
    from rich.markup import escape
    from rich.table import Table

    table = Table("segment", "voxels")
    for name, voxels in made.segments:
        table.add_row(escape(name), str(voxels))
    return table
