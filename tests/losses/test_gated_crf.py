"""The gated CRF: equal to its definition pair by pair, lowest where alike voxels agree, bounded in memory and time."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
import time

import pytest
import torch
from torch import Tensor

from autofuse.losses.gated_crf import Neighbourhood, gated_crf, half_offsets

NEAR = Neighbourhood(radius_mm=2.0, sigma_mm=1.5, sigma_intensity=0.7)


def defined(p: Tensor, image: Tensor, spacing_mm: tuple[float, ...], near: Neighbourhood, seen: Tensor) -> Tensor:
    """Σ_ij k_ij (1 - p_i · p_j) over all ordered pairs, by its definition; ``seen`` is (B, M, *S)."""
    size = p.shape[3:]
    reaches = [range(-length, length + 1) for length in size]
    offsets = {
        offset: math.dist([a * b for a, b in zip(offset, spacing_mm, strict=True)], [0] * len(size))
        for offset in itertools.product(*reaches)
    }
    offsets = {offset: far for offset, far in offsets.items() if 0 < far <= near.radius_mm}
    total, whole = torch.zeros((), dtype=p.dtype), 0.0
    for far in offsets.values():
        whole += math.exp(-(far**2) / (2 * near.sigma_mm**2))
    for sample in range(p.shape[0]):
        for i in itertools.product(*map(range, size)):
            for offset, far in offsets.items():
                j = tuple(a + b for a, b in zip(i, offset, strict=True))
                if not all(0 <= a < b for a, b in zip(j, size, strict=True)):
                    continue
                both = [m for m in range(image.shape[1]) if seen[(sample, m, *i)] and seen[(sample, m, *j)]]
                if not both:
                    continue
                apart = sum(float(image[(sample, m, *i)] - image[(sample, m, *j)]) ** 2 for m in both)
                kernel = math.exp(-(far**2) / (2 * near.sigma_mm**2) - apart / (2 * near.sigma_intensity**2))
                here, there = p[(sample, slice(None), slice(None), *i)], p[(sample, slice(None), slice(None), *j)]
                total = total + kernel * (1 - (here * there).sum(1)).mean()
    return total / (p.shape[0] * math.prod(size) * whole)


def example(size: tuple[int, ...], questions: int = 1, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Probabilities of three answers and two modalities, two samples, float64."""
    torch.manual_seed(seed)
    p = torch.randn(2, questions, 3, *size, dtype=torch.float64).softmax(2).requires_grad_()
    return p, torch.randn(2, 2, *size, dtype=torch.float64)


@pytest.mark.parametrize("questions", [1, 2])
@pytest.mark.parametrize(
    ("size", "spacing_mm"), [((4, 5), (1.0, 1.3)), ((3, 4, 5), (1.0, 1.0, 1.0)), ((3, 4, 4), (3.0, 0.8, 1.1))]
)
@pytest.mark.parametrize("view", ["whole", "without a modality", "partial"])
def test_it_is_what_its_definition_says(
    size: tuple[int, ...], spacing_mm: tuple[float, ...], questions: int, view: str
) -> None:
    p, image = example(size, questions)
    seen = torch.ones_like(image, dtype=torch.bool)
    given = None
    if view == "without a modality":
        given = torch.tensor([[True, False], [False, False]]).view(2, 2, *(1,) * len(size))
        seen = given.expand(image.shape)
    elif view == "partial":
        given = seen = torch.rand(image.shape) < 0.7
    value, truth = gated_crf(p, image, spacing_mm, NEAR, seen=given), defined(p, image, spacing_mm, NEAR, seen)
    torch.testing.assert_close(value, truth)
    torch.testing.assert_close(torch.autograd.grad(value, p)[0], torch.autograd.grad(truth, p)[0])


def test_alike_voxels_that_agree_cost_nothing_and_descent_leads_there() -> None:
    p, image = example((6, 6))
    sure = torch.zeros_like(p)
    sure[:, :, 1] = 1.0
    assert gated_crf(sure, image, (1.0, 1.0), NEAR).item() == pytest.approx(0.0, abs=1e-9)
    logits = torch.randn(1, 1, 2, 6, 6).requires_grad_()
    two_halves = torch.cat([torch.zeros(1, 1, 6, 3), 5 * torch.ones(1, 1, 6, 3)], dim=3)
    optimiser = torch.optim.SGD([logits], lr=20.0)
    losses = []
    for _ in range(200):
        optimiser.zero_grad()
        loss = gated_crf(logits.softmax(2), two_halves, (1.0, 1.0), NEAR)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.05 * losses[0]
    called = logits.argmax(2)[0, 0]
    assert len(called[:, :3].unique()) == 1 and len(called[:, 3:].unique()) == 1


