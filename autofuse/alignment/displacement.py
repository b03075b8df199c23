"""How far two images of one patient lie apart: where their agreement is best, over all shifts at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autofuse.alignment.agreement import SMALLEST_OVERLAP, Agreement, agreement_over_shifts, bin_by_rank
from autofuse.alignment.common_grid import (
    FEWEST_ALONG,
    Vector,
    View,
    Window,
    isotropic_step_mm,
    sample,
    shared_box,
    view,
    window_in,
    without_rim,
)
from autofuse.alignment.types import Rigid, Triple
from autofuse.images.geometry import Geometry

SAMPLES = 64**3
"""Of the field of view that both images see, in the first look."""
FARTHEST_MM = 40.0
FARTHEST_SHARE, LARGEST_SHARE = 0.25, 0.4
"""Shifts up to FARTHEST_MM or that share of the shared field of view are looked at, but none above LARGEST_SHARE."""
_CROP, _CROP_REACH, _WORTHWHILE = 48, 4, 0.75
"""The second look: samples and shifts along each axis; taken if its voxels are so much smaller than the first one's."""
RELIABLE_PROMINENCE, RELIABLE_AGREEMENT = 0.5, 1.005
"""Least that is believed. Measured: prominence of pairs of one body, moved by up to 16 mm, 0.60 and more, of images
that have nothing to do with each other 0.40 and less; agreement of noise with anything 1.0025 and less."""
ONE_MASK = 0.01
"""Two images are taken for cut by one mask if at most this share of what either shows is background in the other."""
INNER_PROMINENCE, INNER_AGREEMENT, INNER_OVERLAP = 0.75, 1.05, 0.5
"""What is asked of the inside alone. Measured: brains of which one was moved by 8 mm before both were cut by one mask
had at least 0.87 and 1.059; wrong places in phantoms, whose inside is smooth, up to 0.89 but at most 1.046."""
_ONE_PEAK = 3
"""Samples within which two maxima are one peak."""


@dataclass(frozen=True)
class Displacement:
    """How far two images lie apart.

    Attributes:
        displacement_mm: what is seen at x in the fixed image is seen at x + displacement in the moving one; z, y, x
            along the fixed image's axes.
        distance_mm: its length.
        agreement: normalised mutual information at its best, outline included, 1 (independent) to 2; agreement_unmoved:
            without moving.
        resolution_mm: voxel that was measured at.
        overlap: share of the samples of the shared box that both see; 0: they share no field of view, and nothing else
            here means anything.
        prominence: how far the best place stands out: its lead over the second best local maximum, as a share of its
            lead over the median of all places; 0 to 1.
        reliable: whether it stands out enough to be believed.
        outline: whether a constant background took part; else the inside alone decided.
    """

    displacement_mm: Triple
    distance_mm: float
    agreement: float
    agreement_unmoved: float
    resolution_mm: float
    overlap: float
    prominence: float
    reliable: bool
    outline: bool = True


