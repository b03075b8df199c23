"""DICOM series in, as the images of a case; masks out, as DICOM Segmentation objects."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from autofuse.foundation.console import progress, say
from autofuse.foundation.errors import DataError, UsageError
from autofuse.foundation.files import write_bytes
from autofuse.foundation.values import StoredValue, Value
from autofuse.road.steps import Folder

if TYPE_CHECKING:
    from autofuse.dataset.types import Labels
    from autofuse.images.dicom_read import Series
    from autofuse.images.image import Image
    from autofuse.sharing.dicom_seg import Identity

_CASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
MAX_SERIES = 10_000
"""Channels are numbered by four digits."""


class SeriesRead(Value):
    """One series that has become an image.

    Attributes:
        file: absolute; folder: of the series, absolute.
        series_uid, modality, description: as its slices say.
        shape, spacing_mm: in array order (slice, row, column).
        warnings: what is odd about it.
    """

    file: str
    folder: str
    series_uid: str
    modality: str
    description: str
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    warnings: tuple[str, ...] = ()


class CaseRead(StoredValue):
    """One case out of DICOM: a series for each modality, in their order."""

    kind: ClassVar[str] = "case from DICOM"

    case: str
    series: tuple[SeriesRead, ...]


class SegmentationWritten(StoredValue):
    """One DICOM Segmentation object.

    Attributes:
        file: absolute; mask: that it was made of, absolute.
        series_uid: of the images that it refers to.
        segments: name and number of voxels of each, in their order.
    """

    kind: ClassVar[str] = "DICOM segmentation"

    file: str
    mask: str
    series_uid: str
    algorithm: str
    segments: tuple[tuple[str, int], ...]


def from_dicom(folders: Sequence[Folder], out: Folder, *, case: str) -> CaseRead:
    """Each folder's series as ``<case>_0000.nii.gz`` … in the folder ``out``, one a modality, in the order given.

    All series are read before the first image is written.

    Raises:
        UsageError: if autofuse[dicom] is not installed, the case's name cannot be a file's, or it has images there.
        DataError: if a folder does not hold one whole series on one grid, or the series are of several patients.
        ResourceError: if memory or disk do not suffice.
    """
    target = Path(out).absolute()
    _require_free(case, target, len(folders))
    read = _read(folders)
    files = [target / f"{case}_{channel:04d}.nii.gz" for channel in range(len(read))]
    _write(files, [image for _, image in read])
    told = [_told(file, item, image, read[0][0]) for file, (item, image) in zip(files, read, strict=True)]
    for item in told:
        for warning in item.warnings:
            say(f"{Path(item.file).name}: {warning}")
    return CaseRead(case=case, series=tuple(told))


def to_dicom_seg(
    mask: Folder,
    series: Folder,
    out: Folder,
    *,
    labels: Folder,
    algorithm: str = "autofuse",
    workspace: Folder | None = None,
    identity: Identity | None = None,
) -> SegmentationWritten:
    """The mask as a DICOM Segmentation object ``out`` that refers to the slices in the folder ``series``.

    Args:
        labels: a dataset.json, a data set's folder, or the name of an imported model.
        algorithm: name that stands in every segment.
        identity: identifiers and time; new ones if None.

    Raises:
        UsageError: if autofuse[dicom] is not installed, or ``out`` is there already.
        DataError: if mask, labels and series do not fit each other, or one of them cannot be read.
        ResourceError: if the disk is full.
    """
    from autofuse.images.dicom_files import require_dicom
    from autofuse.images.dicom_read import open_series
    from autofuse.images.io import read_label_image
    from autofuse.sharing.dicom_seg import make_segmentation

    require_dicom()
    target, file = Path(out).absolute(), Path(mask).absolute()
    if target.exists():
        raise UsageError(
            "The segmentation would replace a file.",
            found=str(target),
            remedy="Name another file with -o, or remove it.",
        )
    _require_algorithm(algorithm)
    meanings = read_label_names(labels, workspace)
    image = read_label_image(file)
    opened = open_series(Path(series).absolute())
    content = make_segmentation(image, meanings, opened, file=file, algorithm=algorithm, identity=identity)
    write_bytes(target, content)
    return SegmentationWritten(
        file=str(target),
        mask=str(file),
        series_uid=opened.text("SeriesInstanceUID"),
        algorithm=algorithm,
        segments=_counts(image.voxels, meanings),
    )


def read_label_names(source: Folder, workspace: Folder | None = None) -> Labels:
    """What mask values mean, from a dataset.json (alone or in a data set's folder) or an imported model's name.

    Raises:
        DataError: if there is nothing of the kind, or it declares no labels.
        ModelError: if the imported model is damaged.
    """
    from autofuse.dataset.json_file import read_json
    from autofuse.dataset.label_declaration import read_labels
    from autofuse.dataset.opening import open_dataset
    from autofuse.dataset.problems import Findings
    from autofuse.road.models import choose_model
    from autofuse.road.places import imported_model

    path = Path(source)
    if not path.is_file():
        if imported_model(source, workspace) is not None:
            return choose_model(source, workspace).dataset.labels
        folder = _labels_folder(source)
        if not (folder / "dataset.json").is_file():
            return open_dataset(folder).labels
        path = folder / "dataset.json"
    findings = Findings(path.absolute().parent)
    content = read_json(path)
    labels = read_labels(content if isinstance(content, dict) else {}, findings)
    findings.raise_first()
    assert labels is not None, "a declaration without errors yields labels"
    return labels


def _read(folders: Sequence[Folder]) -> list[tuple[Series, Image]]:
    """Every series with its image; grids are judged before the first pixel is read."""
    from autofuse.images.dicom_read import open_series, read_voxels

    with progress("reading", 2 * len(folders)) as advance:
        series = []
        for folder in folders:
            series.append(open_series(Path(folder).absolute()))
            advance(1, note=str(folder))
        _require_one_patient(series)
        read = []
        for item in series:
            read.append((item, read_voxels(item)))
            advance(1, note=item.folder.name)
    return read


def _write(files: Sequence[Path], images: Sequence[Image]) -> None:
    """Write all images or none: a case that lacks a modality for want of disk space must not look whole."""
    from autofuse.images.write import write_image

    try:
        for file, image in zip(files, images, strict=True):
            write_image(file, image.voxels, image.geometry)
    except BaseException:
        for file in files:
            file.unlink(missing_ok=True)
        raise


def _told(file: Path, series: Series, image: Image, first: Series) -> SeriesRead:
    """What is told of one image."""
    return SeriesRead(
        file=str(file),
        folder=str(series.folder),
        series_uid=series.text("SeriesInstanceUID"),
        modality=series.text("Modality"),
        description=series.text("SeriesDescription"),
        shape=series.geometry.shape,
        spacing_mm=series.geometry.spacing_mm,
        warnings=(*image.warnings, *_odd_frame(series, first)),
    )


def _labels_folder(source: Folder) -> Path:
    """The data set's folder that ``source`` stands for."""
    from autofuse.road.places import dataset_folder

    try:
        return dataset_folder(source)
    except DataError:
        raise DataError(
            "Nothing says what the mask's values mean.",
            file=source,
            found="no file, folder or imported model of this name",
            expected="a dataset.json, a data set's folder, or the name of an imported model",
            remedy="Name one with --labels.",
        ) from None


def _require_free(case: str, folder: Path, channels: int) -> None:
    """Return if the case has a usable name and no image in ``folder``."""
    if not _CASE.fullmatch(case) or re.search(r"_\d{4}$", case):
        raise UsageError(
            "This cannot be the name of a case.",
            found=repr(case)[:120],
            expected="letters, digits, points, hyphens and underscores, without a channel's number at the end",
        )
    if not 1 <= channels <= MAX_SERIES:
        raise UsageError("No series is named.", expected="a folder for each modality")
    there = sorted(folder.glob(f"{case}_[0-9][0-9][0-9][0-9].*")) if folder.is_dir() else []
    if there:
        raise UsageError(
            "This case has images already.",
            found=", ".join(path.name for path in there[:5]) + f" in {folder}",
            remedy="Give another name with --case or another folder with -o, or remove them.",
        )


def _require_one_patient(series: Sequence[Series]) -> None:
    """Return if all series say the same of the patient; who that is stands in no message."""
    for item in series[1:]:
        if item.text("PatientID") != series[0].text("PatientID"):
            raise DataError(
                "The series are of several patients.",
                file=item.folder,
                found="another PatientID than in the first series",
                expected="one patient",
                remedy="Name the series of one patient; if it is one, have the identifiers corrected at their source.",
            )


def _odd_frame(item: Series, first: Series) -> tuple[str, ...]:
    """A warning where positions in a series need not mean the same place as in the first."""
    if item is first or item.text("FrameOfReferenceUID") == first.text("FrameOfReferenceUID") != "":
        return ()
    return ("it need not share a coordinate system with the first series: look at them laid over each other",)


def _require_algorithm(name: str) -> None:
    if not re.fullmatch(r"[^\x00-\x1f\\]{1,64}", name) or not name.strip():
        raise UsageError("This cannot be an algorithm's name.", found=repr(name)[:120], expected="1 to 64 characters")


def _counts(voxels: object, labels: Labels) -> tuple[tuple[str, int], ...]:
    import numpy as np

    array = np.asarray(voxels)
    return tuple((item.name, int(np.isin(array, item.raw_values).sum())) for item in labels.classes)
