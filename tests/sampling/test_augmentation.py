"""Labels follow images; intensities do what they say; the same draw gives the same sample."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform, gaussian_filter
from torch import Tensor

from autofuse.dataset.types import IGNORE
from autofuse.sampling.augmentation import augment, change_contrast_, change_gamma_
from autofuse.sampling.crops import Crop, Crops
from autofuse.sampling.draw import (
    NO_AUGMENTATION,
    AugmentationDraw,
    AugmentationRecipe,
    IntensityDraw,
    draw_augmentation,
)

PATCH = (16, 18, 20)
NOTHING = IntensityDraw()


def _crop(draw: AugmentationDraw, images: Tensor, label: Tensor, fill: int = 0) -> Crops:
    centre = tuple((size - 1) / 2 for size in label.shape)
    present = torch.ones(len(images), dtype=torch.bool)
    crop = Crop("a", images, present, label, fill, None, draw, centre)
    patch = tuple(label.shape) if draw.matrix is None else PATCH[-label.ndim :]
    return Crops((crop,), patch, (1.0,) * label.ndim, (False,) * len(images))


def _draw(
    matrix: np.ndarray | None = None, flips: tuple[bool, ...] = (False,) * 3, **parts: object
) -> AugmentationDraw:
    return AugmentationDraw(matrix, flips, (IntensityDraw(**parts), NOTHING))  # type: ignore[arg-type]


def _smooth(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    noise = np.random.default_rng(seed).normal(size=(2, *shape))
    return torch.from_numpy(gaussian_filter(noise, (0, *(2.0,) * len(shape))).astype(np.float32) * 5)


def test_nothing_drawn_changes_nothing() -> None:
    images, label = _smooth(PATCH), torch.randint(0, 3, PATCH, dtype=torch.int16)
    batch = augment(_crop(_draw(), images, label))
    assert torch.equal(batch.image[0], images)
    assert batch.target is not None
    assert torch.equal(batch.target[0], label.long())


@pytest.mark.parametrize("flips", [(True, False, False), (False, True, True), (True, True, True)])
@pytest.mark.parametrize("zoomed", [False, True])
def test_mirror(flips: tuple[bool, ...], zoomed: bool) -> None:
    images, label = _smooth((22, 22, 22)), torch.randint(0, 3, (22, 22, 22), dtype=torch.int16)
    matrix = np.eye(3) * 1.05 if zoomed else None
    axes = [axis - 3 for axis, flip in enumerate(flips) if flip]
    plain = augment(_crop(_draw(matrix), images, label))
    mirrored = augment(_crop(_draw(matrix, flips), images, label))
    assert plain.target is not None
    assert mirrored.target is not None
    assert torch.allclose(mirrored.image, plain.image.flip(axes), atol=1e-4)
    assert (mirrored.target != plain.target.flip(axes)).float().mean() < 1e-3


def _matrices() -> dict[str, np.ndarray]:
    recipe = AugmentationRecipe(rotation=1.0, scaling=1.0)
    present = np.array([True, True])
    made = {}
    for name, patch, spacing in (
        ("volume", PATCH, (1.0, 1.0, 1.0)),
        ("unequal spacing", PATCH, (2.0, 1.0, 0.7)),
    ):
        draw = draw_augmentation(recipe, np.random.default_rng(3), patch, spacing, (), present)
        assert draw.matrix is not None
        made[name] = draw.matrix
    return made


@pytest.mark.parametrize("name", ["volume", "unequal spacing"])
def test_rotation_and_zoom_equal_scipy(name: str) -> None:
    matrix = _matrices()[name]
    box = (30, 33, 36)
    images = _smooth(box)
    label = (images[0] > 0).to(torch.int16)
    batch = augment(_crop(_draw(matrix), images, label))
    centre_in, centre_out = (np.array(box) - 1) / 2, (np.array(PATCH) - 1) / 2
    options = {"offset": centre_in - matrix @ centre_out, "output_shape": PATCH, "mode": "constant"}
    for channel in range(2):
        expected = affine_transform(images[channel].numpy(), matrix, order=1, **options)
        inside = affine_transform(np.ones(box), matrix, order=1, **options) > 0.999
        assert np.abs(batch.image[0, channel].numpy() - expected)[inside].max() < 1e-3
    expected_label = affine_transform(label.numpy(), matrix, order=0, **options)
    assert batch.target is not None
    assert (batch.target[0].numpy() != expected_label).mean() < 2e-3


def test_a_quarter_turn_moves_label_and_image_together() -> None:
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    label = torch.zeros((4, 18, 18), dtype=torch.int16)
    label[1, 2:5, 3:9] = 2
    images = torch.stack([label.float(), label.float()])
    crops = replace(_crop(_draw(turn), images, label), patch=(4, 18, 18))
    batch = augment(crops)
    assert batch.target is not None
    assert torch.allclose(batch.image[0, 0], batch.target[0].float(), atol=1e-4)
    assert torch.equal(batch.target[0], torch.rot90(label, -1, (1, 2)).long())


def test_beyond_the_box_lies_the_fill() -> None:
    label = torch.ones((10, 10, 10), dtype=torch.int16)
    for fill in (0, IGNORE):
        batch = augment(_crop(_draw(np.eye(3) * 3), torch.ones((2, 10, 10, 10)), label, fill))
        assert batch.target is not None
        assert batch.target.unique().tolist() == sorted({fill, 1})
        assert batch.image.min() == 0


def test_the_enclosing_box_holds_everything_that_a_turned_patch_sees() -> None:
    recipe = AugmentationRecipe(rotation=1.0, scaling=1.0)
    corners = np.array([[z, y, x] for z in (-1, 1) for y in (-1, 1) for x in (-1, 1)]) * (np.array(PATCH) - 1) / 2
    for seed in range(50):
        draw = draw_augmentation(
            recipe, np.random.default_rng(seed), PATCH, (1.5, 1.0, 0.8), (0, 1, 2), np.array([True])
        )
        assert draw.matrix is not None
        assert np.allclose(np.abs(corners @ draw.matrix.T).max(axis=0), draw.reach(PATCH))


def test_thick_slices_are_turned_in_their_plane_only() -> None:
    recipe = AugmentationRecipe(rotation=1.0)
    generator = np.random.default_rng(0)
    flat = draw_augmentation(recipe, generator, (8, 32, 32), (5.0, 1.0, 1.0), (), np.array([True]))
    cube = draw_augmentation(recipe, generator, (16, 32, 32), (1.0, 1.0, 1.0), (), np.array([True]))
    assert flat.matrix is not None
    assert cube.matrix is not None
    assert flat.matrix.shape == (2, 2)
    assert cube.matrix.shape == (3, 3)
    assert flat.reach((8, 32, 32))[0] == 3.5


def test_rotation_keeps_lengths_in_mm() -> None:
    recipe = AugmentationRecipe(rotation=1.0, scaling=0.0)
    spacing = np.array([3.0, 1.0, 0.5])
    draw = draw_augmentation(recipe, np.random.default_rng(1), (32, 32, 32), tuple(spacing), (), np.array([True]))
    assert draw.matrix is not None
    step = np.array([1.0, -2.0, 4.0])
    assert np.isclose(np.linalg.norm(spacing * (draw.matrix @ step)), np.linalg.norm(spacing * step))


def test_contrast_keeps_mean_and_range() -> None:
    volume = _smooth(PATCH)[0] + 3
    before = volume.clone()
    change_contrast_(volume, 0.8)
    assert torch.isclose(volume.mean(), before.mean(), atol=1e-4)
    assert torch.isclose(volume.std(), 0.8 * before.std(), rtol=1e-3)
    change_contrast_(volume, 3.0)
    assert volume.max() <= before.max()


@pytest.mark.parametrize("gamma", [0.7, 1.4])
def test_gamma_keeps_mean_and_spread_and_order(gamma: float) -> None:
    volume = _smooth(PATCH)[0]
    before = volume.clone()
    change_gamma_(volume, gamma)
    assert torch.isclose(volume.mean(), before.mean(), atol=1e-4)
    assert torch.isclose(volume.std(), before.std(), rtol=1e-4)
    assert torch.equal(volume.flatten().argsort()[:50], before.flatten().argsort()[:50])
    assert not torch.allclose(volume, before, atol=1e-2)
    constant = torch.full((4, 4, 4), 2.5)
    change_gamma_(constant, gamma)
    assert torch.allclose(constant, torch.full((4, 4, 4), 2.5))


def test_blur_equals_scipy_inside() -> None:
    images, label = _smooth((24, 24, 24)), torch.zeros((24, 24, 24), dtype=torch.int16)
    batch = augment(_crop(_draw(blur_sigma=(0.6, 0.8, 1.0)), images, label))
    expected = gaussian_filter(images[0].numpy(), (0.6, 0.8, 1.0), truncate=8)
    assert np.abs(batch.image[0, 0].numpy() - expected)[6:-6, 6:-6, 6:-6].max() < 1e-4
    assert torch.equal(batch.image[0, 1], images[1])  # the other modality was not drawn


def test_low_resolution_holds_fewer_values_and_keeps_planes_apart() -> None:
    images, label = _smooth((16, 16, 16)), torch.zeros((16, 16, 16), dtype=torch.int16)
    crops = _crop(_draw(zoom=0.5), images, label)
    out = augment(crops).image[0, 0]
    rank = torch.linalg.matrix_rank(out.reshape(16, -1), tol=1e-3)
    assert int(rank) <= 8
    planar = replace(crops.samples[0], draw=replace(crops.samples[0].draw, planar=True))
    flat = augment(replace(crops, samples=(planar,))).image[0, 0]
    alone = images[0, 5:6].clone()
    single = replace(planar, images=torch.stack([alone, alone]), label=label[:1], centre=(0.0, 7.5, 7.5))
    assert torch.allclose(
        augment(replace(crops, samples=(single,), patch=(1, 16, 16))).image[0, 0, 0], flat[5], atol=1e-5
    )


def test_noise_has_the_drawn_spread_and_seed() -> None:
    images, label = torch.zeros((2, 32, 32, 32)), torch.zeros((32, 32, 32), dtype=torch.int16)
    draws = [replace(_draw(noise_std=0.08), noise_seed=seed) for seed in (1, 1, 2)]
    one, same, other = (augment(_crop(draw, images, label)).image[0, 0] for draw in draws)
    assert abs(float(one.std()) - 0.08) < 2e-3
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_jitter_shifts_one_modality_against_the_other() -> None:
    images, label = _smooth((16, 16, 16)), torch.zeros((16, 16, 16), dtype=torch.int16)
    batch = augment(_crop(_draw(shift_voxels=(2.0, 0.0, -1.0)), images, label))
    assert torch.allclose(batch.image[0, 0, :14, :, 1:], images[0, 2:, :, :15], atol=1e-5)
    assert torch.equal(batch.image[0, 1], images[1])


def test_outside_of_the_body_and_absent_modalities_stay_zero() -> None:
    recipe = AugmentationRecipe(noise=1, blur=1, blur_share=1, brightness=1, gamma=1, gamma_inverted=1, contrast=1)
    present = np.array([True, False])
    draw = draw_augmentation(recipe, np.random.default_rng(0), (16, 16, 16), (1.0,) * 3, (), present)
    images = _smooth((16, 16, 16))
    images[1] = 0
    images[:, :5] = 0
    straight = replace(draw, matrix=None)
    crops = _crop(straight, images, torch.zeros((16, 16, 16), dtype=torch.int16))
    out = augment(replace(crops, keep_zero=(True, True))).image[0]
    assert bool((out[1] == 0).all())
    assert bool((out[0, :5] == 0).all())
    assert not torch.allclose(out[0, 5:], images[0, 5:], atol=0.05)
    free = augment(crops).image[0]
    assert not bool((free[0, :5] == 0).all())


def test_probabilities_are_what_the_recipe_says() -> None:
    recipe, count = AugmentationRecipe(), 3000
    present = np.array([True, True])
    draws = [
        draw_augmentation(recipe, np.random.default_rng([1, number]), PATCH, (1.0,) * 3, (0, 2), present)
        for number in range(count)
    ]
    rates = {
        "spatial": (np.mean([draw.matrix is not None for draw in draws]), 1 - 0.8 * 0.8),
        "flip": (np.mean([draw.flips[0] for draw in draws]), 0.5),
        "never": (np.mean([draw.flips[1] for draw in draws]), 0.0),
        "noise": (np.mean([draw.intensities[0].noise_std is not None for draw in draws]), 0.1),
        "blur": (np.mean([draw.intensities[0].blur_sigma is not None for draw in draws]), 0.1),
        "zoom": (np.mean([draw.intensities[1].zoom is not None for draw in draws]), 0.125),
        "gamma": (np.mean([draw.intensities[1].gamma is not None for draw in draws]), 0.3),
        "inverted": (np.mean([draw.intensities[0].gamma_inverted is not None for draw in draws]), 0.1),
        "shift": (np.mean([draw.intensities[0].shift_voxels is not None for draw in draws]), 0.0),
    }
    for name, (rate, expected) in rates.items():
        assert abs(rate - expected) < 0.03, name


def test_nothing_drawn_costs_next_to_nothing() -> None:
    images, label = torch.randn((2, 64, 64, 64)), torch.zeros((64, 64, 64), dtype=torch.int16)
    idle = _crop(_draw(), images, label)
    busy = replace(idle, samples=(replace(idle.samples[0], draw=_draw(np.eye(3) * 1.1)),))

    def fastest(crops: Crops) -> float:
        times = []
        for _ in range(5):
            started = time.perf_counter()
            augment(crops)
            times.append(time.perf_counter() - started)
        return min(times)

    assert fastest(idle) < fastest(busy) / 4


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_gives_the_same_batch() -> None:
    recipe = replace(NO_AUGMENTATION, rotation=1.0, noise=1.0, blur=1.0, blur_share=1.0, gamma=1.0, low_resolution=1.0)
    draw = draw_augmentation(recipe, np.random.default_rng(0), PATCH, (1.0,) * 3, (0,), np.array([True, True]))
    crops = replace(_crop(draw, _smooth((30, 30, 30)), torch.ones((30, 30, 30), dtype=torch.int16)), patch=PATCH)
    here, there = augment(crops), augment(crops, "cuda")
    assert torch.allclose(here.image, there.image.cpu(), atol=1e-3)
