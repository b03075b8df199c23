"""What a NIfTI-1 or NIfTI-2 header says, each field checked before anything is believed.

Sources: nifti1.h (NIfTI-1, 348 bytes) and nifti2.h (NIfTI-2, 540 bytes), https://nifti.nimh.nih.gov.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autofuse.foundation.errors import DataError

NIFTI1_BYTES = 348
NIFTI2_BYTES = 540
LARGEST_EXTENSION = 1 << 26
"""Bytes of header extensions before the voxels that are still believed (64 MiB)."""
MAX_VOXELS = 2**31
LARGEST_FORM_CODE = 5
"""NIFTI_XFORM_TEMPLATE_OTHER"""

# name: (struct format without byte order, offset)
_NIFTI1 = {
    "dim": ("8h", 40), "datatype": ("h", 70), "bitpix": ("h", 72), "pixdim": ("8f", 76), "vox_offset": ("f", 108),
    "scl_slope": ("f", 112), "scl_inter": ("f", 116), "xyzt_units": ("B", 123), "qform_code": ("h", 252),
    "sform_code": ("h", 254), "quatern": ("3f", 256), "qoffset": ("3f", 268), "srow": ("12f", 280),
    "magic": ("4s", 344),
}  # fmt: skip
_NIFTI2 = {
    "dim": ("8q", 16), "datatype": ("h", 12), "bitpix": ("h", 14), "pixdim": ("8d", 104), "vox_offset": ("q", 168),
    "scl_slope": ("d", 176), "scl_inter": ("d", 184), "xyzt_units": ("i", 500), "qform_code": ("i", 344),
    "sform_code": ("i", 348), "quatern": ("3d", 352), "qoffset": ("3d", 376), "srow": ("12d", 400),
    "magic": ("8s", 4),
}  # fmt: skip
_MAGIC = {1: b"n+1\0", 2: b"n+2\0\r\n\x1a\n"}
_PAIR_MAGIC = {1: b"ni1\0", 2: b"ni2\0\r\n\x1a\n"}

DATATYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
"""NIfTI datatype codes that are read, as numpy's names."""
_REFUSED_DATATYPES = {
    0: "unknown", 1: "one bit a voxel", 32: "complex64", 128: "RGB", 1536: "float128", 1792: "complex128",
    2048: "complex256", 2304: "RGBA",
}  # fmt: skip


@dataclass(frozen=True)
class NiftiHeader:
    """A header whose sizes, type and scaling are sound; its geometry is judged by ``nifti_geometry``.

    Attributes:
        version: 1 or 2.
        order: "<" or ">".
        shape: of the array, slowest first: (z, y, x) or (component, z, y, x).
        axes: how many spatial axes the header declares (2 or 3).
        stored: numpy name of the stored voxel type, with byte order.
        offset: where the voxels begin, bytes.
        slope, intercept: stored values times slope plus intercept; 1 and 0 for none.
        pixdim, units, qform_code, sform_code, quatern, qoffset, srow: as in the file.
    """

    version: int
    order: str
    shape: tuple[int, ...]
    axes: int
    stored: str
    offset: int
    slope: float
    intercept: float
    pixdim: tuple[float, ...]
    units: int
    qform_code: int
    sform_code: int
    quatern: tuple[float, ...]
    qoffset: tuple[float, ...]
    srow: tuple[float, ...]

    @property
    def voxels(self) -> int:
        """Values stored, all components together."""
        return math.prod(self.shape)

    @property
    def data_bytes(self) -> int:
        """Bytes that the voxels take in the (decompressed) file."""
        return self.voxels * np.dtype(self.stored).itemsize

    @property
    def scaled(self) -> bool:
        """Whether stored values are not yet the intensities."""
        return (self.slope, self.intercept) != (1.0, 0.0)

    def dtype(self, *, exact: bool = False) -> np.dtype[Any]:
        """Type of the voxels in memory: the stored integer type; float32 if scaled or floating (``exact``: float64)."""
        stored = np.dtype(self.stored)
        if self.scaled or stored.kind == "f":
            return np.dtype(np.float64 if exact and (self.scaled or stored.itemsize == 8) else np.float32)
        return stored.newbyteorder("=")


