"""Scribbles of whole label maps: of the right class, nowhere else, and something of every class."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from scribbled_sets import SHAPE, SPACING_MM, label

from autofuse.dataset.types import IGNORE
from autofuse.foundation.errors import UsageError
from autofuse.images import Geometry
from autofuse.scribbles.drawing import EMPTY_SHARE, draw, slicing_axis, stream_of, tally
from autofuse.scribbles.options import ScribbleOptions

Label = NDArray[np.int16]
GRID = Geometry(SHAPE, SPACING_MM)


def random_label(seed: int, shape: tuple[int, int, int], roughness: float, ignored: float) -> Label:
    """Three classes in random patches, some of it ignored."""
    random = np.random.default_rng(seed)
    fields = ndimage.gaussian_filter(random.standard_normal((3, *shape)), (0, roughness, roughness, roughness))
    made = np.where(fields.max(axis=0) > np.quantile(fields, 0.9), 1 + fields.argmax(axis=0), 0).astype(np.int16)
    made[random.random(shape) < ignored] = IGNORE
    return made


labels = st.builds(
    random_label,
    st.integers(0, 10_000),
    st.sampled_from([(7, 18, 22), (20, 6, 19), (1, 30, 31), (1, 1, 9)]),
    st.sampled_from([0.5, 1.5]),
    st.sampled_from([0.0, 0.3, 0.99]),
)
options = st.builds(
    ScribbleOptions,
    every=st.integers(1, 9),
    density=st.floats(0.01, 1.0),
    interior=st.booleans(),
    boundary=st.just(True),
    background=st.booleans(),
    axis=st.sampled_from([None, 0, 1, 2]),
    seed=st.integers(0, 5),
)


def scribble(dense: Label, case: str = "case", **changes: object) -> Label:
    recipe = ScribbleOptions(**changes)  # type: ignore[arg-type]
    geometry = GRID if dense.shape == SHAPE else Geometry(dense.shape)  # type: ignore[arg-type]
    return draw(dense, geometry, recipe, stream_of(case, recipe.seed)).label


@settings(deadline=None, max_examples=80)
@given(labels, options)
def test_every_voxel_is_of_its_class_and_every_class_is_there(dense: Label, recipe: ScribbleOptions) -> None:
    drawn = draw(dense, Geometry(dense.shape), recipe, stream_of("case", recipe.seed)).label  # type: ignore[arg-type]
    shown = drawn != IGNORE
    np.testing.assert_array_equal(drawn[shown], dense[shown])
    wanted = set(np.unique(dense)) - {IGNORE} - (set() if recipe.background else {0})
    assert set(np.unique(drawn)) - {IGNORE} == wanted


def test_strokes_are_thin() -> None:
    for index in range(3):
        drawn = scribble(label(index).astype(np.int16), seed=index, density=1.0)
        for plane in drawn:
            for value in (1, 2, 4):
                for size in ((2, 3), (3, 2)):
                    assert not ndimage.binary_erosion(plane == value, np.ones(size)).any()


def test_slices_are_chosen_across_the_coarsest_axis_or_the_asked_one() -> None:
    dense = random_label(0, (20, 21, 22), 2.0, 0.0)
    for spacing, wanted, axis in (((1.0, 3.0, 1.0), None, 1), ((1.0, 1.0, 1.0), None, 0), ((3.0, 1.0, 1.0), 2, 2)):
        drawn = draw(dense, Geometry(dense.shape, spacing), ScribbleOptions(every=4, axis=wanted), stream_of("a", 0))  # type: ignore[arg-type]
        assert drawn.axis == axis
        on = np.flatnonzero((drawn.label > 0).any(axis=tuple({0, 1, 2} - {axis})))
        assert len(on) >= 4
        assert set(np.diff(on)) == {4}
    assert slicing_axis(Geometry((30, 31, 1), (5.0, 1.0, 1.0)), 0) == 2, "a single slice has one plane only"


def test_a_class_that_no_chosen_slice_shows_is_drawn_where_it_is_largest() -> None:
    dense = label(0).astype(np.int16)
    for seed in range(6):
        drawn = scribble(dense, every=6, seed=seed)
        assert (drawn[2] == 4).sum() == 1
        assert set(np.unique(drawn)) == {IGNORE, 0, 1, 2, 4}


def test_each_kind_of_stroke_can_be_left_out() -> None:
    dense = label(1).astype(np.int16)
    inside = ndimage.binary_erosion(dense == 1, ndimage.generate_binary_structure(2, 1)[None])
    both, inner, outer = (scribble(dense, **kind) for kind in ({}, {"boundary": False}, {"interior": False}))
    assert all((part == 1).any() for part in (inner, outer))
    assert ((inner == 1).sum() + (outer == 1).sum()) * 0.6 < (both == 1).sum()
    assert not ((outer == 1) & ~inside).any(), "boundary strokes lie inside the edge"
    assert not (scribble(dense, background=False) == 0).any()
    assert (both == 0).any()


def test_density_is_the_share_of_strokes_that_is_kept() -> None:
    dense = label(2).astype(np.int16)
    lengths = [(scribble(dense, density=density, interior=False) > 0).sum() for density in (0.1, 0.5, 1.0)]
    assert lengths[0] < 0.2 * lengths[2]
    assert 0.45 * lengths[2] < lengths[1] < 0.55 * lengths[2]


def test_few_empty_slices_are_drawn_on() -> None:
    dense = np.zeros((400, 20, 20), np.int16)
    dense[200, 5:15, 5:15] = 1
    drawn = scribble(dense)
    on = (drawn != IGNORE).any(axis=(1, 2))
    assert on[200]
    assert 0.5 * EMPTY_SHARE < on.mean() < 2 * EMPTY_SHARE
    assert ((drawn == 0).sum(axis=(1, 2))[on] > 10).all()


def test_background_lies_near_structures_but_does_not_touch_them() -> None:
    dense = np.zeros((1, 80, 80), np.int16)
    dense[0, 30:50, 30:50] = 1
    steps = ndimage.distance_transform_cdt(dense[0] == 0, metric="taxicab")
    near = steps[scribble(dense, density=1.0)[0] == 0]
    assert near.min() == 3
    assert 3 < near.max() <= 24


def test_streams_depend_on_case_and_seed_alone() -> None:
    dense = label(0).astype(np.int16)
    one = scribble(dense, "a")
    np.testing.assert_array_equal(one, scribble(dense, "a"))
    assert (one != scribble(dense, "b")).any()
    assert (one != scribble(dense, "a", seed=1)).any()


def test_counts_by_slice_and_class() -> None:
    dense = np.array([[[0, 0, 2]], [[IGNORE, 1, 2]]], np.int16)
    np.testing.assert_array_equal(tally(dense), [[2, 0, 1], [0, 1, 1]])
    np.testing.assert_array_equal(tally(np.full((2, 1, 1), IGNORE, np.int16), 1), np.zeros((2, 2)))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"every": 0}, "every"),
        ({"density": 0.0}, "density"),
        ({"density": 1.01}, "density"),
        ({"density": float("nan")}, "density"),
        ({"axis": 3}, "axis"),
        ({"seed": -1}, "seed"),
        ({"interior": False, "boundary": False}, "neither interior nor boundary"),
    ],
)
def test_options_that_make_no_sense_are_named(changes: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        ScribbleOptions(**changes).check()  # type: ignore[arg-type]
