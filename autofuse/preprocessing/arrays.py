"""Compressed arrays on disk (blosc2 b2nd) of which any box can be read without the rest.

LZ4HC level 5 after byte shuffling; chunks of about 64³, blocks of 16³: a block is the smallest thing decompressed.
Every writer and reader has one thread of its own: parallelism is over cases and prefetched patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CHUNK_3D, _BLOCK_3D = (64, 64, 64), (16, 16, 16)
_CHUNK_2D, _BLOCK_2D = (16, 128, 128), (1, 64, 64)


def write_array(path: Path, array: NDArray[Any], dimensions: int) -> None:
    """Put ``array`` (z, y, x) or (M, z, y, x) into a new file; a chunk holds one modality.

    Args:
        dimensions: 2 where patches are single slices, 3 where they are volumes.

    Raises:
        OSError: if what can be read back is not what was to be written (a full disk goes unnoticed otherwise).
    """
    import blosc2

    wanted_chunk, wanted_block = (_CHUNK_2D, _BLOCK_2D) if dimensions == 2 else (_CHUNK_3D, _BLOCK_3D)
    spatial = array.shape[-3:]
    chunk = [min(size, limit) for size, limit in zip(spatial, wanted_chunk, strict=True)]
    block = [min(size, limit) for size, limit in zip(chunk, wanted_block, strict=True)]
    leading = [1] * (array.ndim - 3)
    settings = blosc2.CParams(
        codec=blosc2.Codec.LZ4HC, clevel=5, filters=[blosc2.Filter.SHUFFLE], filters_meta=[0], nthreads=1
    )
    blosc2.asarray(
        np.ascontiguousarray(array),
        urlpath=str(path),
        mode="w",
        chunks=(*leading, *chunk),
        blocks=(*leading, *block),
        cparams=settings,
        dparams=blosc2.DParams(nthreads=1),  # it stands in the file: equal arrays give equal bytes on every machine
    )
    try:
        same = _same_bits(read_array(path), array)
    except (RuntimeError, ValueError) as error:
        raise OSError(f"{path.name} cannot be read back: {error}") from error
    if not same:
        raise OSError(f"{path.name} does not hold what was written to it")


def _same_bits(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Whether two arrays are the same, NaN included."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    bits = np.dtype(f"u{one.dtype.itemsize}")
    return np.array_equal(np.ascontiguousarray(one).view(bits), np.ascontiguousarray(other).view(bits))


def read_array(path: Path, box: Sequence[slice] | None = None) -> NDArray[Any]:
    """The part of the array in ``path`` inside ``box`` (spatial axes), or all of it.

    Opens the file anew: handles are not shared between threads. Not memory-mapped: a file that shrinks under a map
    would kill the process.
    """
    import blosc2

    array = blosc2.open(str(path), mode="r", dparams=blosc2.DParams(nthreads=1))
    part: NDArray[Any] = np.asarray(array[:] if box is None else array[(..., *box)])
    return part
