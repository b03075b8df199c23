"""Raw label values to class indices and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autofuse.dataset import IGNORE, LabelClass, Labels, decode_labels, encode_labels, region_membership
from autofuse.dataset.label_codes import class_names, region_indices
from autofuse.dataset.label_declaration import read_labels
from autofuse.dataset.problems import Findings
from autofuse.foundation.errors import DataError

PLAIN = Labels(
    classes=(LabelClass(name="a", raw_values=(2,)), LabelClass(name="b", raw_values=(5,))),
    ignore=9,
)
REGIONS = Labels(
    classes=(
        LabelClass(name="whole", raw_values=(1, 2, 4)),
        LabelClass(name="core", raw_values=(2, 4)),
        LabelClass(name="enhancing", raw_values=(4,)),
    ),
    region_values=(1, 2, 4),
)


def test_worked_example() -> None:
    raw = np.array([[[0, 2, 5], [9, 2, 0]]], np.uint8)
    indices = encode_labels(raw, PLAIN)
    assert indices.dtype == np.int16
    assert indices.tolist() == [[[0, 1, 2], [IGNORE, 1, 0]]]
    assert decode_labels(indices, PLAIN).tolist() == raw.tolist()
    assert decode_labels(indices, PLAIN).dtype == np.uint8


@given(st.sets(st.integers(1, 65535), min_size=1, max_size=12), st.integers(0, 2**32 - 1))
def test_there_and_back(values: set[int], seed: int) -> None:
    labels = Labels(classes=tuple(LabelClass(name=str(v), raw_values=(v,)) for v in sorted(values)))
    raw = np.random.default_rng(seed).choice([0, *values], (3, 4, 5)).astype(np.int64)
    np.testing.assert_array_equal(decode_labels(encode_labels(raw, labels), labels), raw)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.int64, np.uint64])
def test_undeclared_values_are_named_with_their_counts(dtype: type) -> None:
    raw = np.zeros((4, 5, 6), dtype)
    raw[0, 0, :3], raw[1, 1, 1] = 7, 100
    with pytest.raises(DataError) as caught:
        encode_labels(raw, PLAIN)
    assert caught.value.found == "7 (3 voxels), 100 (1 voxels)"
    assert caught.value.expected == "0, 2, 5, 9"


def test_extreme_values_are_undeclared_too() -> None:
    raw = np.array([[[-(2**62), 2**62, -1, 65536]]], np.int64)
    with pytest.raises(DataError, match="-1"):
        encode_labels(raw, PLAIN)
    with pytest.raises(TypeError):
        encode_labels(raw.astype(float), PLAIN)


def test_large_maps_are_encoded_in_blocks() -> None:
    raw = np.random.default_rng(0).choice([0, 2, 5, 9], (130, 128, 128)).astype(np.int32)
    lookup = np.array([0, -9, 1, -9, -9, 2, -9, -9, -9, IGNORE])
    np.testing.assert_array_equal(encode_labels(raw[:, ::-1], PLAIN), lookup[raw[:, ::-1]])


def test_indices_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        decode_labels(np.array([3]), PLAIN)
    with pytest.raises(ValueError, match="do not fit"):
        decode_labels(np.array([IGNORE]), REGIONS)


def test_regions() -> None:
    expected = [[False, True, True, True], [False, False, True, True], [False, False, False, True]]
    assert region_membership(REGIONS).tolist() == expected
    assert region_indices(REGIONS) == (1, 2, 3)
    assert class_names(REGIONS) == ("background", "1 (whole)", "2 (whole, core)", "enhancing")
    assert class_names(PLAIN) == ("background", "a", "b")
    assert region_membership(PLAIN).tolist() == [[False, True, False], [False, False, True]]


def test_declarations(tmp_path: object) -> None:
    findings = Findings(tmp_path)  # type: ignore[arg-type]
    brats = {
        "labels": {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3, "ignore": 4},
        "regions_class_order": [1, 2, 3],
    }
    labels = read_labels(brats, findings)
    assert labels is not None and labels.has_regions and labels.outputs == 3 and labels.ignore == 4
    assert [item.name for item in labels.classes] == ["whole", "core", "enhancing"]
    shuffled = read_labels({"labels": {"b": 2, "background": 0, "a": 1, "single": [3]}}, findings)
    assert shuffled is not None and not shuffled.has_regions and shuffled.outputs == 4
    assert [item.name for item in shuffled.classes] == ["a", "b", "single"]
    assert findings.problems == []