def measure_displacement(
    fixed: NDArray[Any],
    fixed_geometry: Geometry,
    moving: NDArray[Any],
    moving_geometry: Geometry,
    *,
    inside: NDArray[np.bool_] | None = None,
    rigid: Rigid | None = None,
) -> Displacement:
    """How far ``moving`` lies from ``fixed``; both (z, y, x) arrays, on any two grids.

    Normalised mutual information of 8 grey levels, over all shifts at once, first over the whole field of view, then
    finer on its middle. Nothing is drawn at random. Images of which one says nothing about the other give a result
    that is not reliable; so do those without a shared field of view (overlap 0). Where both were cut by one mask, their
    outline says only where the mask was: then what lies inside decides, if it says enough.

    Args:
        inside: voxels of the fixed image that count; None for all.
        rigid: brings the images together first; the displacement is what is left.
    """
    box = shared_box(fixed_geometry, moving_geometry, rigid)
    finest_mm = max(min(fixed_geometry.spacing_mm), min(moving_geometry.spacing_mm))
    if box is None:
        return _nothing(finest_mm)
    step_mm = isotropic_step_mm(box, SAMPLES, finest_mm)
    views = _views(fixed, fixed_geometry, moving, moving_geometry, step_mm, inside, rigid)
    window = window_in(fixed_geometry, box, step_mm)
    coarse = _look(views, window, _reach(window), np.zeros(3))
    if not coarse.agreement.compared.any():
        return _nothing(step_mm)
    best = coarse
    stored = views if rigid is None else _views(fixed, fixed_geometry, moving, moving_geometry, step_mm, inside, None)
    if _one_mask(stored, window):
        inner = _look(views, window, _reach(window), np.zeros(3), outline=False)
        best = inner if _stands_out(inner.agreement, INNER_PROMINENCE, INNER_AGREEMENT) else coarse
    found_mm = _peak(best.agreement) * step_mm
    finer_mm = max(step_mm / 2, finest_mm)
    if finer_mm < _WORTHWHILE * step_mm:
        views = _views(fixed, fixed_geometry, moving, moving_geometry, finer_mm, inside, rigid)
        half = finer_mm * _CROP / 2
        part = (np.maximum(box[0], coarse.middle_mm - half), np.minimum(box[1], coarse.middle_mm + half))
        around = window_in(fixed_geometry, part, finer_mm)
        more_mm = _refine(views, around, found_mm, step_mm, outline=best is coarse)
        if more_mm is not None:
            return _told(found_mm + more_mm, coarse, best, finer_mm)
    return _told(found_mm, coarse, best, step_mm)


@dataclass(frozen=True)
class _Look:
    """Agreement over shifts, and what was seen.

    Attributes:
        overlap: share of the samples that both see; middle_mm: of what they show.
    """

    agreement: Agreement
    overlap: float
    middle_mm: Vector


def _views(
    fixed: NDArray[Any],
    fixed_geometry: Geometry,
    moving: NDArray[Any],
    moving_geometry: Geometry,
    step_mm: float,
    inside: NDArray[np.bool_] | None,
    rigid: Rigid | None,
) -> tuple[View, View]:
    return (
        view(fixed, fixed_geometry, step_mm, inside=inside),
        view(moving, moving_geometry, step_mm, rigid),
    )


def _look(
    views: tuple[View, View], window: Window, reach: tuple[int, ...], moved_mm: Vector, *, outline: bool = True
) -> _Look:
    """Agreement of the fixed image at ``window`` with the moving one there and ``reach`` samples around, moved.

    Args:
        outline: whether a constant background is compared as well.
    """
    fixed, fixed_seen = sample(views[0], window)
    moving, moving_seen = sample(views[1], window.widened(reach).moved(moved_mm))
    both = fixed_seen & _middle(moving_seen, reach)
    either = np.argwhere(both & ((fixed != 0) | (_middle(moving, reach) != 0)))
    seen = [fixed_seen, moving_seen]
    if not outline:
        seen = [without_rim(fixed, fixed_seen), without_rim(moving, moving_seen)]
    bins = [
        bin_by_rank(values, where, source.background and outline)
        for values, where, source in zip((fixed, moving), seen, views, strict=True)
    ]
    least = SMALLEST_OVERLAP if outline else INNER_OVERLAP
    return _Look(
        agreement=agreement_over_shifts(bins[0], bins[1], reach, least),
        overlap=float(both.mean()),
        middle_mm=window.start_mm + window.step_mm * either.mean(axis=0) if len(either) else window.centre_mm,
    )


def _one_mask(views: tuple[View, View], window: Window) -> bool:
    """Whether both images, as they are stored, have their background in the same places."""
    if not all(source.background for source in views):
        return False
    (fixed, fixed_seen), (moving, moving_seen) = (sample(source, window) for source in views)
    both = fixed_seen & moving_seen
    either = int((both & ((fixed != 0) | (moving != 0))).sum())
    return int((both & ((fixed != 0) != (moving != 0))).sum()) <= ONE_MASK * either


