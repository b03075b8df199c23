"""Trivial fusions: what they make of tiny images, and that a pyramid loses nothing."""

from __future__ import annotations

import numpy as np
import pytest

from autofuse.evaluation.fusion.ceiling import background_share, doubts, entropy_ceiling
from autofuse.evaluation.fusion.scores import score_fused
from autofuse.evaluation.fusion.statistics import entropy
from autofuse.evaluation.fusion.trivial import (
    decompose,
    laplacian_pyramid,
    levels_for,
    maximum,
    mean,
    recompose,
    trivial_fusions,
)
from autofuse.foundation.errors import DataError


def noise(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(seed).random(shape)


@pytest.mark.parametrize(
    ("shape", "axes", "levels"),
    [((32, 40), (0, 1), 2), ((33, 41), (0, 1), 3), ((5, 17, 18), (1, 2), 2), ((17, 18, 19), (0, 1, 2), 1)],
)
def test_a_pyramid_gives_its_image_back(shape: tuple[int, ...], axes: tuple[int, ...], levels: int) -> None:
    image = noise(0, shape)
    stack = decompose(image, axes, levels)
    assert len(stack) == levels + 1 and stack[0].shape == shape
    assert stack[1].shape == tuple(-(-size // 2) if axis in axes else size for axis, size in enumerate(shape))
    np.testing.assert_allclose(recompose(stack, axes), image, atol=1e-12)
    np.testing.assert_allclose(laplacian_pyramid([image], axes, levels), image, atol=1e-12)
    np.testing.assert_allclose(laplacian_pyramid([image, image], axes, levels), image, atol=1e-12)


@pytest.mark.parametrize("shape", [(16, 24), (17, 25), (2, 9)])
def test_a_constant_image_has_no_detail(shape: tuple[int, ...]) -> None:
    *details, base = decompose(np.full(shape, 0.3), (0, 1), 1)
    assert np.abs(details[0]).max() < 1e-12
    np.testing.assert_allclose(base, 0.3)


def test_a_pyramid_keeps_the_details_of_both_sources() -> None:
    one, other = np.full((32, 32), 0.5), np.full((32, 32), 0.5)
    one[8, 8], other[20, 20] = 0.9, 0.1
    fused = laplacian_pyramid([one, other])
    assert fused[8, 8] > 0.8 and fused[20, 20] < 0.2
    assert abs(fused[8, 20] - 0.5) < 0.01


def test_the_order_of_sources_does_not_matter() -> None:
    images = [noise(seed, (20, 32, 32)) for seed in range(3)]
    for fusion in (maximum, mean, laplacian_pyramid):
        np.testing.assert_allclose(fusion(images), fusion(images[::-1]), atol=1e-12)
    # Details of equal size and opposite sign.
    np.testing.assert_allclose(
        laplacian_pyramid([images[0], 1 - images[0]]), laplacian_pyramid([1 - images[0], images[0]]), atol=1e-12
    )


def test_maximum_and_mean_by_hand() -> None:
    one, other = np.array([[0.0, 0.4], [0.6, 1.0]]), np.array([[0.2, 0.2], [0.8, 0.0]])
    np.testing.assert_allclose(maximum([one, other]), [[0.2, 0.4], [0.8, 1.0]])
    np.testing.assert_allclose(mean([one, other]), [[0.1, 0.3], [0.7, 0.5]])


def test_levels_leave_a_base() -> None:
    assert [levels_for(sides) for sides in ([8, 300], [16, 16], [31, 40], [32, 40], [512, 512], [1, 9])] == [
        0,
        1,
        1,
        2,
        4,
        0,
    ]


def test_rows_are_named_and_slices_do_not_mix() -> None:
    sources = {"T1": noise(1, (4, 32, 32)), "T2": noise(2, (4, 32, 32))}
    rows = trivial_fusions(sources)
    assert list(rows) == ["maximum", "mean", "laplacian pyramid", "copy of T1", "copy of T2"]
    assert rows["copy of T1"] is sources["T1"]
    one_slice = trivial_fusions({name: image[1] for name, image in sources.items()})
    for name, image in rows.items():
        np.testing.assert_allclose(image[1], one_slice[name], atol=1e-12)
        assert image.min() >= 0 and image.max() <= 1
    turned = trivial_fusions({name: np.moveaxis(image, 0, 2) for name, image in sources.items()}, slice_axis=2)
    np.testing.assert_allclose(turned["laplacian pyramid"], np.moveaxis(rows["laplacian pyramid"], 0, 2), atol=1e-12)


def test_sources_of_other_shapes_are_refused() -> None:
    with pytest.raises(DataError, match="one shape"):
        laplacian_pyramid([noise(0, (8, 8)), noise(0, (8, 9))])
    with pytest.raises(DataError, match="without a source"):
        trivial_fusions({})


# --- the ceiling of entropy ---


def test_the_ceiling_by_hand() -> None:
    assert entropy_ceiling(1.0) == 0
    assert entropy_ceiling(0.5, levels=2) == 1
    assert entropy_ceiling(0.5, levels=5) == pytest.approx(1 + 0.5 * 2)
    assert entropy_ceiling(1 / 256) == entropy_ceiling(0.0) == 8
    shares = np.linspace(0.01, 0.99, 50)
    assert (np.diff([entropy_ceiling(share) for share in shares]) < 0).all()


def test_the_ceiling_is_reached_and_never_passed() -> None:
    half = np.concatenate([np.zeros(255), np.arange(1, 256)]).reshape(2, -1) / 255
    assert background_share(half) == 0.5
    assert entropy(half) == pytest.approx(entropy_ceiling(0.5))
    for seed in range(5):
        image = noise(seed, (40, 40)) ** 3
        image[: 10 * seed] = 0
        assert entropy(image) <= entropy_ceiling(background_share(image)) + 1e-12


def test_doubtful_entropies_are_named() -> None:
    assert doubts(4.9, 0.5, 0.5) is None
    quoted = doubts(7.1, 0.6, 0.6)
    assert quoted is not None and "not computed from this image" in quoted and "60.0%" in quoted
    made_up = doubts(7.1, 0.01, 0.6)
    assert made_up is not None and "texture where no source shows anything" in made_up


def test_texture_in_the_background_is_flagged() -> None:
    source = np.zeros((48, 48))
    source[:, 36:] = noise(3, (48, 12))
    busy = np.where(source > 0, source, noise(4, (48, 48)))
    shared = float((source == 0).mean())
    assert score_fused(source, {"a": source}, shared_background=shared).doubt is None
    doubt = score_fused(busy, {"a": source}, shared_background=shared).doubt
    assert doubt is not None and "texture" in doubt
