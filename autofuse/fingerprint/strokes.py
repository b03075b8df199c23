"""How far structures reach beyond their strokes, as the strokes of the background around them tell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autofuse.dataset.types import IGNORE
from autofuse.fingerprint.types import Triple

STROKES_BELOW = 0.25
"""Labels with a smaller labelled share of the image are strokes; others are outlines with holes."""
_POINTS = 100
"""Of each piece, evenly spread: enough to tell how far pieces lie apart, to a few voxels too much."""


@dataclass(frozen=True)
class StrokeMeasure:
    """The strokes of one sparse label map.

    Attributes:
        reach_mm: distance from the innermost stroke voxel of any structure to the nearest stroke of the background.
            The border of a structure lies between its strokes and the background's, so nothing that is marked reaches
            further.
        gap_mm: the most that one connected piece of the structures' strokes lies away from the nearest other piece; 0
            where there is one piece. Within a few voxels of the true value, and never less.
    """

    reach_mm: float
    gap_mm: float


def measure_strokes(label: NDArray[np.int16], spacing_mm: Triple) -> StrokeMeasure | None:
    """What the strokes of ``label`` (z, y, x), class indices with ``IGNORE``, tell.

    None without strokes of both kinds, and where more is labelled than strokes would be.
    """
    from scipy.spatial import cKDTree

    if np.count_nonzero(label != IGNORE) >= STROKES_BELOW * label.size:
        return None
    marked = structure_points(label, spacing_mm)
    background = np.argwhere(label == 0) * np.asarray(spacing_mm)
    if not len(marked) or not len(background):
        return None
    distances, _ = cKDTree(background).query(marked)
    return StrokeMeasure(round(float(distances.max()), 4), round(_gap_mm(label, spacing_mm), 4))


def structure_points(label: NDArray[np.int16], spacing_mm: Triple) -> NDArray[np.float64]:
    """(n, 3) places in millimetres of all voxels that belong to a structure."""
    places: NDArray[np.float64] = np.argwhere(_of_structures(label)) * np.asarray(spacing_mm)
    return places


def _of_structures(label: NDArray[np.int16]) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = (label > 0) & (label != IGNORE)
    return inside


def _gap_mm(label: NDArray[np.int16], spacing_mm: Triple) -> float:
    """Nearest neighbours of a sample of each piece; among one more than the sample holds, one is of another piece."""
    import cc3d
    from scipy.spatial import cKDTree

    pieces, count = cc3d.connected_components(
        np.ascontiguousarray(_of_structures(label)), connectivity=26, return_N=True
    )
    if count < 2:
        return 0.0
    places = np.argwhere(pieces)
    numbers = pieces[tuple(places.T)]
    order = np.argsort(numbers, kind="stable")
    chosen = np.concatenate([_spread(part) for part in np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1)])
    points, owners = places[chosen] * np.asarray(spacing_mm), numbers[chosen]
    distances, neighbours = cKDTree(points).query(points, k=min(_POINTS + 1, len(points)))
    distances[owners[neighbours] == owners[:, None]] = np.inf
    nearest = np.full(count + 1, np.inf)
    np.minimum.at(nearest, owners, distances.min(axis=1))
    return float(nearest[1:].max())


def _spread(part: NDArray[np.intp]) -> NDArray[np.intp]:
    return part[np.unique(np.linspace(0, len(part) - 1, _POINTS).astype(np.intp))]
