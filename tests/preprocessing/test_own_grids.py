"""A modality on a grid of its own is prepared like the same image resampled by hand; outside its view it is absent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from own_grids import NARROW, second_elsewhere, smooth_case
from prepared_cases import fill_store, raw_case, tiny_plan

from autofuse.alignment.types import Rigid
from autofuse.images.geometry import Geometry
from autofuse.plan.types import RegistrationPlan
from autofuse.preprocessing.placement import place
from autofuse.preprocessing.prepare import prepare_case

SHAPE = (32, 36, 40)


@pytest.mark.parametrize("transpose", [(0, 1, 2), (2, 0, 1)])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.4, 0.8, 1.1)])
def test_it_is_prepared_as_the_original_where_it_sees_and_absent_elsewhere(
    transpose: tuple[int, int, int], spacing: tuple[float, float, float]
) -> None:
    plan = tiny_plan(spacing=spacing, transpose=transpose, schemes=("none", "none"))
    raw = smooth_case(raw_case(shape=SHAPE))
    original = prepare_case(raw, plan, plan.configurations[0])
    prepared = prepare_case(second_elsewhere(raw), plan, plan.configurations[0])
    assert prepared.placement == original.placement and prepared.present.all() and prepared.partial_view
    np.testing.assert_array_equal(prepared.images[0], original.images[0])  # the reference keeps its path and bytes
    assert prepared.label is not None and np.array_equal(prepared.label, original.label)
    covered = ~np.isnan(prepared.images[1])
    along = np.moveaxis(covered, transpose.index(0), 0)
    centres = (np.arange(len(along)) + 0.5) * SHAPE[0] / len(along)
    np.testing.assert_array_equal(along.all(axis=(1, 2)), (centres > NARROW[0]) & (centres < NARROW[1]))
    assert not along[~along.all(axis=(1, 2))].any()
    inner = covered & np.roll(covered, 3, transpose.index(0)) & np.roll(covered, -3, transpose.index(0))
    error = np.abs(prepared.images[1] - original.images[1])[inner]
    assert error.mean() < 0.02 * np.ptp(original.images[1]) and error.max() < 0.1 * np.ptp(original.images[1])


def test_its_intensities_are_normalised_over_its_own_field_of_view() -> None:
    plan = tiny_plan(schemes=("zscore", "zscore"))
    prepared = prepare_case(second_elsewhere(smooth_case(raw_case(shape=SHAPE))), plan, plan.configurations[0])
    seen = prepared.images[1][~np.isnan(prepared.images[1])]
    assert abs(float(seen.mean())) < 0.1 and 0.8 < float(seen.std()) < 1.1


def test_outside_the_body_it_is_exactly_zero() -> None:
    plan = tiny_plan(schemes=("zscore_nonzero", "zscore_nonzero"))
    raw = raw_case(shape=SHAPE)
    z, y, x = np.indices(SHAPE)
    ball = (z - 16) ** 2 + (y - 18) ** 2 + (x - 20) ** 2 < 14**2
    for image in raw.images:
        assert image is not None
        image.voxels[~ball] = 0
    prepared = prepare_case(second_elsewhere(raw), plan, plan.configurations[0])
    (low, _), (first, _), (left, _) = prepared.placement.crop
    far = (z - 16) ** 2 + (y - 18) ** 2 + (x - 20) ** 2 > 20**2
    far = far[low:, first:, left:][tuple(slice(size) for size in prepared.images.shape[1:])]
    seen = ~np.isnan(prepared.images[1])
    assert (far & seen).sum() > 100 and bool((prepared.images[1][far & seen] == 0).all())


def test_the_crop_holds_what_any_modality_shows() -> None:
    plan = tiny_plan()
    raw = raw_case(shape=SHAPE, border=10)
    wide = raw_case(shape=SHAPE, border=4)
    mixed = second_elsewhere(replace(wide, images=(raw.images[0], wide.images[1])))
    crop = prepare_case(mixed, plan, plan.configurations[0]).placement.crop
    assert crop == ((4, 28), (4, 32), (4, 36))


def test_a_modality_that_sees_nothing_of_the_crop_is_absent() -> None:
    plan = tiny_plan()
    raw = raw_case(shape=SHAPE)
    image = raw.images[0]
    assert image is not None
    image.voxels[NARROW[0] - 1 :] = 0
    second = second_elsewhere(raw).images[1]
    assert second is not None
    blank = replace(second, voxels=np.zeros_like(second.voxels))
    prepared = prepare_case(replace(raw, images=(image, blank)), plan, plan.configurations[0])
    assert prepared.present.tolist() == [True, False] and not prepared.partial_view
    assert not prepared.images[1].any()


def test_the_prepared_geometry_is_where_the_voxels_lie() -> None:
    geometry = Geometry((10, 11, 12), (3.0, 1.0, 0.5), (1.0, 2.0, 3.0))
    placement = place(geometry, (slice(2, 9), slice(0, 11), slice(5, 10)), (2, 0, 1), (0.25, 2.0, 1.0))
    prepared = placement.prepared_geometry
    # The outer corners of the cropped part and of the prepared grid are the same places.
    low, high = np.array([2, 0, 5]) - 0.5, np.array([9, 11, 10]) - 0.5
    ends = [np.array([-0.5] * 3), np.array(placement.prepared_shape) - 0.5]
    for raw_corner, corner in zip((low, high), ends, strict=True):
        np.testing.assert_allclose(
            prepared.affine() @ [*corner, 1.0], geometry.affine() @ [*raw_corner, 1.0], atol=1e-9
        )


def test_registered_images_are_moved_and_the_transform_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from autofuse.preprocessing import elsewhere

    plan = tiny_plan(schemes=("none", "none")).model_copy(update={"registration": RegistrationPlan()})
    raw = smooth_case(raw_case(shape=SHAPE))
    rigid = Rigid(shift_mm=(0.0, 2.0, 3.0))  # x, y, z
    monkeypatch.setattr(elsewhere, "_rigid", lambda *_: rigid)
    store = fill_store(tmp_path, plan, [raw])
    record = store.open("a").record
    assert record.rigids == (None, rigid) and record.partial_view
    images, _ = store.open("a").read()
    original = raw.images[1]
    assert original is not None
    np.testing.assert_allclose(images[1, :29, :34], original.voxels[3:, 2:], rtol=2e-3)
    assert np.isnan(images[1, 29:]).all() and np.isnan(images[1, :, 34:]).all()
    monkeypatch.setattr(elsewhere, "_rigid", lambda *_: None)  # it failed: everything stays as it lies
    assert fill_store(tmp_path / "failed", plan, [raw]).open("a").record.rigids == (None, None)


def test_the_store_keeps_where_nothing_is_seen(tmp_path: Path) -> None:
    plan = tiny_plan()
    raw = second_elsewhere(smooth_case(raw_case(shape=SHAPE)))
    case = fill_store(tmp_path, plan, [raw]).open("a")
    prepared = prepare_case(raw, plan, plan.configurations[0])
    assert case.record.partial_view and case.present.all()
    images, _ = case.read()
    np.testing.assert_array_equal(np.isnan(images), np.isnan(prepared.images))
    np.testing.assert_allclose(images, prepared.images, atol=2e-3)
