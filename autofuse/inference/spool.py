"""Probabilities that are added up over members of an ensemble, in memory where they fit and in a file where not.

A file is read and written in pieces, never mapped: what is mapped counts as the process's memory.
Rows (the slowest axis) lie one behind the other, (z, C, y, x), so that any run of rows is one piece of the file.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autofuse.foundation.errors import ResourceError
from autofuse.foundation.machine import GIB, free_disk_gib

Shape = tuple[int, int, int]


class Spool:
    """Weighted sums (C, z, y, x) kept as float16, zeros at first; rows are added and read in pieces."""

    def __init__(self, outputs: int, shape: Shape, folder: Path | None) -> None:
        """Args:
        folder: where to put the file (it vanishes with the process, however that ends), or None for memory.
        """
        self.outputs, self.shape = outputs, shape
        self._row = (outputs, shape[1], shape[2])
        self._plane_bytes = 2 * shape[1] * shape[2]
        self._array = np.zeros((shape[0], *self._row), dtype=np.float16) if folder is None else None
        # Unnamed: the space is given back even after SIGKILL.
        self._file = None if folder is None else _temporary_file(folder, self._plane_bytes * outputs * shape[0])

    def add(self, start: int, values: Tensor, weight: float = 1.0) -> None:
        """Add ``weight`` times ``values`` (C, n, y, x) to the rows from ``start`` on."""
        self.put(start, self.read(start, start + values.shape[1]) + values.cpu().float() * weight)

    def put(self, start: int, values: Tensor) -> None:
        """Replace the rows from ``start`` on by ``values`` (C, n, y, x)."""
        rows: NDArray[np.float16] = values.permute(1, 0, 2, 3).to(torch.float16).contiguous().numpy()
        if self._array is not None:
            self._array[start : start + len(rows)] = rows
        else:
            self._write(start * self._plane_bytes * self.outputs, rows)

    def read(self, start: int, stop: int) -> Tensor:
        """(C, n, y, x) float32 sums of rows ``start`` ... ``stop``."""
        if self._array is not None:
            piece = self._array[start:stop]
        else:
            piece = self._read(start * self._plane_bytes * self.outputs, (stop - start, *self._row))
        return torch.from_numpy(piece).float().permute(1, 0, 2, 3)

    def output(self, channel: int) -> NDArray[np.float16]:
        """(z, y, x) sums of one output."""
        if self._array is not None:
            return self._array[:, channel]
        planes = [(row * self.outputs + channel) * self._plane_bytes for row in range(self.shape[0])]
        return np.stack([self._read(at, self._row[1:]) for at in planes])

    def _read(self, offset: int, shape: tuple[int, ...]) -> NDArray[np.float16]:
        assert self._file is not None
        piece = np.empty(shape, dtype=np.float16)
        view, filled = _bytes_of(piece), 0
        while filled < len(view):
            count = os.preadv(self._file.fileno(), [view[filled:]], offset + filled)
            if not count:
                raise ResourceError("The file of an ensemble's probabilities became shorter while it was in use.")
            filled += count
        return piece

    def _write(self, offset: int, rows: NDArray[np.float16]) -> None:
        assert self._file is not None
        view, written = _bytes_of(rows), 0
        try:
            while written < len(view):
                written += os.pwrite(self._file.fileno(), view[written:], offset + written)
        except OSError as error:
            raise _disk_error(str(error), rows.nbytes) from error


def _bytes_of(array: NDArray[np.float16]) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _temporary_file(folder: Path, size: int) -> tempfile._TemporaryFileWrapper[bytes]:
    if free_disk_gib(folder) * GIB < size:
        raise _disk_error(f"{free_disk_gib(folder):.1f} GiB free", size, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115  (closed with the spool)
        stream.truncate(size)
    except OSError as error:
        raise _disk_error(str(error), size, folder) from error
    return stream  # type: ignore[return-value]


def _disk_error(found: str, wanted_bytes: int, folder: Path | None = None) -> ResourceError:
    return ResourceError(
        "An ensemble's probabilities could not be kept on disk.",
        file=folder,
        found=found,
        expected=f"{wanted_bytes / GIB:.2f} GiB",
        remedy="Free some space there, or use a machine with more memory.",
    )
