"""Batches of cases whose modalities carry masks of their own: image and mask move together, each modality apart."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from prepared_cases import fill_store, raw_case, tiny_plan

from autofuse.dataset.raw import RawCase
from autofuse.dataset.types import IGNORE
from autofuse.plan.task import Task
from autofuse.sampling.augmentation import augment, shifted
from autofuse.sampling.draw import NO_AUGMENTATION, AugmentationRecipe
from autofuse.sampling.source import PatchSource

PLAN = tiny_plan(patch=(16, 16, 16), batch=4).model_copy(update={"masks_per_modality": True})


@dataclass(frozen=True)
class Wanted:
    """The fields of a trainer's stream that a source reads."""

    name: str = "labelled"
    share: float = 1.0
    foreground: float = 1.0


def marked(name: str, *known: bool) -> RawCase:
    """A case whose images show their own masks, brightly; the second one's lies elsewhere."""
    raw = raw_case(name)
    assert raw.label is not None
    labels = [raw.label, np.roll(raw.label, 5, axis=2)]
    images = tuple(
        replace(image, voxels=np.where(label == 1, 100.0, np.where(label == 2, -100.0, 1.0)).astype(np.float32))
        for image, label in zip(raw.images, labels, strict=True)
        if image is not None
    )
    own = tuple(label if here else None for label, here in zip(labels, known, strict=True))
    return replace(raw, label=None, images=images, labels=own if any(known) else (), reference=0)


def source(folder: Path, recipe: AugmentationRecipe, *cases: RawCase, foreground: float = 1.0) -> PatchSource:
    store = fill_store(folder, PLAN, list(cases))
    wanted = Wanted(foreground=foreground)
    return PatchSource(
        store, [raw.case.id for raw in cases], Task(PLAN, PLAN.configurations[0]), wanted, 0, recipe=recipe
    )


@pytest.mark.parametrize(
    "recipe",
    [
        replace(NO_AUGMENTATION, mirror=0.5),
        replace(NO_AUGMENTATION, rotation=1.0, scaling=1.0),
        replace(NO_AUGMENTATION, jitter=1.0, jitter_mm=4.0),
    ],
    ids=["mirrored", "turned", "shifted"],
)
def test_each_mask_moves_with_its_image(recipe: AugmentationRecipe, tmp_path: Path) -> None:
    patches = source(tmp_path, recipe, marked("a", True, True))
    for step in range(3):
        batch = augment(patches.crop(step))
        assert batch.target is not None and batch.target.shape == batch.image.shape
        shown = torch.where(batch.image > 1, 1, torch.where(batch.image < -1, 2, 0))
        agree = (shown == batch.target).float().flatten(2).mean(2)
        assert agree.min() > 0.93 and bool((batch.target == 1).any())  # half a voxel of interpolation lies between them
        swapped = (shown[:, [1, 0]] == batch.target).float().flatten(2).mean(2)
        assert swapped.mean() < agree.mean()


def test_what_no_mask_covers_is_ignored_in_that_modality_alone(tmp_path: Path) -> None:
    batch = augment(source(tmp_path, NO_AUGMENTATION, marked("a", False, True)).crop(0))
    assert batch.target is not None and bool((batch.target_of(0) == IGNORE).all())
    assert bool((batch.target_of(1) != IGNORE).all()) and bool((batch.target_of(1) > 0).any())


def test_labelled_and_unlabelled_cases_stand_side_by_side(tmp_path: Path) -> None:
    both = source(tmp_path, NO_AUGMENTATION, marked("a", True, True), marked("b", False, False), foreground=0.0)
    batch = augment(both.crop(0))
    assert batch.target is not None and batch.target.shape == batch.image.shape
    unlabelled = [index for index, case in enumerate(batch.cases) if case == "b"]
    assert unlabelled and bool((batch.target[unlabelled] == IGNORE).all())


def test_a_shift_takes_the_nearest_voxel_and_fills_what_comes_in() -> None:
    line = torch.arange(5).view(1, 5)
    assert shifted(line, (0.0, 1.6), -1).tolist() == [[2, 3, 4, -1, -1]]
    assert shifted(line, (0.4, -1.2), 9).tolist() == [[9, 0, 1, 2, 3]]


def test_one_mask_is_the_target_of_every_modality(tmp_path: Path) -> None:
    plan = tiny_plan(patch=(16, 16, 16), batch=1)
    store = fill_store(tmp_path, plan, [raw_case()])
    batch = augment(PatchSource(store, ["a"], Task(plan, plan.configurations[0]), Wanted(), 0).crop(0))
    assert batch.target is not None and batch.target.shape == (1, 16, 16, 16)
    assert batch.target_of(0) is batch.target and batch.target_of(1) is batch.target