def parse_header(content: bytes, path: Path, *, max_voxels: int = MAX_VOXELS) -> NiftiHeader:
    """The header in the first 348 (NIfTI-1) or 540 (NIfTI-2) bytes of ``content``.

    Raises:
        DataError: if a field cannot be meant as it stands.
    """
    version, order = _version(content, path)
    raw = {
        name: struct.unpack_from(order + form, content, offset)
        for name, (form, offset) in (_NIFTI1 if version == 1 else _NIFTI2).items()
    }
    _check_magic(raw["magic"][0], version, path)
    shape, axes = _shape(raw["dim"], path, max_voxels)
    stored = _stored_type(raw["datatype"][0], raw["bitpix"][0], path)
    _check_form_codes(raw["qform_code"][0], raw["sform_code"][0], path)
    slope, intercept = _scaling(raw["scl_slope"][0], raw["scl_inter"][0], path)
    return NiftiHeader(
        version=version,
        order=order,
        shape=shape,
        axes=axes,
        stored=order + stored,
        offset=_offset(raw["vox_offset"][0], version, path),
        slope=slope,
        intercept=intercept,
        pixdim=raw["pixdim"],
        units=raw["xyzt_units"][0] & 7,
        qform_code=raw["qform_code"][0],
        sform_code=raw["sform_code"][0],
        quatern=raw["quatern"],
        qoffset=raw["qoffset"],
        srow=raw["srow"],
    )


def _version(content: bytes, path: Path) -> tuple[int, str]:
    for order in "<>":
        size = struct.unpack_from(order + "i", content)[0] if len(content) >= 4 else 0
        if size == NIFTI1_BYTES and len(content) >= NIFTI1_BYTES:
            return 1, order
        if size == NIFTI2_BYTES and len(content) >= NIFTI2_BYTES:
            return 2, order
    raise DataError(
        "This file is named like a NIfTI image but does not begin with a NIfTI header.",
        file=path,
        found=f"{len(content)} bytes beginning with {content[:16]!r}",
        expected=f"a header that begins with its own size, {NIFTI1_BYTES} or {NIFTI2_BYTES}",
        remedy=remedy_for(content),
    )


def remedy_for(content: bytes) -> str:
    """What to do with a file that begins with ``content`` and should be NIfTI."""
    if content.startswith(b"version https://git-lfs"):
        return "This is a Git LFS pointer, not the image: run `git lfs pull` where the data set came from."
    return "Copy the file again from its source, or convert it to NIfTI."


def _check_magic(magic: bytes, version: int, path: Path) -> None:
    if magic == _MAGIC[version]:
        return
    if magic == _PAIR_MAGIC[version]:
        problem, remedy = (
            "The voxels of this NIfTI image lie in a second file (.img).",
            "Convert it to one .nii.gz file.",
        )
    elif version == 1 and magic == b"\0\0\0\0":
        problem = "This is an Analyze 7.5 header, which does not say where left and right are."
        remedy = "Convert it to NIfTI with a tool that knows the scanner's orientation."
    else:
        problem, remedy = (
            "The NIfTI magic bytes are wrong; the header is damaged.",
            "Copy the file from its source again.",
        )
    raise DataError(problem, file=path, found=repr(magic), expected=repr(_MAGIC[version]), remedy=remedy)


def _shape(dim: tuple[int, ...], path: Path, max_voxels: int) -> tuple[tuple[int, ...], int]:
    """Array shape, slowest first, and the number of spatial axes. dim[1:] is x, y, z, t ..."""
    axes = dim[0]
    sizes = list(dim[1 : 1 + axes]) if 2 <= axes <= 7 else []
    if not sizes or min(sizes) < 1:
        raise DataError(
            "The header's dimensions are impossible.",
            file=path,
            found=f"dim = {dim}",
            expected="2 to 4 axes of at least one voxel",
            remedy="Copy the file from its source again, or convert it anew.",
        )
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    if len(sizes) > 4:
        raise DataError(
            "The image has more than four axes.",
            file=path,
            found=" x ".join(map(str, sizes)),
            expected="x, y, z and at most one axis of components",
            remedy="Save the components along the fourth axis, or each in a file of its own.",
        )
    if math.prod(sizes) > max_voxels:
        raise DataError(
            "The header declares more voxels than are accepted.",
            file=path,
            found=f"{' x '.join(map(str, sizes))} = {math.prod(sizes)}",
            expected=f"at most {max_voxels}",
            remedy="If the image really is that large, crop it or raise max_voxels.",
        )
    spatial = min(axes, 3)
    while len(sizes) < 3:
        sizes.append(1)
    return tuple(reversed(sizes)), spatial


