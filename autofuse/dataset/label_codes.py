"""Raw label values (in files) to class indices (everywhere else) and back.

A class index is the position in ``(0, *Labels.raw_values)``; IGNORE marks voxels that nobody labelled. With regions the
index still names the raw value; ``region_membership`` says which regions it belongs to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autofuse.dataset.types import IGNORE, LabelClass, Labels
from autofuse.foundation.errors import DataError

_BLOCK_VOXELS = 1 << 20
_UNDECLARED = -2
_SHOWN_VALUES = 8


def encode_labels(raw: NDArray[Any], labels: Labels) -> NDArray[np.int16]:
    """Class indices of a raw label map, int16, same shape.

    Args:
        raw: whole numbers of any integer type.

    Raises:
        DataError: if a value is neither background, nor declared, nor the ignore label; with values and counts.
        TypeError: if ``raw`` is not of an integer type.
    """
    if raw.dtype.kind not in "iub":
        raise TypeError(f"labels must be of an integer type, not {raw.dtype}")
    table = _encoding_table(labels)
    indices = np.empty(raw.shape, np.int16)
    source, target = raw.reshape(-1), indices.reshape(-1)
    undeclared = False
    for start in range(0, source.size, _BLOCK_VOXELS):
        block = source[start : start + _BLOCK_VOXELS]
        # Everything outside the table, above or below, falls on its last entry, which is undeclared.
        inside = np.where((block >= 0) & (block < len(table) - 1), block, len(table) - 1)
        part = np.take(table, inside.astype(np.intp, copy=False), out=target[start : start + block.size])
        undeclared = undeclared or bool((part == _UNDECLARED).any())
    if undeclared:
        raise _undeclared_error(raw, indices, labels)
    return indices


def decode_labels(indices: NDArray[Any], labels: Labels) -> NDArray[Any]:
    """Raw values of class indices, in the smallest unsigned type that holds every declared value; same shape.

    Raises:
        ValueError: if an index is out of range, or IGNORE where the labels declare no ignore value.
    """
    values = (0, *labels.raw_values)
    low, high = (int(indices.min()), int(indices.max())) if indices.size else (0, 0)
    if low < (0 if labels.ignore is None else IGNORE) or high >= len(values):
        raise ValueError(f"class indices {low} to {high} do not fit {len(values)} declared values")
    largest = max(*values, labels.ignore or 0)
    # IGNORE is -1, and so picks the last entry.
    table = np.array([*values, labels.ignore or 0], np.uint8 if largest < 256 else np.uint16)
    decoded = np.empty(indices.shape, table.dtype)
    source, target = indices.reshape(-1), decoded.reshape(-1)
    # numpy widens indices to 64 bits: of a whole case that is more than everything else a prediction holds.
    for start in range(0, source.size, _BLOCK_VOXELS):
        np.take(table, source[start : start + _BLOCK_VOXELS], out=target[start : start + _BLOCK_VOXELS], mode="wrap")
    return decoded


def region_membership(labels: Labels, classes: Sequence[LabelClass] = ()) -> NDArray[np.bool_]:
    """(R, K + 1) bool: whether class index k belongs to region (or class) r of ``labels.classes``; K raw values.

    Args:
        classes: regions of these labels' values to ask for instead.
    """
    values = (0, *labels.raw_values)
    return np.array([[value in item.raw_values for value in values] for item in classes or labels.classes])


def region_indices(labels: Labels) -> tuple[int, ...]:
    """Per region, in painting order, the class index that it paints; empty without regions."""
    values = (0, *labels.raw_values)
    return tuple(values.index(value) for value in labels.region_values)


def class_names(labels: Labels) -> tuple[str, ...]:
    """A name per class index, background first; raw values that only regions use are named by those regions."""
    own = {item.raw_values[0]: item.name for item in labels.classes if len(item.raw_values) == 1}
    names = ["background"]
    for value in labels.raw_values:
        regions = [item.name for item in labels.classes if value in item.raw_values]
        names.append(own.get(value, f"{value} ({', '.join(regions)})"))
    return tuple(names)


def _encoding_table(labels: Labels) -> NDArray[np.int16]:
    """Class index by raw value; the last entry stands for everything beyond."""
    largest = max(*labels.raw_values, 0, labels.ignore or 0)
    table = np.full(largest + 2, _UNDECLARED, np.int16)
    for index, value in enumerate((0, *labels.raw_values)):
        table[value] = index
    if labels.ignore is not None:
        table[labels.ignore] = IGNORE
    return table


def _undeclared_error(raw: NDArray[Any], indices: NDArray[np.int16], labels: Labels) -> DataError:
    values, counts = np.unique(raw[indices == _UNDECLARED], return_counts=True)
    told = [f"{value} ({count} voxels)" for value, count in zip(values.tolist(), counts.tolist(), strict=True)]
    more = f" and {len(told) - _SHOWN_VALUES} more values" if len(told) > _SHOWN_VALUES else ""
    declared = [0, *labels.raw_values] + ([] if labels.ignore is None else [labels.ignore])
    return DataError(
        "The label map has values that the data set does not declare.",
        found=", ".join(told[:_SHOWN_VALUES]) + more,
        expected=", ".join(map(str, sorted(declared))),
        remedy="Declare the values under labels in dataset.json, or correct the label map.",
    )
