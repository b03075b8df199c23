"""The crop that the fingerprint measures and preprocessing applies."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from autofuse.fingerprint.crop import box_shape, nonzero_box


def test_box_of_two_modalities_is_their_union() -> None:
    first = np.zeros((6, 7, 8), np.float32)
    second = np.zeros_like(first)
    first[2, 3, 4] = 1
    second[4, 1, 6] = -2
    box = nonzero_box([first, second])
    assert box == (slice(2, 5), slice(1, 4), slice(4, 7))
    assert box_shape(box) == (3, 3, 3)


def test_background_other_than_zero_crops_nothing() -> None:
    image = np.full((4, 5, 6), -1024, np.int16)
    image[2, 2, 2] = 100
    assert box_shape(nonzero_box([image])) == (4, 5, 6)


def test_an_empty_case_keeps_its_grid() -> None:
    assert box_shape(nonzero_box([np.zeros((3, 1, 5))])) == (3, 1, 5)


def test_different_grids_and_no_image_are_refused() -> None:
    with pytest.raises(ValueError, match="share one grid"):
        nonzero_box([np.zeros((2, 2, 2)), np.zeros((2, 2, 3))])
    with pytest.raises(ValueError, match="without any image"):
        nonzero_box([])


@given(hnp.arrays(np.int16, hnp.array_shapes(min_dims=1, max_dims=4, max_side=5), elements=st.sampled_from([0, 0, 3])))
def test_box_is_the_smallest_that_holds_every_voxel(array: np.ndarray) -> None:
    box = nonzero_box([array])
    found = np.argwhere(array)
    if len(found):
        assert [part.start for part in box] == list(found.min(axis=0))
        assert [part.stop for part in box] == list(found.max(axis=0) + 1)
    else:
        assert box_shape(box) == array.shape
