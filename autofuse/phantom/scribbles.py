"""Curves drawn inside every class, as a person in a hurry would: the rest is nobody's."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autofuse.phantom.anatomy import random_field
from autofuse.phantom.options import PhantomOptions

SLICE_SHARE = 0.5
"""Share of the slices that are drawn on."""
FEWEST_VOXELS = 4
"""Every class gets at least so many, if it has them."""


def scribble(
    label: NDArray[np.uint8], ignore: int, options: PhantomOptions, random: np.random.Generator
) -> NDArray[np.uint8]:
    """The label where someone drew, ``ignore`` elsewhere; of each class about ``options.scribbles`` of its voxels.

    Strokes are where a smooth random field crosses zero: thin curves that wander through the class.
    """
    distance = np.abs(random_field(random, options, orders=8))
    slices = np.less(random.random(label.shape[0]), SLICE_SHARE)
    drawn = np.full_like(label, ignore)
    for value in np.unique(label):
        inside = label == value
        wanted = max(round(options.scribbles * int(inside.sum())), FEWEST_VOXELS)
        on_slices = inside & slices[:, None, None]
        if on_slices.sum() < wanted:
            on_slices = inside
        places = np.flatnonzero(on_slices)
        nearest = places[np.argsort(distance.reshape(-1)[places], kind="stable")[:wanted]]
        drawn.reshape(-1)[nearest] = value
    return drawn