def _refine(
    views: tuple[View, View], around: Window, found_mm: Vector, voxel_mm: float, *, outline: bool
) -> Vector | None:
    """What is to be added to ``found_mm``, from a finer look at ``around``.

    None where nothing can be compared, or another place is found than at the first look, which saw more, with voxels of
    ``voxel_mm``: the middle of a body may be too smooth to say anything.
    """
    reach = tuple(_CROP_REACH if count >= FEWEST_ALONG else 0 for count in around.counts)
    finer = _look(views, around, reach, found_mm, outline=outline)
    if not finer.agreement.compared.any():
        return None
    more_mm = _peak(finer.agreement) * around.step_mm
    return more_mm if bool((np.abs(more_mm) <= voxel_mm).all()) else None


def _peak(agreement: Agreement) -> Vector:
    """Shift of the best agreement in samples; between samples by a parabola through its neighbours along each axis."""
    values = np.where(agreement.compared, agreement.values, 0)
    place: tuple[Any, ...] = np.unravel_index(int(values.argmax()), values.shape)
    if values[place] == agreement.values[agreement.reach]:
        # Where no place is better than any other, nothing has moved.
        place = agreement.reach
    shift = np.array(place, float) - agreement.reach
    for axis, index in enumerate(place):
        if 0 < index < values.shape[axis] - 1:
            line: Any = values[tuple(slice(None) if k == axis else place[k] for k in range(3))]
            before, here, after = (float(line[index + step]) for step in (-1, 0, 1))
            bend = before - 2 * here + after
            if min(before, after) > 0 and bend < 0:
                shift[axis] += (before - after) / (2 * bend)
    return shift


def _prominence(agreement: Agreement) -> float:
    """Lead of the best place over the second best local maximum, as a share of its lead over the median of all."""
    from scipy.ndimage import maximum_filter

    values = np.where(agreement.compared, agreement.values, 0)
    best = np.unravel_index(int(values.argmax()), values.shape)
    highest = float(values[best])
    lead = highest - float(np.median(agreement.values[agreement.compared]))
    if lead <= 0:
        return 0.0
    maxima = (maximum_filter(values, size=2 * _ONE_PEAK - 1) == values) & agreement.compared
    maxima[tuple(slice(max(0, place - _ONE_PEAK), place + _ONE_PEAK + 1) for place in best)] = False
    second = float(values[maxima].max()) if maxima.any() else 0.0
    return float(min(1.0, (highest - second) / lead))


def _stands_out(
    found: Agreement, prominence: float = RELIABLE_PROMINENCE, agreement: float = RELIABLE_AGREEMENT
) -> bool:
    """Whether the best place can be believed."""
    if not found.compared.any():
        return False
    return float(found.values[found.compared].max()) >= agreement and _prominence(found) >= prominence


def _told(found_mm: Vector, look: _Look, best: _Look, resolution_mm: float) -> Displacement:
    """What was found, in figures that rounding errors do not change.

    Args:
        look: with the outline, which tells the agreement; best: which told the place.
    """
    agreement = look.agreement
    z, y, x = (round(float(part), 3) + 0.0 for part in found_mm)
    return Displacement(
        displacement_mm=(z, y, x),
        distance_mm=round(math.sqrt(z * z + y * y + x * x), 3),
        agreement=round(float(agreement.values[agreement.compared].max()), 4),
        agreement_unmoved=round(float(agreement.values[agreement.reach]), 4),
        resolution_mm=round(resolution_mm, 3),
        overlap=round(look.overlap, 4),
        prominence=round(_prominence(best.agreement), 3),
        reliable=_stands_out(best.agreement),
        outline=best is look,
    )


def _nothing(resolution_mm: float) -> Displacement:
    """Of images that share no field of view."""
    return Displacement((0.0, 0.0, 0.0), 0.0, 1.0, 1.0, round(resolution_mm, 3), 0.0, 0.0, False)


def _reach(window: Window) -> tuple[int, ...]:
    """Shifts that are looked at, samples per axis."""
    farthest = FARTHEST_MM / window.step_mm
    return tuple(
        math.floor(min(max(farthest, FARTHEST_SHARE * count), LARGEST_SHARE * count)) if count >= FEWEST_ALONG else 0
        for count in window.counts
    )


def _middle(values: NDArray[Any], reach: tuple[int, ...]) -> NDArray[Any]:
    """An array without ``reach`` samples at either end of each axis."""
    return values[tuple(slice(r, count - r) for r, count in zip(reach, values.shape, strict=True))]
