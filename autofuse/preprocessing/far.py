"""Background that nobody marked: voxels further from every stroke of a structure than any structure reaches.

Strokes of the background lie near the structures, and a loss that sees strokes only says nothing about the rest of the
image: networks then find structures there. Where the planner trusts it (``Plan.far_background``), voxels beyond the
reach are labelled as background, no more of them than were annotated, so that the strokes keep their weight.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from autofuse.dataset.types import IGNORE
from autofuse.fingerprint.strokes import measure_strokes, structure_points
from autofuse.fingerprint.types import Triple

_MOST = 100_000
"""Voxels in one case."""
_CANDIDATES = 4
"""Voxels that are looked at for each one wanted."""


def with_far_background(label: NDArray[np.int16], spacing_mm: Triple, classes: int, case_id: str) -> NDArray[np.int16]:
    """``label`` (z, y, x), with voxels labelled as background that no structure can reach.

    No more of them than were annotated. Left as it is where the background has no strokes, or any of ``classes`` has
    none: where it lies is not known then. The same goes for slices across the coarsest axis before the first stroke and
    after the last: nobody looked there. The same case and label give the same voxels.
    """
    from scipy.spatial import cKDTree

    strokes = measure_strokes(label, spacing_mm)
    if strokes is None or not np.isin(np.arange(1, classes + 1), label).all():
        return label
    marked = label.copy()
    seen = _slices_with_strokes(marked, spacing_mm)
    wanted = min(_MOST, int(np.count_nonzero(label == 0)))
    random = np.random.default_rng(zlib.crc32(case_id.encode()))
    drawn = random.choice(seen.size, min(seen.size, _CANDIDATES * wanted), replace=False)
    places = np.stack(np.unravel_index(drawn, seen.shape), axis=1)
    places = places[seen[tuple(places.T)] == IGNORE]
    tree = cKDTree(structure_points(seen, spacing_mm))
    distances, _ = tree.query(places * np.asarray(spacing_mm), distance_upper_bound=strokes.reach_mm)
    seen[tuple(places[np.isinf(distances)][:wanted].T)] = 0
    return marked


def _slices_with_strokes(label: NDArray[np.int16], spacing_mm: Triple) -> NDArray[np.int16]:
    """A view of ``label`` from the first slice with a stroke to the last."""
    across = int(np.argmax(spacing_mm))
    held = np.flatnonzero((label != IGNORE).any(axis=tuple(axis for axis in range(3) if axis != across)))
    view: NDArray[np.int16] = np.moveaxis(label, across, 0)[held[0] : held[-1] + 1]
    return np.moveaxis(view, 0, across)
