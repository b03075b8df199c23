"""Scribbles drawn over a dense label map: slice by slice, class by class, component by component."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from autofuse.dataset.types import IGNORE
from autofuse.images.geometry import Geometry
from autofuse.scribbles.options import ScribbleOptions
from autofuse.scribbles.strokes import Area, away_from, contour, middle_line, outer_contour, pieces, thinned

Plane = NDArray[np.int16]
"""Class indices (rows, columns), IGNORE where nobody labelled."""

DEEPEST = 2
"""Boundary strokes run one to so many voxels inside an edge."""
GAP = 3
"""Background contours run so many voxels outside the structures."""
MARGIN = 12
"""Background strokes stay within so many voxels of the structures' bounding box."""
EMPTY_SHARE = 0.1
"""Share of the slices without any structure that get background strokes: else most strokes would be there."""
_TOUCHING = np.ones((3, 3), bool)


@dataclass(frozen=True)
class Drawn:
    """Scribbles of one case.

    Attributes:
        label: (z, y, x) class indices where someone drew, IGNORE elsewhere.
        axis: across which slices were cut.
    """

    label: NDArray[np.int16]
    axis: int


def stream_of(case: str, seed: int) -> np.random.Generator:
    """The random numbers of one case, the same whatever other cases there are."""
    return np.random.default_rng([seed, zlib.crc32(case.encode())])


def slicing_axis(geometry: Geometry, wanted: int | None = None) -> int:
    """The array axis across which slices are cut: of a single slice its own, else the wanted or the coarsest one."""
    if 1 in geometry.shape:
        return geometry.shape.index(1)
    return int(np.argmax(np.round(geometry.spacing_mm, 3))) if wanted is None else wanted


def draw(dense: NDArray[np.int16], geometry: Geometry, options: ScribbleOptions, random: np.random.Generator) -> Drawn:
    """Scribbles over ``dense``, (z, y, x) class indices; every class that occurs there occurs in them too."""
    axis = slicing_axis(geometry, options.axis)
    drawn = np.full_like(dense, IGNORE)
    planes, strokes = np.moveaxis(dense, axis, 0), np.moveaxis(drawn, axis, 0)
    for position in range(int(random.integers(min(options.every, len(planes)))), len(planes), options.every):
        _put(strokes[position], planes[position], _whole_plane(planes[position], options, random))
    there, shown = tally(planes), tally(strokes, int(dense.max()))
    for index in np.flatnonzero(there.any(axis=0) & ~shown.any(axis=0)):
        if index or options.background:
            position = _richest(there, int(index))
            _put(strokes[position], planes[position], _alone(planes[position], int(index), options, random))
    return Drawn(drawn, axis)


def tally(planes: NDArray[np.int16], largest: int | None = None) -> NDArray[np.int64]:
    """(slices, class indices): voxels of each class on each slice, background first; ``largest`` index counted."""
    size = 2 + (int(planes.max()) if largest is None else largest)
    counts = [np.bincount(plane.reshape(-1) - IGNORE, minlength=max(1, size)) for plane in planes]
    return np.stack(counts)[:, 1:]


def _put(strokes: Plane, plane: Plane, area: Area) -> None:
    strokes[area] = plane[area]


def _whole_plane(plane: Plane, options: ScribbleOptions, random: np.random.Generator) -> Area:
    """Where someone draws on one slice."""
    drawn = _structures(plane, options, random)
    if options.background and (drawn.any() or random.random() < EMPTY_SHARE):
        drawn |= _background(plane, options, random)
    return drawn


def _structures(plane: Plane, options: ScribbleOptions, random: np.random.Generator) -> Area:
    """Strokes in every component of every class."""
    drawn = np.zeros(plane.shape, bool)
    for index in np.unique(plane[plane > 0]):
        numbered, _ = ndimage.label(plane == index, structure=_TOUCHING)
        for number, box in enumerate(ndimage.find_objects(numbered), start=1):
            # A frame of nothing, so that the edge of the box is an edge of the component.
            component = np.pad(numbered[box] == number, 1)
            drawn[box] |= _component(component, options, random)[1:-1, 1:-1]
    return drawn


def _component(component: Area, options: ScribbleOptions, random: np.random.Generator) -> Area:
    """Strokes in one connected area; at least one voxel."""
    drawn = np.zeros_like(component)
    if options.interior:
        drawn |= pieces(middle_line(component), options.density, random)
    if options.boundary:
        curve = contour(component, int(random.integers(1, DEEPEST + 1)))
        drawn |= pieces(_longest(away_from(curve, drawn)), options.density, random)
    return drawn if drawn.any() else pieces(middle_line(component), options.density, random)


def _longest(curve: Area) -> Area:
    """The largest connected part: one arc a component is what a person draws."""
    numbered, count = ndimage.label(curve, structure=_TOUCHING)
    if count < 2:
        return curve
    longest: Area = numbered == 1 + int(np.argmax(np.bincount(numbered.reshape(-1))[1:]))
    return longest


def _background(plane: Plane, options: ScribbleOptions, random: np.random.Generator) -> Area:
    """Strokes where nothing is: around the structures, or through the whole slice where it has none."""
    structures = plane > 0
    drawn = np.zeros(plane.shape, bool)
    if not structures.any():
        # A square's skeleton is a point, so there is a curve halfway to its edge too.
        curve = middle_line(plane == 0) | contour(plane == 0, max(1, min(plane.shape) // 4))
        return pieces(curve, options.density, random)
    box = _box(structures)
    inside, free = structures[box], plane[box] == 0
    if options.interior:
        far = free & ~ndimage.binary_dilation(inside, iterations=GAP + DEEPEST)
        drawn[box] |= pieces(thinned(far), options.density, random)
    if options.boundary:
        curve = thinned(outer_contour(inside, GAP) & free)
        drawn[box] |= pieces(away_from(curve, drawn[box]), options.density, random)
    return drawn


def _box(area: Area) -> tuple[slice, slice]:
    rows, columns = (np.flatnonzero(area.any(axis=other)) for other in (1, 0))
    first, second = (slice(max(0, int(hit[0]) - MARGIN), int(hit[-1]) + 1 + MARGIN) for hit in (rows, columns))
    return first, second


def _richest(there: NDArray[np.int64], index: int) -> int:
    """The slice that shows most of a class; for the background, one that has it beside as much else as possible."""
    if index:
        return int(there[:, index].argmax())
    others = there[:, 1:].sum(axis=1) * (there[:, 0] > 0)
    return int((others if others.any() else there[:, 0]).argmax())


def _alone(plane: Plane, index: int, options: ScribbleOptions, random: np.random.Generator) -> Area:
    """Strokes of one class, which no chosen slice shows."""
    if index:
        return _structures(np.where(plane == index, plane, IGNORE).astype(np.int16), options, random)
    area = _background(plane, options, random)
    return area if area.any() else pieces(thinned(plane == 0), options.density, random)
