"""The labelled voxels of a case: how many of each class, and places of some of them on which patches are centred."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from autofuse.dataset.types import IGNORE
from autofuse.fingerprint.types import Annotation
from autofuse.preprocessing.prepare import PreparedCase

VOXELS_PER_CLASS = 10_000
"""Coordinates kept per class; patches are centred on them."""


def _masks(case: PreparedCase) -> list[tuple[NDArray[np.int16], Annotation]]:
    """The label maps of a case that say anything, and how each is annotated."""
    assert case.label is not None
    if not case.annotations:
        return [(case.label, case.annotation)]
    return [item for item in zip(case.label, case.annotations, strict=True) if item[1] != "none"]


def class_voxels(case: PreparedCase) -> tuple[int, ...]:
    """Labelled voxels per class index, background first, of all masks of a labelled case."""
    counts = [voxels_per_slice(label).sum(axis=1) for label, _ in _masks(case)]
    total = np.zeros(max(len(count) for count in counts), dtype=np.int64)
    for count in counts:
        total[: len(count)] += count
    return tuple(int(count) for count in total)


def sampled_of_all(case: PreparedCase) -> NDArray[np.int16]:
    """``sampled_voxels`` of all masks of a labelled case, one after the other."""
    return np.concatenate([sampled_voxels(case.id, label, kind) for label, kind in _masks(case)])


def voxels_per_slice(label: NDArray[np.int16]) -> NDArray[np.int64]:
    """(class indices, z): voxels of each class in each slice, ``IGNORE`` left out."""
    count = max(int(label.max(initial=IGNORE)), 0) + 1
    return np.stack([np.bincount(plane[plane != IGNORE], minlength=count) for plane in label], axis=1)


def sampled_voxels(case_id: str, label: NDArray[np.int16], annotation: Annotation) -> NDArray[np.int16]:
    """(n, 4) class index, z, y, x of up to ``VOXELS_PER_CLASS`` voxels per class; equal for equal ``case_id``.

    Background is sampled only where labels are sparse: there "anywhere" must mean anywhere labelled. Works slice by
    slice, so that the positions of a large class are never in memory together.
    """
    generator = np.random.default_rng(zlib.crc32(case_id.encode()))
    rows = [np.zeros((0, 4), dtype=np.int16)]
    for value, counts in enumerate(voxels_per_slice(label)):
        if value == 0 and annotation != "sparse":
            continue
        total = int(counts.sum())
        ranks = np.sort(generator.choice(total, min(total, VOXELS_PER_CLASS), replace=False, shuffle=False))
        ends = np.cumsum(counts)
        for z in np.unique(np.searchsorted(ends, ranks, side="right")):
            first = ends[z] - counts[z]
            here = ranks[(ranks >= first) & (ranks < ends[z])] - first
            y, x = np.divmod(np.flatnonzero(label[z] == value)[here], label.shape[2])
            rows.append(np.stack([np.full(len(y), value), np.full(len(y), z), y, x], axis=1).astype(np.int16))
    return np.concatenate(rows)
