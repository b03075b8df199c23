"""A DICOM series as an image: slices sorted by place, judged for gaps, and rescaled to the scanner's values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from autofuse.foundation.errors import DataError
from autofuse.images.axes import check_axes, geometry_from
from autofuse.images.dicom_files import guarded, read_header, require_dicom, slice_files
from autofuse.images.geometry import Geometry
from autofuse.images.image import Image
from autofuse.images.nifti_header import MAX_VOXELS
from autofuse.images.room import room_for

if TYPE_CHECKING:
    from pydicom import Dataset

ORIENTATION_TOLERANCE = 1e-4
"""Largest difference of a direction cosine between slices of one series."""
STEP_TOLERANCE = 0.02
"""Largest deviation of a slice from its even place, as a share of the distance between slices."""
ROUNDING_MM = 0.01
"""Positions are often written with two decimals."""
_LARGEST_INTEGER = 2**31 - 1


@dataclass(frozen=True)
class Series:
    """One series whose slices make up a grid; no pixel has been read.

    Attributes:
        files, headers: of the slices, along the grid's first axis.
        geometry: shape (slice, row, column), LPS.
    """

    folder: Path
    files: tuple[Path, ...]
    headers: tuple[Dataset, ...]
    geometry: Geometry

    def text(self, keyword: str) -> str:
        """An attribute of the first slice as text, empty where there is none."""
        value = self.headers[0].get(keyword)
        return "" if value is None else str(value).strip()

    @property
    def lossy(self) -> bool:
        """Whether a slice was compressed with loss at any time."""
        return any(header.get("LossyImageCompression") == "01" for header in self.headers)


def open_series(folder: str | Path, *, max_voxels: int = MAX_VOXELS) -> Series:
    """The one series in ``folder``, its slices in the order in which they lie along their normal.

    Raises:
        UsageError: if autofuse[dicom] is not installed.
        DataError: if a file is not a slice that is read; if the folder holds several series, or slices of several sizes
            or orientations; if slices are missing, doubled or unevenly spaced, or the gantry was tilted.
    """
    require_dicom()
    folder = Path(folder)
    files = slice_files(folder)
    headers = [read_header(path) for path in files]
    _require_one_series(folder, headers)
    return guarded(folder, lambda: _sorted_series(folder, files, headers, max_voxels))


def read_voxels(series: Series) -> Image:
    """The series' voxels (slice, row, column) in the scanner's values: stored value * slope + intercept.

    Whole numbers stay whole (int16 or int32) where every slope is 1 and every intercept whole; else float32.

    Raises:
        DataError: if the pixels of a slice cannot be decoded or are not what its header says.
        ResourceError: if the memory does not suffice.
    """
    pairs = zip(series.files, series.headers, strict=True)
    scales = [guarded(path, partial(_rescale, header)) for path, header in pairs]
    whole = all(slope == 1 and intercept == round(intercept) for slope, intercept in scales)
    dtype = np.dtype(np.int32 if whole else np.float32)
    voxels = room_for(int(np.prod(series.geometry.shape)), dtype, series.folder).reshape(series.geometry.shape)
    for index, (path, (slope, intercept)) in enumerate(zip(series.files, scales, strict=True)):
        stored = _pixels(path, series.geometry.shape[1:])
        scaled = stored.astype(np.float64) * slope + intercept
        if not np.isfinite(scaled).all() or np.abs(scaled).max() > _LARGEST_INTEGER:
            raise DataError(
                "The values of this slice cannot be meant.",
                file=path,
                found=f"slope {slope:g}, intercept {intercept:g}",
                expected="finite values of at most 2^31",
            )
        voxels[index] = scaled
    if whole and np.iinfo(np.int16).min <= voxels.min() and voxels.max() <= np.iinfo(np.int16).max:
        voxels = voxels.astype(np.int16)
    return Image(voxels, series.geometry, ("it was compressed with loss",) if series.lossy else ())


def _pixels(path: Path, shape: tuple[int, ...]) -> NDArray[Any]:
    """Stored values (row, column) of one slice."""
    from pydicom.pixels.utils import pixel_array

    pixels: NDArray[Any] = guarded(path, lambda: pixel_array(path))
    if pixels.shape != shape:
        raise DataError("The pixels are not of the size that the header names.", file=path, found=str(pixels.shape))
    return pixels


def _rescale(header: Dataset) -> tuple[float, float]:
    slope, intercept = header.get("RescaleSlope"), header.get("RescaleIntercept")
    return 1.0 if slope in (None, "") else float(slope), 0.0 if intercept in (None, "") else float(intercept)


def _require_one_series(folder: Path, headers: Sequence[Dataset]) -> None:
    """Return if all slices are of one series.

    Raises:
        DataError: otherwise, with the identifiers and descriptions of the series.
    """
    found: dict[str, list[str]] = {}
    for header in headers:
        told = " ".join(str(header.get(name, "")) for name in ("Modality", "SeriesNumber", "SeriesDescription"))
        found.setdefault(str(header.SeriesInstanceUID), []).append(" ".join(told.split()))
    if len(found) > 1:
        raise DataError(
            "The folder holds several series.",
            file=folder,
            found="; ".join(f"{uid} ({told[0]}): {len(told)} files" for uid, told in list(found.items())[:8]),
            expected="one",
            remedy="Give each series a folder of its own, and name the folders in the order of the modalities.",
        )


def _sorted_series(folder: Path, files: Sequence[Path], headers: Sequence[Dataset], max_voxels: int) -> Series:
    first = headers[0]
    plane = [float(value) for value in (*first.ImageOrientationPatient, *first.PixelSpacing)]
    for path, header in zip(files, headers, strict=True):
        _require_same_plane(path, header, first, plane)
    shape = (len(headers), int(first.Rows), int(first.Columns))
    if int(np.prod(shape, dtype=object)) > max_voxels or min(shape) < 1:
        raise DataError("The series has an impossible size.", file=folder, found=" x ".join(map(str, shape)))
    along_row, along_column = (np.array(axis) / np.linalg.norm(axis) for axis in (plane[:3], plane[3:6]))
    normal = np.cross(along_row, along_column)
    positions = np.array([[float(value) for value in header.ImagePositionPatient] for header in headers])
    order = np.argsort(positions @ normal, kind="stable")
    positions = positions[order]
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = along_row * plane[7], along_column * plane[6]
    affine[:3, 2] = _step(positions, normal, first, folder)
    affine[:3, 3] = positions[0]
    check_axes(affine, "position of the slices", folder)
    sorted_files = tuple(files[index] for index in order)
    _require_even(positions, affine[:3, 2], normal, sorted_files)
    return Series(folder, sorted_files, tuple(headers[i] for i in order), geometry_from(affine, shape))


def _require_same_plane(path: Path, header: Dataset, first: Dataset, plane: Sequence[float]) -> None:
    """Return if the slice has the size, orientation, pixels and coordinate system of the first one."""
    own = [float(value) for value in (*header.ImageOrientationPatient, *header.PixelSpacing)]
    names = ("Rows", "Columns", "FrameOfReferenceUID")
    other = [name for name in names if header.get(name) != first.get(name)]
    lengths = [np.linalg.norm(own[:3]), np.linalg.norm(own[3:6])]
    if (
        len(own) != 8
        or not np.allclose(lengths, 1, atol=1e-3)
        or not np.allclose(own, plane, atol=ORIENTATION_TOLERANCE, rtol=0)
    ):
        other.insert(0, "orientation or pixel size")
    if other:
        raise DataError(
            "The slices do not lie on one grid.",
            file=path,
            found=f"another {', '.join(other)}: " + " ".join(f"{value:g}" for value in own),
            expected="as in the other slices: " + " ".join(f"{value:g}" for value in plane),
            remedy="Move slices of other orientations (a scout, a reformat) out of the folder.",
        )


def _step(positions: NDArray[np.float64], normal: NDArray[np.float64], first: Dataset, folder: Path) -> Any:
    """The vector from one slice to the next: the mean of the usual gaps, or of a single slice its thickness."""
    if len(positions) > 1:
        gaps = np.diff(positions @ normal)
        typical = float(np.sort(gaps)[(len(gaps) - 1) // 2])  # the lower median: a gap that is there, not a mean of two
        if gaps.min() <= ROUNDING_MM:
            raise DataError(
                "Several slices lie at one place, so they are not one volume.",
                file=folder,
                found=f"{int((gaps <= ROUNDING_MM).sum()) + 1} slices or more of {len(positions)} share a place",
                expected="one slice at each place",
                remedy="Split phases, echoes or b-values into folders of their own; remove copies.",
            )
        near = np.abs(gaps - typical) <= STEP_TOLERANCE * typical + ROUNDING_MM
        # Over even gaps only: a missing slice must not stretch the rest before it is named.
        return np.diff(positions, axis=0)[near].mean(axis=0)
    thickness = first.get("SpacingBetweenSlices") or first.get("SliceThickness")
    if thickness in (None, ""):
        raise DataError("One slice alone does not tell how thick it is.", file=folder, expected="SliceThickness")
    return normal * abs(float(thickness))  # nuclear medicine gives the spacing a sign


def _require_even(
    positions: NDArray[np.float64], step: NDArray[np.float64], normal: NDArray[np.float64], files: Sequence[Path]
) -> None:
    """Return if every slice lies where even steps from the first one lead."""
    length = float(np.linalg.norm(step))
    gaps = np.diff(positions @ normal)
    tolerance = STEP_TOLERANCE * length + ROUNDING_MM
    uneven = np.flatnonzero(np.abs(gaps - length) > tolerance)
    if len(uneven):
        at = int(uneven[0])
        raise DataError(
            "Slices are missing or unevenly spaced.",
            file=files[at + 1],
            found=f"a gap of {gaps[at]:.3f} mm after {files[at].name}; {len(uneven)} such gaps in all",
            expected=f"{length:.3f} mm between all slices",
            remedy="Export the series again, whole. If it was scanned so, resample it with a tool that is made for it.",
        )
    ideal = positions[0] + np.arange(len(positions))[:, None] * step
    off = np.linalg.norm(positions - ideal, axis=1)
    # Rounded positions let the mean step drift a little over many slices; half a step is never rounding.
    if off.max() > min(tolerance * 5, length / 2):
        at = int(off.argmax())
        raise DataError(
            "A slice lies off the line of the others.",
            file=files[at],
            found=f"{off[at]:.3f} mm from its even place",
            expected=f"at most {min(tolerance * 5, length / 2):.3f} mm",
            remedy="Export the series again; a table that moved sideways makes no rectangular grid.",
        )
