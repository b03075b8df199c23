"""Strokes in one plane: inside their area, thin, contiguous, and as long as they should be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from autofuse.scribbles.strokes import Area, contour, middle_line, outer_contour, pieces, thinned

TOUCHING = np.ones((3, 3), bool)


def blob(seed: int, roughness: float) -> Area:
    """A random area of rounded and jagged parts."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((40, 44)), roughness)
    return np.asarray(noise > np.quantile(noise, 0.6))


areas = st.builds(blob, st.integers(0, 10_000), st.sampled_from([0.6, 1.0, 2.0, 4.0]))


def thick(curve: Area) -> bool:
    """Whether somewhere it is two voxels wide over a length of three."""
    return any(ndimage.binary_erosion(curve, np.ones(size)).any() for size in ((2, 3), (3, 2)))


@settings(deadline=None, max_examples=60)
@given(areas)
def test_curves_stay_inside_and_are_thin(area: Area) -> None:
    edge = area & ~ndimage.binary_erosion(area)
    for curve in (middle_line(area), contour(area, 1), contour(area, 2)):
        assert not (curve & ~area).any()
        assert not thick(curve)
    assert middle_line(area).any() == area.any()
    assert not (contour(area, 1) & edge).any()


@settings(deadline=None, max_examples=40)
@given(areas, st.integers(1, 4))
def test_outer_contours_keep_their_distance(area: Area, distance: int) -> None:
    curve = outer_contour(area, distance)
    steps = ndimage.distance_transform_cdt(~area, metric="taxicab")
    assert set(np.unique(steps[curve])) <= {distance}


@settings(deadline=None, max_examples=60)
@given(areas, st.floats(0.01, 1.0), st.integers(0, 99))
def test_pieces_are_contiguous_shares(area: Area, share: float, seed: int) -> None:
    curve = contour(area, 1)
    kept = pieces(curve, share, np.random.default_rng(seed))
    assert not (kept & ~curve).any()
    parts, count = ndimage.label(curve, structure=TOUCHING)
    for part in range(1, count + 1):
        here = kept & (parts == part)
        assert here.sum() == max(1, round(share * (parts == part).sum()))
        assert ndimage.label(here, structure=TOUCHING)[1] == 1


def test_a_disc_has_a_ring_and_a_middle() -> None:
    y, x = np.ogrid[:31, :31]
    disc = np.hypot(y - 15, x - 15) < 10
    ring = contour(disc, 2)
    assert ndimage.label(~ring)[1] == 2, "the ring is closed"
    assert 6 < np.hypot(*(np.argwhere(ring) - 15).T).min() <= np.hypot(*(np.argwhere(ring) - 15).T).max() < 8.5
    assert np.hypot(*(np.argwhere(middle_line(disc)) - 15).T).max() < 6


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (2, 2), (2, 9), (3, 3)])
def test_the_smallest_areas_get_a_voxel(shape: tuple[int, int]) -> None:
    area = np.ones(shape, bool)
    for curve in (middle_line(area), thinned(area)):
        assert curve.any()
        assert pieces(curve, 0.01, np.random.default_rng(0)).sum() == 1
    assert not thinned(np.zeros(shape, bool)).any()
    assert not pieces(np.zeros(shape, bool), 1.0, np.random.default_rng(0)).any()
