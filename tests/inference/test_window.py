"""The sliding window: what does not depend on tiles must come out exactly, however the case is cut."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from autofuse.foundation.errors import ModelError
from autofuse.inference.window import View, WindowPlan, single_tiles, sliding_window, whole
from autofuse.sampling.batch import Batch

PLAN = WindowPlan(patch=(8, 8, 8), outputs=2)


def view(*shape: int, channels: int = 1) -> View:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(channels, *shape, generator=generator)
    return View(images, torch.ones(channels, dtype=torch.bool), case="case")


def voxelwise(batch: Batch) -> Tensor:
    return torch.cat([batch.image[:, :1], batch.image[:, :1] ** 2], dim=1)


@pytest.mark.parametrize("shape", [(20, 9, 31), (8, 8, 8), (5, 6, 30), (3, 3, 3)])
@pytest.mark.parametrize("rows", [None, 8])
def test_a_voxelwise_function_passes_unchanged(shape: tuple[int, ...], rows: int | None) -> None:
    case = view(*shape)
    found = whole(sliding_window(voxelwise, case, replace(PLAN, rows=rows, batch=3)))
    expected = torch.cat([case.images, case.images**2])
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=1e-5)


def test_rows_come_in_order_and_once() -> None:
    spans = [(part.start, part.stop) for part in sliding_window(voxelwise, view(30, 8, 8), replace(PLAN, rows=8))]
    assert spans[0][0] == 0 and spans[-1][1] == 30
    assert all(a[1] == b[0] for a, b in pairwise(spans))
    assert len(spans) > 3


def depends_on_position(batch: Batch) -> Tensor:
    """Differs from tile to tile: the position inside the tile is an input."""
    ramp = torch.arange(8.0).reshape(1, 1, 8, 1, 1)
    return torch.cat([batch.image[:, :1] * ramp, batch.image[:, :1] - ramp], dim=1)


def test_slabs_equal_the_whole() -> None:
    case = view(29, 19, 11)
    at_once = whole(sliding_window(depends_on_position, case, PLAN))
    in_slabs = whole(sliding_window(depends_on_position, case, replace(PLAN, rows=8, batch=1)))
    torch.testing.assert_close(in_slabs, at_once, atol=1e-5, rtol=1e-5)
    half = whole(sliding_window(depends_on_position, case, replace(PLAN, rows=8, dtype=torch.float16)))
    torch.testing.assert_close(half, at_once, atol=0.05, rtol=5e-3)


def test_weighted_mean_of_two_tiles_by_hand() -> None:
    case = View(torch.ones(1, 1, 1, 6), torch.ones(1, dtype=torch.bool))
    plan = WindowPlan(patch=(1, 1, 4), outputs=1)
    ramp = torch.tensor([0.0, 1.0, 2.0, 3.0])
    found = whole(sliding_window(lambda batch: batch.image * ramp, case, plan)).flatten()
    curve = torch.exp(-0.5 * ((torch.arange(4.0) - 1.5) / 0.5) ** 2)
    # Tiles start at 0 and 2; voxel 2 is voxel 2 of the first and voxel 0 of the second.
    third = (2 * curve[2] + 0 * curve[0]) / (curve[2] + curve[0])
    fourth = (3 * curve[3] + 1 * curve[1]) / (curve[3] + curve[1])
    torch.testing.assert_close(found, torch.stack([ramp[0], ramp[1], third, fourth, ramp[2], ramp[3]]))


def test_slices_of_a_2d_configuration() -> None:
    case = view(7, 20, 13)
    plan = WindowPlan(patch=(8, 8), outputs=2, batch=5, rows=3)

    def flat(batch: Batch) -> Tensor:
        assert batch.image.ndim == 4
        return voxelwise(batch)

    found = whole(sliding_window(flat, case, plan))
    torch.testing.assert_close(found, torch.cat([case.images, case.images**2]), atol=2e-6, rtol=1e-5)


def test_mirroring_averages_all_flips() -> None:
    case = view(8, 8, 8)
    plan = replace(PLAN, mirror_axes=(0, 2))
    calls = []

    def lopsided(batch: Batch) -> Tensor:
        calls.append(batch.image)
        ramp = torch.arange(8.0)
        return torch.cat([batch.image * ramp.reshape(8, 1, 1), batch.image * ramp], dim=1)

    found = whole(sliding_window(lopsided, case, plan))
    assert len(calls) == 4
    # A ramp and its mirror image average to 3.5.
    torch.testing.assert_close(found, torch.cat([case.images * 3.5] * 2), atol=1e-5, rtol=1e-5)


def test_a_prior_is_mirrored_with_the_image() -> None:
    case = replace(view(8, 8, 8), prior=torch.rand(2, 8, 8, 8) > 0.5)
    plan = replace(PLAN, mirror_axes=(0, 1, 2))
    found = whole(sliding_window(lambda batch: batch.prior * batch.image, case, plan))  # type: ignore[operator]
    assert case.prior is not None
    torch.testing.assert_close(found, case.prior * case.images, atol=1e-6, rtol=1e-5)


def test_cases_of_one_tile_side_by_side_equal_one_by_one() -> None:
    views = [view(5, 8, 3), view(8, 8, 8), view(1, 2, 7)]
    together = single_tiles(depends_on_position, views, PLAN)
    for item, found in zip(views, together, strict=True):
        torch.testing.assert_close(found, whole(sliding_window(depends_on_position, item, PLAN)))


def test_values_that_are_not_finite_are_named() -> None:
    def breaks(batch: Batch) -> Tensor:
        logits = voxelwise(batch)
        logits[0, 0, 0] = float("nan")
        return logits

    with pytest.raises(ModelError, match="not finite") as caught:
        whole(sliding_window(breaks, view(9, 9, 9), PLAN))
    assert caught.value.case == "case"


def test_another_number_of_outputs_is_refused() -> None:
    with pytest.raises(ModelError, match="does not fit the plan"):
        whole(sliding_window(lambda batch: batch.image, view(8, 8, 8), PLAN))