def test_an_edge_keeps_two_classes_apart_and_a_flat_image_does_not() -> None:
    p = torch.zeros(1, 1, 2, 4, 8)
    p[:, :, 0, :, :4], p[:, :, 1, :, 4:] = 1.0, 1.0
    flat, edge = torch.zeros(1, 1, 4, 8), torch.zeros(1, 1, 4, 8)
    edge[..., 4:] = 10.0
    assert gated_crf(p, edge, (1.0, 1.0), NEAR).item() == pytest.approx(0.0, abs=1e-6)
    assert gated_crf(p, flat, (1.0, 1.0), NEAR).item() > 0.05


def test_the_value_does_not_grow_with_radius_or_axes() -> None:
    """Far from the border the mean over neighbours of 1 - p·p is what it is: one half for coin tosses."""
    for size, radius in (((40, 40), 2.0), ((40, 40), 5.0), ((16, 16, 16), 3.0)):
        tosses = torch.full((1, 1, 2, *size), 0.5)
        near = Neighbourhood(radius_mm=radius)
        value = gated_crf(tosses, torch.zeros(1, 1, *size), (1.0,) * len(size), near).item()
        assert 0.35 < value <= 0.5


def test_neighbours_are_counted_in_mm() -> None:
    assert {offset for offset, _ in half_offsets((4.0, 1.0), NEAR)} == {(0, 1), (0, 2)}
    # However coarse the grid, the nearest voxels along the finest axis are neighbours: the loss is never empty.
    assert {offset for offset, _ in half_offsets((9.0, 8.0, 8.0), NEAR)} == {(0, 0, 1), (0, 1, 0)}
    # However fine, no more than five voxels.
    assert max(abs(step) for offset, _ in half_offsets((0.1, 0.1), NEAR) for step in offset) == 5
    with_opposites = {offset for offset, _ in half_offsets((1.0, 1.0, 1.0), NEAR)}
    assert not with_opposites & {tuple(-step for step in offset) for offset in with_opposites}


def test_at_half_resolution_it_is_that_of_the_averages() -> None:
    p, image = example((4, 8, 8))
    coarse = Neighbourhood(radius_mm=4.0, sigma_mm=3.0, sigma_intensity=0.7, reduction=2)
    pooled = torch.nn.functional.avg_pool3d
    by_hand = gated_crf(
        pooled(p.flatten(1, 2), (1, 2, 2)).unsqueeze(1),
        pooled(image, (1, 2, 2)),
        (2.0, 2.0, 2.0),
        Neighbourhood(radius_mm=4.0, sigma_mm=3.0, sigma_intensity=0.7),
    )
    # The first axis is as coarse as the others become, and stays.
    torch.testing.assert_close(gated_crf(p, image, (2.0, 1.0, 1.0), coarse), by_hand)


def test_under_autocast_it_computes_in_full_precision() -> None:
    p, image = example((6, 6))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = gated_crf(p.float(), image.float(), (1.0, 1.0), NEAR)
    assert inside.dtype == torch.float32
    torch.testing.assert_close(inside, gated_crf(p.float(), image.float(), (1.0, 1.0), NEAR))


PEAK = """
import torch
from autofuse.foundation.machine import peak_memory_gib
from autofuse.losses.gated_crf import Neighbourhood, gated_crf
torch.set_num_threads(1)
p = torch.rand(1, 1, 4, 96, 96, 96).softmax(2).requires_grad_()
image = torch.rand(1, 2, 96, 96, 96)
gated_crf(p[..., :8], image[..., :8], (1.0,) * 3, Neighbourhood())
before = peak_memory_gib()
gated_crf(p, image, (1.0,) * 3, Neighbourhood({radius})).backward()
print(peak_memory_gib() - before)
"""


@pytest.mark.parametrize("radius", [1.0, 3.0])
def test_memory_stays_bounded_whatever_the_radius(radius: float) -> None:
    """An unfolded neighbourhood of radius 5 would take 22 GiB here; the probabilities themselves take 0.013 GiB."""
    found = subprocess.run(
        [sys.executable, "-c", PEAK.format(radius=radius)], capture_output=True, text=True, check=True
    )
    assert float(found.stdout) < 0.15


def test_a_patch_of_planned_size_takes_a_fraction_of_a_second() -> None:
    torch.manual_seed(0)
    p, image = torch.rand(1, 1, 4, 64, 64, 64).softmax(2), torch.rand(1, 2, 64, 64, 64)
    started = time.process_time()
    gated_crf(p.requires_grad_(), image, (1.0, 1.0, 1.0), Neighbourhood(reduction=2)).backward()
    assert time.process_time() - started < 2.0
