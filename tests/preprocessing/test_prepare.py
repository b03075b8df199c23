"""One case: intensities, placement, the way there and back."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from prepared_cases import raw_case, tiny_plan

from autofuse.dataset.types import IGNORE
from autofuse.foundation.errors import DataError
from autofuse.images.geometry import Geometry
from autofuse.plan.types import NormalisationPlan
from autofuse.preprocessing.normalise import inside_mask, normalise
from autofuse.preprocessing.placement import Placement, place
from autofuse.preprocessing.prepare import prepare_case
from autofuse.preprocessing.resample import resample_labels


def _image() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(500, 40, (12, 13, 14)).astype(np.float32))


def test_zscore_has_mean_0_and_spread_1() -> None:
    out = normalise(_image(), NormalisationPlan(scheme="zscore"))
    assert abs(float(out.mean())) < 1e-5
    assert abs(float(out.std()) - 1) < 1e-3


def test_zscore_nonzero_sees_the_inside_only_and_leaves_zero_outside() -> None:
    image = _image()
    image[:4] = 0
    image[8, 5, 5] = 0  # an enclosed hole belongs to the inside
    mask = inside_mask([image.numpy()])
    assert not mask[:4].any()
    assert mask[4:].all()
    inside = torch.from_numpy(mask).float()
    out = normalise(image.clone(), NormalisationPlan(scheme="zscore_nonzero"), inside)
    assert bool((out[:4] == 0).all())
    assert abs(float(out[4:].mean())) < 1e-5
    assert float(out[8, 5, 5]) < -5


def test_ct_clips_and_uses_the_data_sets_statistics() -> None:
    plan = NormalisationPlan(scheme="ct", mean=500, std=20, lower=460, upper=540)
    out = normalise(_image(), plan)
    assert (float(out.min()), float(out.max())) == (-2.0, 2.0)
    assert torch.allclose(out, (_image().clamp(460, 540) - 500) / 20)


def test_other_schemes() -> None:
    assert torch.equal(normalise(_image(), NormalisationPlan(scheme="none")), _image())
    out = normalise(_image(), NormalisationPlan(scheme="rescale_0_1"))
    assert (float(out.min()), float(out.max())) == (0.0, 1.0)


@pytest.mark.parametrize("scheme", ["zscore", "zscore_nonzero", "rescale_0_1"])
def test_constant_image_becomes_zero_not_noise(scheme: str) -> None:
    image = torch.full((5, 6, 7), 0.1)
    out = normalise(image, NormalisationPlan(scheme=scheme), torch.ones_like(image))
    assert bool((out == 0).all())


@pytest.mark.parametrize("transpose", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_placement_there_and_back(transpose: tuple[int, int, int]) -> None:
    geometry = Geometry((10, 11, 12), (3.0, 1.0, 0.5), (1.0, 2.0, 3.0))
    crop = (slice(2, 9), slice(0, 11), slice(5, 10))
    placement = place(geometry, crop, transpose, (2.0, 1.0, 1.0))
    array = np.random.default_rng(0).integers(0, 9, (2, 10, 11, 12))
    there = placement.forward(array)
    assert there.shape[1:] == placement.cropped_shape
    back = placement.inverse(there, fill=-7)
    inside = np.zeros((10, 11, 12), dtype=bool)
    inside[crop] = True
    assert np.array_equal(back[:, inside], array[:, inside])
    assert bool((back[:, ~inside] == -7).all())
    assert placement.geometry == geometry
    assert Placement.model_validate_json(placement.model_dump_json()) == placement


def test_prepared_grid_keeps_the_extent_in_mm() -> None:
    geometry = Geometry((10, 11, 12), (3.0, 1.0, 0.5))
    placement = place(geometry, (slice(0, 10), slice(0, 11), slice(0, 12)), (1, 0, 2), (0.7, 2.0, 1.0))
    assert placement.prepared_shape == (round(11 / 0.7), 15, 6)
    extent = [size * mm for size, mm in zip(placement.prepared_shape, placement.prepared_spacing_mm, strict=True)]
    assert np.allclose(extent, [11.0, 30.0, 6.0])


@pytest.mark.parametrize("anisotropic_axis", [None, 0])
def test_a_mask_finds_its_way_home(anisotropic_axis: int | None) -> None:
    plan = tiny_plan(spacing=(2.5, 0.8, 0.9), transpose=(1, 2, 0), anisotropic_axis=anisotropic_axis)
    raw = raw_case(shape=(40, 24, 44), spacing=(0.8, 2.0, 0.8), border=3)
    prepared = prepare_case(raw, plan, plan.configurations[0])
    placement = prepared.placement
    assert prepared.label is not None
    assert prepared.images.shape == (2, *placement.prepared_shape)
    prepared_label = torch.from_numpy(prepared.label)
    native = resample_labels(prepared_label, placement.cropped_shape, anisotropic_axis=anisotropic_axis)
    mask = placement.inverse(native.numpy())
    assert mask.shape == raw.geometry.shape
    for value in (1, 2):
        truth, found = raw.label == value, mask == value
        dice = 2 * (truth & found).sum() / (truth.sum() + found.sum())
        assert dice > 0.85
        gap = np.abs(np.argwhere(truth).mean(axis=0) - np.argwhere(found).mean(axis=0)).max()
        assert gap < (0.5 if anisotropic_axis is None else 1.0)  # copied slices lie up to half a slice off


def test_absent_modality_is_zero_and_marked() -> None:
    plan = tiny_plan()
    prepared = prepare_case(raw_case(absent=(1,)), plan, plan.configurations[0])
    assert prepared.present.tolist() == [True, False]
    assert bool((prepared.images[1] == 0).all())
    assert prepared.images[0].std() > 0.5


def test_nothing_is_done_to_the_raw_voxels() -> None:
    plan = tiny_plan(schemes=("zscore_nonzero", "zscore"))
    raw = raw_case(border=4)
    before = [image.voxels.copy() for image in raw.images if image is not None]
    prepared = prepare_case(raw, plan, plan.configurations[0])
    assert all(
        np.array_equal(image.voxels, old) for image, old in zip(raw.images, before, strict=True) if image is not None
    )
    assert prepared.placement.crop == ((4, 26), (4, 30), (4, 34))


def test_outside_is_exactly_zero_after_resampling() -> None:
    plan = tiny_plan(spacing=(0.7, 0.7, 0.7), schemes=("zscore_nonzero", "zscore_nonzero"))
    raw = raw_case()
    z, y, x = np.indices(raw.geometry.shape)
    ball = (z - 15) ** 2 + (y - 17) ** 2 + (x - 19) ** 2 < 13**2
    for image in raw.images:
        assert image is not None
        image.voxels[~ball] = 0
    prepared = prepare_case(raw, plan, plan.configurations[0])
    corner = prepared.images[:, :5, :5, :5]
    assert bool((corner == 0).all())
    assert (prepared.images[0] == 0).mean() > 0.3


def test_two_dimensions_keep_every_slice() -> None:
    plan = tiny_plan(spacing=(2.0, 2.0, 2.0), patch=(16, 16))
    prepared = prepare_case(raw_case(), plan, plan.configurations[0])
    assert prepared.images.shape == (2, 30, 17, 19)


def test_scribbles_survive_preparation() -> None:
    plan = tiny_plan(spacing=(1.4, 1.4, 1.4))
    raw = raw_case(scribbled=True)
    prepared = prepare_case(raw, plan, plan.configurations[0])
    assert prepared.annotation == "sparse"
    assert prepared.label is not None
    assert set(np.unique(prepared.label)) == {IGNORE, 0, 1, 2}
    labelled = np.argwhere(raw.label != IGNORE)
    cells = np.floor((labelled + 0.5) * np.array(prepared.label.shape) / raw.label.shape).astype(int)
    assert bool((prepared.label[tuple(cells.T)] != IGNORE).all())  # every stroke left its trace
    smeared = resample_labels(torch.from_numpy(raw.label), prepared.label.shape)
    assert (prepared.label != IGNORE).sum() > 1.5 * int((smeared != IGNORE).sum())


def test_wrong_number_of_modalities_is_named() -> None:
    plan = tiny_plan(schemes=("zscore",))
    with pytest.raises(DataError, match="modalities that the plan was made for"):
        prepare_case(raw_case("odd"), plan, plan.configurations[0])
    empty = dataclasses.replace(raw_case("odd"), images=(None, None))
    with pytest.raises(DataError, match="absent") as caught:
        prepare_case(empty, tiny_plan(), plan.configurations[0])
    assert caught.value.case == "odd"
