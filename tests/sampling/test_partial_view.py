"""Where a field of view ends inside a patch: the coverage follows the image, and what is not seen is 0 and says so."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from own_grids import second_elsewhere, smooth_case
from prepared_cases import fill_store, raw_case, tiny_plan
from torch import Tensor

from autofuse.plan.task import Task
from autofuse.preprocessing.store import Store
from autofuse.sampling.augmentation import augment
from autofuse.sampling.crops import Crop, Crops
from autofuse.sampling.draw import NO_AUGMENTATION, AugmentationDraw, AugmentationRecipe, IntensityDraw
from autofuse.sampling.source import PatchSource

SIZE = (20, 20, 20)
NOTHING = IntensityDraw()


@dataclass(frozen=True)
class Wanted:
    """The fields of a trainer's stream that a source reads."""

    name: str = "labelled"
    share: float = 1.0
    foreground: float = 1 / 3


def _half_seen(draw: AugmentationDraw, values: Tensor | None = None, patch: tuple[int, ...] = SIZE) -> Crops:
    """Two modalities; the second is seen in the upper half of the first axis only."""
    covered = torch.ones((2, *SIZE), dtype=torch.bool)
    covered[1, 10:] = False
    images = torch.full((2, *SIZE), 5.0) if values is None else values
    label = torch.zeros(SIZE, dtype=torch.int16)
    centre = tuple((size - 1) / 2 for size in SIZE)
    present = torch.tensor([True, True])
    crop = Crop("a", images * covered, present, label, 0, None, draw, centre, covered)
    return Crops((crop,), patch, (1.0,) * 3, (False, False))


def _draw(second: IntensityDraw = NOTHING, matrix: np.ndarray | None = None, flip: bool = False) -> AugmentationDraw:
    return AugmentationDraw(matrix, (flip, False, False), (NOTHING, second))


def _turn(degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


@pytest.mark.parametrize("degrees", [None, 0.0, 90.0, 25.0])
@pytest.mark.parametrize("flip", [False, True])
def test_the_coverage_is_moved_like_the_image(degrees: float | None, flip: bool) -> None:
    matrix = None if degrees is None else _turn(degrees)
    patch = SIZE if matrix is None else (12, 12, 12)
    batch = augment(_half_seen(_draw(matrix=matrix, flip=flip), patch=patch))
    assert batch.covered is not None and bool(batch.covered[0, 0].all()) and batch.present.all()
    seen = batch.covered[0, 1]
    assert bool((batch.image[0, 1][~seen] == 0).all()) and 0.3 < float(seen.float().mean()) < 0.7
    # Nearest and linear agree on which side of the border a voxel lies, but for the voxels next to it.
    assert float((batch.image[0, 1][seen] > 2.4).float().mean()) == 1.0
    assert torch.equal(batch.presence(), batch.covered)
    if flip and degrees in (None, 0.0):
        half = patch[0] // 2
        assert bool(seen[half:].all()) and not bool(seen[:half].any())


@pytest.mark.parametrize("change", [{"contrast": 1.25}, {"gamma": 0.7}, {"gamma_inverted": 1.5}, {"brightness": 0.8}])
def test_statistics_are_those_of_what_is_seen(change: dict[str, float]) -> None:
    values = torch.rand((2, *SIZE), generator=torch.Generator().manual_seed(1)) + 3
    batch = augment(_half_seen(_draw(IntensityDraw(**change)), values))
    alone = values[1:, :10].clone()
    crop = Crop(
        "a",
        torch.cat([alone, alone]),
        torch.tensor([True, True]),
        torch.zeros(alone.shape[1:], dtype=torch.int16),
        0,
        None,
        _draw(IntensityDraw(**change)),
        (4.5, 9.5, 9.5),
    )
    expected = augment(Crops((crop,), (10, 20, 20), (1.0,) * 3, (False, False))).image[0, 1]
    torch.testing.assert_close(batch.image[0, 1, :10], expected)
    assert bool((batch.image[0, 1, 10:] == 0).all())


def test_noise_blur_and_loss_of_resolution_leave_what_is_not_seen_at_zero() -> None:
    drawn = IntensityDraw(noise_std=0.5, blur_sigma=(1.0, 1.0, 1.0), zoom=0.5)
    batch = augment(_half_seen(_draw(drawn)))
    assert bool((batch.image[0, 1, 10:] == 0).all()) and bool((batch.image[0, 1, :8] != 0).all())


def test_the_coverage_is_shifted_with_the_modality() -> None:
    batch = augment(_half_seen(_draw(IntensityDraw(shift_voxels=(3.0, 0.0, 0.0)))))
    assert batch.covered is not None
    rows = batch.covered[0, 1].all(dim=2).all(dim=1)
    assert rows.tolist() == [True] * 7 + [False] * 13


def test_a_modality_that_sees_nothing_of_the_patch_is_absent_in_it() -> None:
    crops = _half_seen(_draw())
    (crop,) = crops.samples
    blind = torch.ones_like(crop.covered if crop.covered is not None else torch.empty(0))
    blind[1] = False
    other = Crop("b", crop.images * blind, crop.present, crop.label, 0, None, crop.draw, crop.centre, blind)
    whole = Crop("c", crop.images, crop.present, crop.label, 0, None, crop.draw, crop.centre)
    batch = augment(Crops((crop, other, whole), crops.patch, crops.spacing_mm, crops.keep_zero))
    assert batch.present.tolist() == [[True, True], [True, False], [True, True]]
    assert batch.covered is not None and bool(batch.covered[2].all())


def _store(folder: Path) -> Store:
    cases = [raw_case("whole", (32, 36, 40)), second_elsewhere(smooth_case(raw_case("partial", (32, 36, 40))))]
    return fill_store(folder, tiny_plan(), cases)


def test_patches_of_a_partial_case_say_what_is_covered(tmp_path: Path) -> None:
    store, plan = _store(tmp_path), tiny_plan()
    task = Task(plan, plan.configurations[0])
    source = PatchSource(store, ["partial"], task, Wanted(), 7, recipe=NO_AUGMENTATION)
    whole = PatchSource(store, ["whole"], task, Wanted(), 7, recipe=NO_AUGMENTATION)
    assert augment(whole.crop(0)).covered is None
    border = 0
    for step in range(6):
        batch = augment(source.crop(step))
        assert batch.covered is not None and bool(torch.isfinite(batch.image).all())
        assert bool((batch.image[~batch.covered] == 0).all()) and bool(batch.covered[:, 0].all())
        share = float(batch.covered[:, 1].float().mean())
        border += 0 < share < 1
    assert border > 1


def test_the_whole_recipe_gives_finite_patches(tmp_path: Path) -> None:
    store, plan = _store(tmp_path), tiny_plan()
    always = dict.fromkeys(("rotation", "scaling", "noise", "blur", "contrast", "low_resolution", "gamma"), 1.0)
    recipe = AugmentationRecipe(**always, jitter=1.0, jitter_mm=2.0)  # type: ignore[arg-type]
    source = PatchSource(store, store.case_ids, Task(plan, plan.configurations[0]), Wanted(), 3, recipe=recipe)
    for step in range(8):
        batch = augment(source.crop(step))
        assert bool(torch.isfinite(batch.image).all()) and batch.covered is not None
        assert bool((batch.image[~batch.covered] == 0).all())
