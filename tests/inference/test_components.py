"""Post-processing on masks of a few voxels."""

from __future__ import annotations

import numpy as np
import pytest
from inference_fakes import REGIONS, class_labels

from autofuse.inference.coding import decode, encode
from autofuse.inference.components import holes, postprocess, structures
from autofuse.inference.recipe import StructureSteps

ONE, TWO = class_labels(1), class_labels(2)


def drawn(*rows: str) -> np.ndarray:
    """A map of one slice; each digit is a voxel."""
    return np.array([[[int(letter) for letter in row] for row in rows]], dtype=np.int16)


def after(indices: np.ndarray, labels, *steps: StructureSteps, spacing_mm=(1.0, 1.0, 1.0)) -> np.ndarray:  # type: ignore[no-untyped-def]
    postprocess(indices, labels, spacing_mm, steps)
    return indices


def test_the_largest_component_stays() -> None:
    step = StructureSteps(structure="class 1", largest_only=True)
    found = after(drawn("1100", "1001", "0011"), ONE, step)
    np.testing.assert_array_equal(found, drawn("1100", "1000", "0000"))


def test_corners_join_components() -> None:
    step = StructureSteps(structure="class 1", largest_only=True)
    np.testing.assert_array_equal(after(drawn("100", "010", "001"), ONE, step), drawn("100", "010", "001"))


def test_small_components_go_by_their_volume_in_mm3() -> None:
    step = StructureSteps(structure="class 1", least_mm3=3.0)
    np.testing.assert_array_equal(after(drawn("1101", "0001"), ONE, step), drawn("0000", "0000"))
    found = after(drawn("1101", "0001"), ONE, step, spacing_mm=(1.5, 1.0, 1.0))
    np.testing.assert_array_equal(found, drawn("1101", "0001")), "two voxels are 3 mm3"


def test_holes_take_background_and_no_other_class() -> None:
    step = StructureSteps(structure="class 1", fill_holes=True)
    found = after(drawn("11111", "10121", "11111", "10001"), TWO, step)
    np.testing.assert_array_equal(found, drawn("11111", "11121", "11111", "10001"))


def test_a_hole_open_in_the_next_slice_is_none() -> None:
    ring = np.zeros((2, 3, 3), dtype=bool)
    ring[0] = True
    ring[0, 1, 1] = False
    assert not holes(ring).any()
    assert holes(ring[:1]).sum() == 1, "along an axis of one voxel nothing leads out"


def test_what_a_region_loses_falls_to_the_region_around_it() -> None:
    whole, core, enhancing = structures(REGIONS)
    # Class indices: 1, 2, 3 for raw 1, 2, 4; regions paint 2, 1, 4.
    assert (whole.paints, core.paints, enhancing.paints) == (2, 1, 3)
    assert (whole.gives_to, core.gives_to, enhancing.gives_to) == (0, 2, 1)
    step = StructureSteps(structure="enhancing", largest_only=True)
    np.testing.assert_array_equal(after(drawn("23311", "21113"), REGIONS, step), drawn("23311", "21111"))
    step = StructureSteps(structure="whole", least_mm3=3.0)
    np.testing.assert_array_equal(after(drawn("2130031"), REGIONS, step), drawn("2130000"))
    step = StructureSteps(structure="core", fill_holes=True)
    np.testing.assert_array_equal(after(drawn("111", "121", "111"), REGIONS, step), drawn("111", "111", "111"))


def test_nothing_is_left_of_nothing() -> None:
    step = StructureSteps(structure="class 1", largest_only=True, fill_holes=True)
    np.testing.assert_array_equal(after(drawn("000"), ONE, step), drawn("000"))
    with pytest.raises(KeyError):
        after(drawn("000"), ONE, StructureSteps(structure="class 9", largest_only=True))


def test_codes_are_fine_in_the_middle_and_at_the_ends() -> None:
    p = np.linspace(0, 1, 10001)
    back = decode(encode(p))
    assert np.abs(back - p).max() < 0.0032
    small = np.array([0.001, 0.01, 0.99, 0.999])
    np.testing.assert_allclose(decode(encode(small)) / small, 1, rtol=0.1)
    np.testing.assert_array_equal(decode(np.arange(256, dtype=np.uint8))[[0, 255]], [0, 1])
    np.testing.assert_array_equal(encode(decode(np.arange(256, dtype=np.uint8))), np.arange(256))
