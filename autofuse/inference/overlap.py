"""How often a voxel of one class was predicted as another, counted in one pass; Dice read off it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autofuse.dataset.types import IGNORE

_COUNT_BLOCK = 1 << 22
"""Voxels that are counted at a time, to bound the memory."""

IndexMap = NDArray[np.integer]


def joint_histogram(reference: IndexMap, prediction: IndexMap, indices: int) -> tuple[NDArray[np.int64], int]:
    """(indices, indices) voxels by reference and predicted class index without ignored ones, and how many those are."""
    flat_r, flat_p = np.ravel(reference), np.ravel(prediction)
    joint = np.zeros(indices * indices, dtype=np.int64)
    for start in range(0, flat_r.size, _COUNT_BLOCK):
        truth, guess = flat_r[start : start + _COUNT_BLOCK], flat_p[start : start + _COUNT_BLOCK]
        known = truth != IGNORE
        if not known.all():
            truth, guess = truth[known], guess[known]
        joint += np.bincount(truth.astype(np.int32) * indices + guess, minlength=indices * indices)
    return joint.reshape(indices, indices), int(joint.sum())


def counts(joint: NDArray[np.int64], member: NDArray[np.bool_]) -> tuple[int, int, int]:
    """True positive, false positive and false negative voxels of the class that holds the indices in ``member``."""
    tp = int(joint[np.ix_(member, member)].sum())
    return tp, int(joint[:, member].sum()) - tp, int(joint[member].sum()) - tp


def dice(tp: int, fp: int, fn: int) -> float | None:
    """2 tp / (2 tp + fp + fn); None where neither map has the class."""
    return 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else None