def _stored_type(datatype: int, bitpix: int, path: Path) -> str:
    name = DATATYPES.get(datatype)
    if name is None:
        raise DataError(
            "The voxel type is not one that an intensity or a label can have.",
            file=path,
            found=f"NIfTI datatype {datatype} ({_REFUSED_DATATYPES.get(datatype, 'undefined')})",
            expected="8- to 64-bit integers, float32 or float64",
            remedy="Convert the image, for colours or complex values with one component per file.",
        )
    bits = np.dtype(name).itemsize * 8
    if bitpix != bits:
        raise DataError(
            "The header contradicts itself about the size of a voxel.",
            file=path,
            found=f"datatype {datatype} ({name}), bitpix {bitpix}",
            expected=f"bitpix {bits}",
            remedy="Copy the file from its source again, or convert it anew.",
        )
    return name


def _scaling(slope: float, intercept: float, path: Path) -> tuple[float, float]:
    """Slope and intercept; a slope of 0 means "not scaled" (nifti1.h)."""
    if not (math.isfinite(slope) and math.isfinite(intercept)):
        raise DataError(
            "The intensity scaling in the header is not a number.",
            file=path,
            found=f"scl_slope {slope}, scl_inter {intercept}",
            expected="finite numbers",
            remedy="Convert the image anew from its source.",
        )
    return (1.0, 0.0) if slope == 0 else (slope, intercept)


def _check_form_codes(qform: int, sform: int, path: Path) -> None:
    """Undefined codes are refused: some readers take such an affine, others pass over it."""
    if not (0 <= qform <= LARGEST_FORM_CODE and 0 <= sform <= LARGEST_FORM_CODE):
        raise DataError(
            "The header does not say which of its affines holds.",
            file=path,
            found=f"qform_code {qform}, sform_code {sform}",
            expected=f"0 to {LARGEST_FORM_CODE} each",
            remedy="Copy the file from its source again, or convert it anew.",
        )


def _offset(value: float, version: int, path: Path) -> int:
    """Where the voxels begin; 0 is refused, since nifti_clib and nibabel read it differently."""
    smallest = NIFTI1_BYTES + 4 if version == 1 else NIFTI2_BYTES + 4
    if not math.isfinite(value) or value != int(value) or not smallest <= value <= LARGEST_EXTENSION:
        raise DataError(
            "The header says that the voxels begin at an impossible place.",
            file=path,
            found=f"vox_offset {value}",
            expected=f"a whole number from {smallest} to {LARGEST_EXTENSION}",
            remedy="Copy the file from its source again, or convert it anew.",
        )
    return int(value)


def pack_header(header: NiftiHeader) -> bytes:
    """The bytes of ``header`` and of an empty extension flag: what stands before the first voxel."""
    fields = _NIFTI1 if header.version == 1 else _NIFTI2
    size = NIFTI1_BYTES if header.version == 1 else NIFTI2_BYTES
    content = bytearray(size + 4)
    sizes = tuple(reversed(header.shape))
    values: dict[str, tuple[Any, ...]] = {
        "dim": (len(sizes), *sizes, *(1,) * (7 - len(sizes))),
        "datatype": (next(code for code, name in DATATYPES.items() if name == header.stored[1:]),),
        "bitpix": (np.dtype(header.stored).itemsize * 8,),
        "pixdim": header.pixdim,
        "vox_offset": (header.offset,),
        "scl_slope": (header.slope,),
        "scl_inter": (header.intercept,),
        "xyzt_units": (header.units,),
        "qform_code": (header.qform_code,),
        "sform_code": (header.sform_code,),
        "quatern": header.quatern,
        "qoffset": header.qoffset,
        "srow": header.srow,
        "magic": (_MAGIC[header.version],),
    }
    struct.pack_into(header.order + "i", content, 0, size)
    for name, (form, offset) in fields.items():
        struct.pack_into(header.order + form, content, offset, *values[name])
    return bytes(content)
