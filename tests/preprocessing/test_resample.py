"""Images as skimage resamples them, labels without holes, logits back to labels in bounded memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.transform import resize
from torch.nn import functional as F

from autofuse.dataset.types import IGNORE
from autofuse.preprocessing.resample import axis_weights, resample_image, resample_labels, resample_nearest


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((40, 50, 30), (33, 70, 30)),
        ((130, 20, 100), (100, 31, 177)),
        ((1, 30, 30), (1, 20, 41)),
        ((5, 3, 2), (9, 7, 1)),
    ],
)
def test_image_equals_skimage_order_3(before: tuple[int, ...], after: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).normal(100, 30, before).astype(np.float32)
    expected = resize(image.astype(np.float64), after, order=3, mode="edge", anti_aliasing=False)
    got = resample_image(torch.from_numpy(image)[None], after)[0].numpy()
    assert np.abs(got - expected).max() <= 1e-5 * np.abs(expected).max()


def test_anisotropic_axis_is_copied_and_planes_are_cubic() -> None:
    image = np.random.default_rng(1).normal(size=(2, 5, 20, 24)).astype(np.float32)
    got = resample_image(torch.from_numpy(image), (9, 30, 17), anisotropic_axis=0).numpy()
    for channel in range(2):
        planes = [resize(plane, (30, 17), order=3, mode="edge", anti_aliasing=False) for plane in image[channel]]
        for row in range(9):
            source = int((row + 0.5) * 5 / 9)
            assert np.abs(got[channel, row] - planes[source]).max() < 1e-5


def test_values_stay_within_the_range_of_the_input() -> None:
    step = torch.zeros((1, 8, 8, 8))
    step[:, 4:] = 1.0
    out = resample_image(step, (13, 21, 8))
    assert out.min() == 0.0
    assert out.max() == 1.0


@given(size_in=st.integers(1, 40), size_out=st.integers(1, 40), order=st.sampled_from([0, 1, 3]))
@settings(max_examples=40, deadline=None)
def test_weights_reproduce_constants(size_in: int, size_out: int, order: int) -> None:
    assert np.allclose(axis_weights(size_in, size_out, order).sum(axis=1), 1.0, atol=1e-9)


def _three_classes() -> torch.Tensor:
    z, y, x = np.indices((24, 24, 24)) - 11.5
    angle = np.arctan2(y, x) + 0.05 * z
    return torch.from_numpy(((angle + np.pi) / (2 * np.pi) * 3).astype(np.int16).clip(0, 2) + 1)


@pytest.mark.parametrize("shape", [(36, 31, 40), (15, 17, 13), (24, 24, 30)])
def test_labels_are_the_argmax_of_linear_masks_and_leave_no_hole(shape: tuple[int, int, int]) -> None:
    label = _three_classes()
    got = resample_labels(label, shape)
    assert set(got.unique().tolist()) == {1, 2, 3}  # nnU-Net's rule leaves 0 where three classes meet
    masks = torch.stack([(label == value).float() for value in (1, 2, 3)])
    linear = F.interpolate(masks[None], size=shape, mode="trilinear", align_corners=False)[0]
    top = linear.topk(2, dim=0).values
    clear = top[0] - top[1] > 1e-5  # ties may fall either way
    assert bool((got[clear] == linear.argmax(dim=0)[clear] + 1).all())


def test_ignore_keeps_its_extent_and_is_not_mixed() -> None:
    label = torch.zeros((20, 20, 20), dtype=torch.int16)
    label[10:] = IGNORE
    label[2:8, 5:15, 5:15] = 2
    got = resample_labels(label, (40, 30, 30))
    assert set(got.unique().tolist()) == {IGNORE, 0, 2}
    assert bool((got[20:] == IGNORE).all())
    assert bool((got[:20] != IGNORE).all())


def test_strokes_one_voxel_wide_survive_where_linear_would_lose_them() -> None:
    label = torch.full((12, 40, 40), IGNORE, dtype=torch.int16)
    label[5, 3, 4:36] = 1
    label[7, 4:36, 9] = 2
    lost = resample_labels(label, (8, 25, 25))
    kept = resample_labels(label, (8, 25, 25), sparse=True)
    assert int((lost == 1).sum()) == 0
    assert int((kept == 1).sum()) >= 20
    assert int((kept == 2).sum()) >= 20
    assert int((kept >= 0).sum()) < 60
    larger = resample_labels(label, (24, 80, 80), sparse=True)
    assert int((larger >= 0).sum()) == 8 * int((label >= 0).sum())


def test_nearest_is_a_copy_of_the_voxel_under_the_centre() -> None:
    volume = torch.arange(5, dtype=torch.int16).reshape(5, 1, 1)
    assert resample_nearest(volume, (10, 1, 1)).flatten().tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
