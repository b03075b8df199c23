"""Masks of single modalities on the prepared grid: each goes the way of its own image, and the store keeps them all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from own_grids import NARROW, second_elsewhere, smooth_case
from prepared_cases import fill_store, raw_case, tiny_plan

from autofuse.dataset.raw import RawCase
from autofuse.dataset.types import IGNORE
from autofuse.foundation.errors import DataError
from autofuse.images.geometry import Geometry
from autofuse.plan.types import Plan
from autofuse.preprocessing.label import brought_label
from autofuse.preprocessing.prepare import PreparedCase, prepare_case

PLAN = tiny_plan().model_copy(update={"masks_per_modality": True})


def with_own(raw: RawCase, *labels: np.ndarray | None) -> RawCase:
    """The case with a mask for each modality instead of one for all."""
    return replace(raw, label=None, labels=labels, reference=0)


def prepared(raw: RawCase, plan: Plan = PLAN) -> PreparedCase:
    return prepare_case(raw, plan, plan.named(plan.configuration))


def bright(raw: RawCase, channel: int, above: float) -> np.ndarray:
    image = raw.images[channel]
    assert image is not None
    return (image.voxels > above).astype(np.int16)


def test_on_one_grid_each_mask_is_what_it_would_be_alone() -> None:
    raw = raw_case(border=3)
    assert raw.label is not None
    other = np.ascontiguousarray(raw.label[:, ::-1])
    plan = tiny_plan(spacing=(1.5, 1.0, 2.0), transpose=(2, 0, 1))
    both = prepared(with_own(raw, raw.label, other), plan.model_copy(update={"masks_per_modality": True}))
    assert both.label is not None and both.annotations == ("dense", "dense") and both.annotation == "dense"
    for channel, label in enumerate((raw.label, other)):
        np.testing.assert_array_equal(both.label[channel], prepared(replace(raw, label=label), plan).label)


def test_elsewhere_a_mask_stays_with_its_image() -> None:
    raw = second_elsewhere(smooth_case(raw_case(shape=(32, 36, 40))), factor=2)
    median = float(np.median(raw.images[1].voxels))  # type: ignore[union-attr]
    own = with_own(raw, bright(raw, 0, 150), bright(raw, 1, median))
    case = prepared(own)
    assert case.label is not None and case.label.shape == case.images.shape
    seen = ~np.isnan(case.images[1])
    np.testing.assert_array_equal(case.label[1] != IGNORE, seen)
    assert np.flatnonzero(seen.any(axis=(1, 2))).tolist() == list(range(*NARROW))
    image = raw.images[1]
    assert image is not None
    threshold = (median - image.voxels.mean()) / image.voxels.std()
    agree = ((case.images[1] > threshold) == (case.label[1] == 1))[seen].mean()
    assert agree > 0.96  # interpolated masks and thresholds of interpolated images differ along the border only


def test_a_modality_without_mask_or_image_teaches_nothing() -> None:
    raw = raw_case()
    assert raw.label is not None
    case = prepared(with_own(raw, raw.label, None))
    assert case.label is not None and case.annotations == ("dense", "none") and case.annotation == "dense"
    assert (case.label[1] == IGNORE).all()
    scribbled = raw_case(scribbled=True).label
    assert prepared(with_own(raw, raw.label, scribbled)).annotation == "sparse"
    absent = with_own(raw_case(absent=(1,)), raw.label, raw.label)
    assert prepared(absent).annotations == ("dense", "none")


def test_strokes_come_from_the_nearest_voxel_and_classes_never_mix() -> None:
    label = np.full((4, 4, 4), IGNORE, np.int16)
    label[1, 2, :] = 2
    here, there = Geometry((4, 4, 4), (1.0, 1.0, 1.0)), Geometry((4, 4, 5), (1.0, 1.0, 1.0), (0.4, -0.4, 0.0))
    found = brought_label(label, here, there)
    assert set(np.unique(found)) == {IGNORE, 2} and (found[1, 2, :3] == 2).all() and (found == 2).sum() <= 4
    thirds = np.repeat(np.array([0, 2, 1], np.int16), 2)[None, None].repeat(2, 0).repeat(2, 1)
    fine = Geometry((2, 2, 12), (1.0, 1.0, 0.5), (-0.25, 0.0, 0.0))
    assert (
        brought_label(thirds, Geometry((2, 2, 6), (1.0, 1.0, 1.0)), fine)[0, 0].tolist() == [0] * 4 + [2] * 4 + [1] * 4
    )


def test_the_store_keeps_all_masks_and_samples_any(tmp_path: Path) -> None:
    raw = raw_case()
    assert raw.label is not None
    first, second = np.where(raw.label == 1, 1, 0).astype(np.int16), np.where(raw.label == 2, 2, 0).astype(np.int16)
    store = fill_store(tmp_path, PLAN, [with_own(raw, first, second), with_own(raw_case("b"), None, first)])
    stored = store.open("a")
    _, label = stored.read()
    assert label is not None and label.shape == (2, *stored.shape)
    np.testing.assert_array_equal(label, np.stack([first, second]))
    assert stored.record.annotations == ("dense", "dense") and set(stored.foreground) == {1, 2}
    assert stored.record.class_voxels[1:] == ((first == 1).sum(), (second == 2).sum())
    z, y, x = stored.foreground[2].T
    assert (second[z, y, x] == 2).all()
    box = (slice(3, 9), slice(0, 5), slice(4, 8))
    part = store.open("b").read(box)[1]
    assert part is not None and (part[0] == IGNORE).all() and (part[1] == first[box]).all()
    assert not store.damaged(["a", "b"])


def test_a_plan_for_one_mask_refuses_several() -> None:
    raw = raw_case()
    with pytest.raises(DataError, match="the plan is for one mask"):
        prepared(with_own(raw, raw.label, raw.label), tiny_plan())
