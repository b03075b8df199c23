"""The files of a DICOM series, each opened within limits and judged before its pixels are touched.

Only what pydicom reads by itself, without a private dictionary, is looked at; nothing in a file names code that runs.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from autofuse.foundation.errors import AutofuseError, DataError, UsageError

if TYPE_CHECKING:
    from pydicom import Dataset

MAX_FILES = 10_000
MAX_FILE_BYTES = 1 << 28
READABLE_SYNTAXES = {
    "1.2.840.10008.1.2": "implicit VR little endian",
    "1.2.840.10008.1.2.1": "explicit VR little endian",
    "1.2.840.10008.1.2.2": "explicit VR big endian",
    "1.2.840.10008.1.2.5": "RLE lossless",
    "1.2.840.10008.1.2.4.50": "JPEG baseline",
    "1.2.840.10008.1.2.4.80": "JPEG-LS lossless",
    "1.2.840.10008.1.2.4.81": "JPEG-LS near-lossless",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 lossless",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
}
"""Transfer syntaxes that the packages of autofuse[dicom] decode. Deflated files are not read: they may grow without
limit."""
CONVERT = "Convert the series, for example with dcm2niix or gdcmconv --raw, and read what that writes."
_NOT_SLICES = ("DICOMDIR",)
_NEEDED = (
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "Rows",
    "Columns",
    "BitsAllocated",
    "PixelSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
)
_Result = TypeVar("_Result")


def require_dicom() -> None:
    """Nothing, if the packages are there that read and write DICOM.

    Raises:
        UsageError: otherwise, with the command that installs them.
    """
    try:
        import highdicom
        import pydicom  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "DICOM needs packages that are not installed.",
            found=str(error),
            expected="pydicom and highdicom",
            remedy="pip install 'autofuse[dicom]'",
        ) from None
    del highdicom


def guarded(path: Path, read: Callable[[], _Result]) -> _Result:
    """What ``read`` gives; whatever a damaged file makes pydicom raise becomes one error.

    Raises:
        DataError: that names the file.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read()
    except (AutofuseError, MemoryError):
        raise
    except Exception as error:  # pydicom and its decoders raise nearly every kind for a damaged file
        raise DataError(
            "The file cannot be read as DICOM.",
            file=path,
            found=f"{type(error).__name__}: {error}"[:200],
            expected="one slice of a series, as a scanner or archive writes it",
            remedy="Export the series again; move files that are no slices out of the folder.",
        ) from None


def slice_files(folder: Path) -> tuple[Path, ...]:
    """Regular files in ``folder``, without hidden ones and DICOMDIR; folders in it are not entered.

    Raises:
        DataError: if it is no folder, or holds none or too many.
    """
    if not folder.is_dir():
        raise DataError(
            "The folder of the series does not exist or is no folder.",
            file=folder,
            remedy="Name the folder that holds the files of one series.",
        )
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    files = tuple(entry for entry in entries if entry.is_file() and entry.name not in _NOT_SLICES)
    if not files or len(files) > MAX_FILES:
        inner = [entry.name for entry in entries if entry.is_dir()]
        raise DataError(
            "The folder does not hold the files of one series.",
            file=folder,
            found=f"{len(files)} files" + (f" and the folders {', '.join(inner[:5])}" if inner else ""),
            expected=f"1 to {MAX_FILES} files",
            remedy="Name the folder in which the slices themselves lie.",
        )
    return files


def read_header(path: Path) -> Dataset:
    """Everything before the pixels of the slice in ``path``.

    Raises:
        DataError: if it is no DICOM file, larger than 256 MiB, compressed in a way that is not read, or not one slice
            of grey values.
    """
    from pydicom import dcmread
    from pydicom.filereader import read_file_meta_info

    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise DataError("The file is far too large for one slice.", file=path, found=f"{size} bytes")
    with path.open("rb") as stream:
        if stream.read(132)[128:] != b"DICM":
            raise DataError(
                "This file is not DICOM.",
                file=path,
                expected="DICM after 128 bytes (DICOM part 10)",
                remedy="Move files that are no slices out of the folder.",
            )
    meta = guarded(path, lambda: read_file_meta_info(path))
    _check_syntax(str(meta.get("TransferSyntaxUID", "")), path)
    header: Dataset = guarded(path, lambda: dcmread(path, stop_before_pixels=True))
    guarded(path, lambda: _check_content(header, path))
    return header


def _check_syntax(syntax: str, path: Path) -> None:
    if syntax in READABLE_SYNTAXES:
        return
    from pydicom.uid import UID

    raise DataError(
        "The pixels are stored in a transfer syntax that is not read.",
        file=path,
        found=f"{UID(syntax).name} ({syntax})" if syntax else "none named",
        expected="one of " + ", ".join(READABLE_SYNTAXES.values()),
        remedy=CONVERT,
    )


def _check_content(header: Dataset, path: Path) -> None:
    """Return if the file is one slice of grey values with a place in the patient."""
    frames = int(header.get("NumberOfFrames") or 1)
    if frames > 1 or "SharedFunctionalGroupsSequence" in header:
        raise DataError(
            "Multi-frame DICOM is not read.",
            file=path,
            found=f"{frames} frames, {header.SOPClassUID.name}",
            expected="one file a slice",
            remedy=CONVERT,
        )
    lacking = [name for name in _NEEDED if header.get(name) in (None, "")]
    if lacking:
        raise DataError(
            "The file is no image slice with a place in the patient.",
            file=path,
            found=f"no {', '.join(lacking)}; {_kind(header)}",
            expected="an image such as CT, MR or PET",
            remedy="Move scouts, reports and pictures out of the folder.",
        )
    colour = str(header.get("PhotometricInterpretation", ""))
    if int(header.get("SamplesPerPixel") or 1) != 1 or colour != "MONOCHROME2" or "ModalityLUTSequence" in header:
        raise DataError(
            "The slice does not hold grey values that can be taken as they are.",
            file=path,
            found=f"{colour or 'nothing said'}" + (", a modality LUT" if "ModalityLUTSequence" in header else ""),
            expected="MONOCHROME2 with rescale slope and intercept",
            remedy=CONVERT,
        )


def _kind(header: Dataset) -> str:
    uid = header.get("SOPClassUID")
    return "of an unknown kind" if uid is None else str(uid.name)
