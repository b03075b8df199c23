"""A mask as a DICOM Segmentation object: one binary segment per class or region, bound to the series it was drawn on.

The object is made by highdicom; DICOM PS3.3 A.51 describes it.
"""

from __future__ import annotations

import itertools
import warnings
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autofuse import __version__
from autofuse.dataset.types import Labels
from autofuse.foundation.errors import DataError
from autofuse.images.dicom_read import Series
from autofuse.images.geometry import Geometry
from autofuse.images.image import Image

MANUFACTURER = "autofuse"
SERIES_NUMBER = 9000
"""Far from the numbers that scanners give to the series of a study."""
_MAY_BE_EMPTY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
)
LONGEST_LABEL = 64
"""Characters of a segment's name (value representation LO)."""


@dataclass(frozen=True)
class Identity:
    """What tells one object from another; all of it new where nothing is given.

    Attributes:
        series_uid, instance_uid: DICOM identifiers.
        moment: when it was made.
    """

    series_uid: str | None = None
    instance_uid: str | None = None
    moment: datetime | None = None


def make_segmentation(
    mask: Image, labels: Labels, series: Series, *, file: Path, algorithm: str, identity: Identity | None = None
) -> bytes:
    """The DICOM file (binary, explicit VR little endian) with a segment for each class or region of ``labels``.

    Classes and regions without a voxel have a segment, too: they were looked for. Regions may overlap.

    Args:
        mask: raw values (z, y, x); its axes may run in another order or direction than the series'.
        file: of the mask, for messages; algorithm: name that stands in each segment, with this version of autofuse.

    Raises:
        DataError: if the mask does not lie on the series' grid, has values that ``labels`` do not declare, or the
            series lacks what a segmentation has to repeat of it.
    """
    from highdicom.seg import Segmentation
    from pydicom.uid import generate_uid

    identity = identity or Identity()
    voxels = on_series_grid(mask, series.geometry, file)
    _require_declared(voxels, labels, file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an empty mask is one of highdicom's warnings, and a good answer here
        try:
            made = Segmentation(
                source_images=_sources(series),
                pixel_array=_segments(voxels, labels),
                segmentation_type="BINARY",
                segment_descriptions=_descriptions(labels, algorithm),
                series_instance_uid=identity.series_uid or generate_uid(prefix=None),
                series_number=SERIES_NUMBER,
                sop_instance_uid=identity.instance_uid or generate_uid(prefix=None),
                instance_number=1,
                manufacturer=MANUFACTURER,
                manufacturer_model_name=MANUFACTURER,
                software_versions=__version__,
                device_serial_number="0",
                content_label="SEGMENTATION",
                content_description=f"made by {MANUFACTURER} {__version__}",
                series_description=f"Segmentation ({algorithm})"[:LONGEST_LABEL],
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                "The series cannot carry a segmentation.",
                file=series.folder,
                found=f"{type(error).__name__}: {error}"[:300],
                expected="patient, study and frame of reference in every slice",
                remedy="Export the series from the archive again, with all attributes of its kind.",
            ) from None
    made.SpecificCharacterSet = "ISO_IR 192"  # UTF-8: names of labels may have any letters
    _set_moment(made, identity.moment or datetime.now())
    stream = BytesIO()
    made.save_as(stream)
    return stream.getvalue()


def on_series_grid(mask: Image, grid: Geometry, file: Path) -> NDArray[Any]:
    """The mask's voxels in the order of ``grid``; axes are exchanged and turned round where that alone is different.

    Raises:
        DataError: if the mask lies on another grid.
    """
    tolerance_mm = max(0.01, 0.01 * min(grid.spacing_mm))
    for axes in itertools.permutations(range(3)):
        if tuple(mask.geometry.shape[axis] for axis in axes) != grid.shape:
            continue
        for turned in itertools.product((False, True), repeat=3):
            if _ordered(mask.geometry, axes, turned).same_grid(grid, tolerance_mm):
                steps = tuple(slice(None, None, -1 if back else 1) for back in turned)
                return np.ascontiguousarray(mask.voxels.transpose(axes)[steps])
    raise DataError(
        "The mask does not lie on the series' grid.",
        file=file,
        found=_told(mask.geometry),
        expected=_told(grid),
        remedy="Name the series on whose grid the mask is: `predict` takes that of the reference modality.",
    )


def _ordered(geometry: Geometry, axes: tuple[int, ...], turned: tuple[bool, ...]) -> Geometry:
    """The same voxels with their axes in another order, those that are ``turned`` counted from the far end."""
    direction = np.asarray(geometry.direction)[:, axes]
    spacing = np.asarray(geometry.spacing_mm)[list(axes)]
    shape = np.asarray(geometry.shape)[list(axes)]
    back = np.asarray(turned)
    origin = np.asarray(geometry.origin_mm) + (direction * spacing) @ ((shape - 1) * back)
    direction = direction * np.where(back, -1.0, 1.0)
    rows = tuple((float(row[0]), float(row[1]), float(row[2])) for row in direction)
    return Geometry(
        (int(shape[0]), int(shape[1]), int(shape[2])),
        (float(spacing[0]), float(spacing[1]), float(spacing[2])),
        (float(origin[0]), float(origin[1]), float(origin[2])),
        (rows[0], rows[1], rows[2]),
    )


def _told(geometry: Geometry) -> str:
    shape = " x ".join(map(str, geometry.shape))
    spacing = " x ".join(f"{value:.4g}" for value in geometry.spacing_mm)
    return f"{shape} voxels of {spacing} mm from {', '.join(f'{value:.2f}' for value in geometry.origin_mm)} (LPS)"


def _require_declared(voxels: NDArray[Any], labels: Labels, file: Path) -> None:
    values = {int(value) for value in np.unique(voxels)}
    unknown = sorted(values - {0, *labels.raw_values})
    if unknown:
        raise DataError(
            "The mask has values that the labels do not declare.",
            file=file,
            found=", ".join(map(str, unknown[:8])),
            expected="0 (background), " + ", ".join(map(str, labels.raw_values)),
            remedy="Name the labels that this mask was made with.",
        )


def _sources(series: Series) -> list[Any]:
    """The slices' headers, with what DICOM allows to be empty (type 2) empty where a slice leaves it out."""
    sources = [copy(header) for header in series.headers]
    for source in sources:
        for keyword in _MAY_BE_EMPTY:
            source.setdefault(keyword, "")
        if source.get("SliceThickness") in (None, ""):
            source.SliceThickness = round(series.geometry.spacing_mm[0], 6)
    return sources


def _segments(voxels: NDArray[Any], labels: Labels) -> NDArray[np.uint8]:
    """Segments (slice, row, column, segment), each 0 or 1; without the last axis and numbered where none overlap."""
    values = [value for item in labels.classes for value in item.raw_values]
    if len(values) > len(set(values)):
        every = [np.isin(voxels, item.raw_values) for item in labels.classes]
        return np.stack(every, axis=-1).astype(np.uint8)
    numbered = np.zeros(voxels.shape, np.uint16 if len(labels.classes) > 255 else np.uint8)
    for number, item in enumerate(labels.classes, start=1):
        numbered[np.isin(voxels, item.raw_values)] = number
    return numbered


def _descriptions(labels: Labels, algorithm: str) -> list[Any]:
    """A description of each segment. The codes say tissue: names of labels do not tell which structure is meant."""
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentDescription
    from pydicom.sr.codedict import codes

    by = AlgorithmIdentificationSequence(
        name=algorithm, version=__version__, family=codes.cid7162.ArtificialIntelligence
    )
    return [
        SegmentDescription(
            segment_number=number,
            segment_label=item.name[:LONGEST_LABEL],
            segmented_property_category=codes.SCT.Tissue,
            segmented_property_type=codes.SCT.Tissue,
            algorithm_type="AUTOMATIC",
            algorithm_identification=by,
        )
        for number, item in enumerate(labels.classes, start=1)
    ]


def _set_moment(made: Any, moment: datetime) -> None:
    """Give the object one time, and identifiers of its dimensions that follow from its own."""
    from pydicom.uid import generate_uid

    day, time = moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")
    for part in ("InstanceCreation", "Content", "Series"):
        setattr(made, f"{part}Date", day)
        setattr(made, f"{part}Time", time)
    for equipment in made.get("ContributingEquipmentSequence", ()):
        equipment.ContributionDateTime = f"{day}{time}"
    organisation = generate_uid(entropy_srcs=[str(made.SOPInstanceUID), "dimensions"])
    for item in (*made.DimensionOrganizationSequence, *made.DimensionIndexSequence):
        item.DimensionOrganizationUID = organisation
