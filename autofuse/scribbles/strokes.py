"""Strokes in one plane: middle lines, contours and pieces of them, each one voxel wide.

Areas and curves are bool arrays (rows, columns). Voxels of a curve are joined by sides or corners.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse import csgraph
from skimage.morphology import skeletonize

Area = NDArray[np.bool_]

EROSION = 2
"""Voxels taken off an area before its middle line is found: small bumps of its edge then send out no branches."""
_AROUND = np.ones((3, 3), bool)
_FORWARD = ((0, 1), (1, -1), (1, 0), (1, 1))
"""Half of a voxel's eight neighbours; the other half has this voxel as theirs."""


def middle_line(area: Area) -> Area:
    """The skeleton of the eroded area, of the area itself where erosion leaves nothing; empty for an empty area."""
    core = ndimage.binary_erosion(area, iterations=EROSION)
    return thinned(core if core.any() else area)


def contour(area: Area, depth: int) -> Area:
    """The closed curve ``depth`` voxels inside the area's edge, or less deep where there is none; empty where the area
    is all edge."""
    for steps in range(depth, 0, -1):
        inner = ndimage.binary_erosion(area, iterations=steps)
        if inner.any():
            return thinned(inner & ~ndimage.binary_erosion(inner))
    return np.zeros_like(area)


def outer_contour(area: Area, distance: int) -> Area:
    """The closed curve about ``distance`` voxels outside the area; the rim of the plane is no part of it."""
    wide: Area = ndimage.binary_dilation(area, iterations=distance)
    rim: Area = wide & ~ndimage.binary_erosion(wide, border_value=1)
    return rim


def thinned(area: Area) -> Area:
    """The skeleton of the area, one voxel wide; not empty unless the area is."""
    # Lee's method leaves thinner junctions than Zhang's, and fewer branches.
    line: Area = skeletonize(np.pad(area, 1), method="lee")[1:-1, 1:-1] > 0  # type: ignore[no-untyped-call]
    if line.any() or not area.any():
        return line
    line = np.zeros_like(area)
    line.flat[int(np.flatnonzero(area)[0])] = True
    return line


def away_from(curve: Area, drawn: Area) -> Area:
    """The part of the curve that touches nothing of what is drawn, so that strokes side by side stay thin."""
    return curve & ~ndimage.binary_dilation(drawn, structure=_AROUND) if drawn.any() else curve


def pieces(curve: Area, share: float, random: np.random.Generator) -> Area:
    """One contiguous piece of every connected part of the curve, ``share`` of its voxels and at least one.

    A piece is what lies nearest, along the curve, to a random voxel of it.
    """
    kept = np.zeros_like(curve)
    places = np.flatnonzero(curve)
    if not places.size:
        return kept
    links = _links(curve, places.size)
    count, part_of = csgraph.connected_components(links, directed=False)
    for part in range(count):
        members = np.flatnonzero(part_of == part)
        start = int(members[random.integers(members.size)])
        nearest = csgraph.breadth_first_order(links, start, directed=False, return_predecessors=False)
        kept.flat[places[nearest[: max(1, round(share * members.size))]]] = True
    return kept


def _links(curve: Area, size: int) -> sparse.csr_matrix:
    """Which voxels of the curve touch, as a matrix over their running numbers."""
    number = np.full(tuple(count + 2 for count in curve.shape), -1, np.int64)
    inner = number[1:-1, 1:-1]
    inner[curve] = np.arange(size)
    starts, ends = [], []
    for row, column in _FORWARD:
        other = number[1 + row : number.shape[0] - 1 + row, 1 + column : number.shape[1] - 1 + column]
        both = curve & (other >= 0)
        starts.append(inner[both])
        ends.append(other[both])
    first, second = np.concatenate(starts), np.concatenate(ends)
    return sparse.csr_matrix((np.ones(first.size, np.int8), (first, second)), shape=(size, size))
