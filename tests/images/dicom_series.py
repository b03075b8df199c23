"""Tiny DICOM series, written slice by slice with pydicom."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

PLAIN = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
OBLIQUE = ((0.8, 0.6, 0.0), (-0.48, 0.64, 0.6))
"""Row and column direction at right angles: their normal is (0.36, -0.48, 0.8)."""
Change = Callable[[int, Dataset], None]


def stored_values(shape: tuple[int, int, int]) -> NDArray[np.int16]:
    """Values that differ from voxel to voxel, (slice, row, column)."""
    return np.arange(np.prod(shape), dtype=np.int16).reshape(shape)


def write_series(
    folder: Path,
    shape: tuple[int, int, int] = (4, 5, 6),
    *,
    axes: Sequence[Sequence[float]] = PLAIN,
    spacing_mm: tuple[float, float, float] = (2.5, 0.7, 0.5),
    origin_mm: tuple[float, float, float] = (-10.0, 20.0, 30.0),
    uid: str = "1.2.3.4",
    change: Change | None = None,
    skip: Sequence[int] = (),
    **more: Any,
) -> NDArray[np.int16]:
    """CT slices, the last one first by file name; the stored values. ``change`` edits slice k; ``more``: attributes."""
    folder.mkdir(parents=True, exist_ok=True)
    values = stored_values(shape)
    normal = np.cross(axes[0], axes[1])
    for index in range(shape[0]):
        if index in skip:
            continue
        place = np.asarray(origin_mm) + index * spacing_mm[0] * normal
        header = _slice(values[index], place.tolist(), axes, spacing_mm, uid, index)
        for name, value in more.items():
            setattr(header, name, value)
        if change is not None:
            change(index, header)
        header.save_as(folder / f"IM{900 - index}", enforce_file_format=True)
    return values


def _slice(
    values: NDArray[np.int16],
    place: Sequence[float],
    axes: Sequence[Sequence[float]],
    spacing_mm: Sequence[float],
    uid: str,
    index: int,
) -> Dataset:
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = CTImageStorage
    header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[uid, str(index)])
    header.SeriesInstanceUID, header.StudyInstanceUID, header.FrameOfReferenceUID = uid, "1.2.3", "1.2.9"
    header.PatientID, header.PatientName, header.PatientBirthDate, header.PatientSex = "P1", "Nobody", "", ""
    header.StudyDate = header.StudyTime = header.StudyID = header.AccessionNumber = ""
    header.ReferringPhysicianName = ""
    header.Modality, header.SeriesNumber, header.SeriesDescription = "CT", 3, "thin"
    header.InstanceNumber = index + 1
    header.ImagePositionPatient = [round(value, 6) for value in place]
    header.ImageOrientationPatient = [*axes[0], *axes[1]]
    header.PixelSpacing, header.SliceThickness = [spacing_mm[1], spacing_mm[2]], spacing_mm[0]
    header.Rows, header.Columns = values.shape
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated = header.BitsStored = 16
    header.HighBit, header.PixelRepresentation = 15, 1
    header.RescaleSlope, header.RescaleIntercept = 1, 0
    header.PixelData = values.tobytes()
    return header
