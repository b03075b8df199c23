"""Images on other grids: against scipy's own sampling, against a formula, and what is said about fields of view."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from autofuse.alignment.field_of_view import covered_voxels, extent_in_words, index_map, occupied_box, overlap
from autofuse.alignment.regrid import regrid
from autofuse.alignment.types import Rigid
from autofuse.images.geometry import Geometry

TURNED = ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0), (1.0, 0.0, 0.0))
"""Array axes along the world's z, x and -y."""


def rotation(degrees: float) -> tuple[tuple[float, float, float], ...]:
    """About the world's z axis."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return ((c, -s, 0.0), (s, c, 0.0), (0.0, 0.0, 1.0))


def wave(geometry: Geometry, rigid: Rigid | None = None) -> NDArray[np.float64]:
    """A smooth function of the place in the world, on a grid."""
    index = np.stack([*np.indices(geometry.shape), np.ones(geometry.shape)])
    world = np.tensordot((np.eye(4) if rigid is None else rigid.affine()) @ geometry.affine(), index, 1)
    return np.sin(world[0] / 7) + np.cos(world[1] / 9) * np.sin(world[2] / 8 + 1)


def sampled(voxels: NDArray[np.float64], geometry: Geometry, target: Geometry, order: int) -> NDArray[np.float64]:
    """scipy at each target voxel."""
    index = np.stack([*np.indices(target.shape), np.ones(target.shape)])
    places = np.tensordot(index_map(geometry, target), index, 1)[:3]
    return map_coordinates(voxels, places, order=order, mode="nearest")


@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize("direction", [TURNED, Geometry((1, 1, 1)).direction])
def test_parallel_axes_equal_pointwise_sampling(order: int, direction: tuple[tuple[float, ...], ...]) -> None:
    source = Geometry((20, 24, 17), (1.1, 0.9, 1.3), (2.0, 3.0, 4.0), direction)
    voxels = np.random.default_rng(0).normal(size=source.shape)
    finer = Geometry((23, 40, 30), (0.5, 0.4, 0.6), (3.0, -5.0, 6.0))
    image, covered = regrid(voxels, source, finer, order=order)  # type: ignore[arg-type]
    expected = sampled(voxels, source, finer, order).clip(voxels.min(), voxels.max())
    np.testing.assert_allclose(image[covered], expected[covered], atol=2e-5)
    assert 0.1 < covered.mean() < 1 and not image[~covered].any() and image.dtype == np.float32


def test_the_oblique_way_equals_the_separable_one() -> None:
    source, target = Geometry((20, 24, 17)), Geometry((20, 24, 17), (0.7, 0.7, 0.7), (1.0, 2.0, 3.0))
    tilted = Geometry(target.shape, target.spacing_mm, target.origin_mm, oblique(0.2))
    one, seen = regrid(wave(source), source, target)
    other, also = regrid(wave(source), source, tilted)
    both = seen & also
    assert both.mean() > 0.5
    np.testing.assert_allclose(one[both], wave(target)[both], atol=0.02)
    np.testing.assert_allclose(other[both], wave(tilted)[both], atol=0.02)


def oblique(degrees: float) -> tuple[tuple[float, float, float], ...]:
    """The usual axes, turned."""
    turned = np.asarray(rotation(degrees)) @ np.asarray(Geometry((1, 1, 1)).direction)
    return tuple(tuple(row) for row in turned.tolist())  # type: ignore[return-value]


@pytest.mark.parametrize("degrees", [0.0, 12.0])
def test_a_rigid_transform_undoes_a_movement(degrees: float) -> None:
    rigid = Rigid(rotation=rotation(degrees), centre_mm=(9.0, 9.0, 9.0), shift_mm=(3.0, -2.0, 1.5))  # type: ignore[arg-type]
    source = Geometry((30, 32, 34), (1.0, 1.0, 1.0), (-4.0, -4.0, -4.0))
    target = Geometry((18, 19, 20), (1.0, 1.0, 1.0))
    image, covered = regrid(wave(source), source, target, rigid)
    # What is seen at p of the target is seen at R(p - c) + c + t of the image.
    assert covered.all()
    np.testing.assert_allclose(image, wave(target, rigid), atol=0.02)


def test_a_coarser_target_does_not_alias() -> None:
    source, coarse = Geometry((1, 64, 64)), Geometry((1, 16, 16), (1.0, 4.0, 4.0), (1.5, 1.5, 0.0))
    stripes = np.zeros((1, 64, 64)) + np.arange(64) % 2
    for direction in (source.direction, oblique(1.0)):
        target = Geometry(coarse.shape, coarse.spacing_mm, coarse.origin_mm, direction)
        image, covered = regrid(stripes, source, target)
        middle = image[covered & (image > 0)]
        assert abs(float(middle.mean()) - 0.5) < 0.02 and float(middle.std()) < 0.05


def test_what_is_covered_ends_half_a_voxel_beyond_the_outer_centres() -> None:
    source = Geometry((4, 4, 4), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0))  # from -1 to 7 mm
    target = Geometry((1, 1, 20), (1.0, 1.0, 0.5), (-2.0, 3.0, 3.0))
    covered = covered_voxels(source, target)[0, 0]
    places = -2.0 + 0.5 * np.arange(20)
    np.testing.assert_array_equal(covered, (places >= -1.0) & (places <= 7.0))


@pytest.mark.parametrize("degrees", [0.0, 17.0])
def test_the_overlap_is_the_share_of_covered_voxels(degrees: float) -> None:
    source = Geometry((30, 40, 20), (1.0, 1.0, 2.0), (5.0, 8.0, -3.0), oblique(degrees))  # type: ignore[arg-type]
    target = Geometry((50, 50, 50))
    assert overlap(source, target) == pytest.approx(covered_voxels(source, target).mean(), abs=0.01)
    beside = Geometry((5, 5, 5), (1.0, 1.0, 1.0), (90.0, 0.0, 0.0), source.direction)
    assert overlap(beside, target) == 0.0 and not regrid(np.ones((5, 5, 5)), beside, target)[1].any()
    assert extent_in_words(Geometry((5, 5, 5), origin_mm=(90.0, 0.0, 0.0))).startswith("x 90 to 94")


@pytest.mark.parametrize("degrees", [0.0, 25.0])
def test_the_occupied_box_holds_what_is_not_zero(degrees: float) -> None:
    source = Geometry((20, 24, 17), (1.1, 0.9, 1.3), (2.0, 3.0, 4.0), oblique(degrees))  # type: ignore[arg-type]
    target = Geometry((40, 40, 40), (0.7, 0.7, 0.7), (0.0, 0.0, 2.0))
    voxels = np.zeros(source.shape)
    voxels[5:9, 6:15, 4:7] = 1
    box = occupied_box(voxels, source, target)
    assert box is not None
    image, _ = regrid(voxels, source, target, order=1)
    found = np.argwhere(image > 0.5)
    for part, low, high in zip(box, found.min(axis=0), found.max(axis=0), strict=True):
        assert part.start <= low and high < part.stop
        assert low - part.start <= 2 and part.stop - 1 - high <= 2
    assert occupied_box(np.zeros(source.shape), source, target) is None
