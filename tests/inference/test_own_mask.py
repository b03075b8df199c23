"""A mask for each modality: by its own head, on the native grid of its own image, under the name of that image."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from inference_fakes import REGIONS, Voxelwise, class_labels, make_case, make_model, make_task
from torch import Tensor, nn

from autofuse.dataset.raw import RawCase
from autofuse.dataset.types import Case, Dataset, ImageFile, Labels, Modality
from autofuse.foundation import console
from autofuse.foundation.errors import DataError, UsageError
from autofuse.images import read_label_image
from autofuse.images.write import write_image
from autofuse.inference.case import predict_case
from autofuse.inference.folder import predict_cases, require_predicted
from autofuse.inference.prediction import PredictOptions
from autofuse.inference.simple import predict
from autofuse.plan.task import Task
from autofuse.sampling.batch import Batch
from autofuse.training.model import Model

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "preprocessing"))
from own_grids import NARROW, second_elsewhere

LABELS = class_labels(2)


@dataclass(frozen=True)
class EachItsOwn(Voxelwise):
    """The head of a modality says what that modality's voxel says."""

    name: ClassVar[str] = "each"
    masks_each: ClassVar[bool] = True

    def segment_each(self, nets: nn.ModuleDict, batch: Batch) -> Tensor:
        heads = [replace(batch, image=batch.image[:, [m]]) for m in range(batch.image.shape[1])]
        return torch.stack([self.segment(nets, head) for head in heads], 1)


def own_task(labels: Labels = LABELS) -> Task:
    task = make_task(labels, patch=(16, 16, 16), modalities=2)
    plan = task.plan.model_copy(update={"masks_per_modality": True})
    return replace(task, plan=plan)


def models(labels: Labels = LABELS, folds: int = 1) -> list[Model]:
    trainer = EachItsOwn(outputs=3, regions=labels.has_regions)
    return [make_model(own_task(labels), trainer, bias=0.1 * fold, fold=fold) for fold in range(folds)]


def blocks(shape: tuple[int, int, int] = (32, 36, 40)) -> tuple[np.ndarray, np.ndarray]:
    """Two volumes of classes in blocks of 8 voxels, the second mirrored."""
    z, y, x = (np.arange(size) // 8 for size in shape)
    first = ((z[:, None, None] + 2 * y[None, :, None] + x[None, None, :]) % 3).astype(np.float32)
    return first, np.ascontiguousarray(first[:, ::-1])


@pytest.fixture(autouse=True)
def quiet() -> None:
    console.configure(quiet=True)


@pytest.mark.parametrize("folds", [1, 2])
def test_each_head_answers_for_its_own_modality(folds: int) -> None:
    first, second = blocks()
    raw = make_case(first, second)
    for channel, truth in enumerate((first, second)):
        found = predict_case(models(folds=folds), raw, PredictOptions(modality=channel))
        assert found.case == f"case_{channel:04d}" and found.geometry == raw.geometry
        np.testing.assert_array_equal(found.indices, truth)


@pytest.mark.parametrize("labels", [LABELS, REGIONS], ids=["classes", "regions"])
def test_the_mask_of_a_modality_elsewhere_lies_on_its_own_grid(labels: Labels) -> None:
    raw = second_elsewhere(make_case(*blocks()), factor=2)
    image = raw.images[1]
    assert image is not None
    found = predict_case(models(labels), raw, PredictOptions(modality=1, mirror=False))
    assert found.geometry == image.geometry and found.indices.shape == image.voxels.shape
    codes = np.rint(image.voxels)
    if labels.has_regions:  # region r where the voxel exceeds r + 0.5, painted one after the other: codes 2, 1, 4
        codes = np.choose(codes.astype(int), [0, 2, 1])
    inner = (slice(2, -2),) * 3
    assert (found.indices[inner] == codes[inner]).mean() > 0.85  # blocks of four voxels: half of them lie at a border
    middle = found.indices[inner][np.abs(image.voxels[inner] - np.rint(image.voxels[inner])) < 1e-6]
    assert set(np.unique(middle)) <= set(np.unique(codes))


def test_beyond_what_the_reference_shows_is_background() -> None:
    raw = second_elsewhere(make_case(np.full((32, 36, 40), 2.0, np.float32), np.full((32, 36, 40), 1.0, np.float32)))
    narrow, wide = raw.images[1], raw.images[0]
    assert narrow is not None and wide is not None
    turned = replace(raw, geometry=narrow.geometry, reference=1)
    found = predict_case(models(), turned, PredictOptions(modality=0, mirror=False)).indices
    rows = np.flatnonzero((found == 2).any(axis=(1, 2)))
    assert rows.min() >= NARROW[0] and rows.max() < NARROW[1] and found.shape == wide.voxels.shape
    assert (found[NARROW[0] + 2 : NARROW[1] - 2, 2:-2, 2:-2] == 2).all()


def test_whose_mask_must_be_clear() -> None:
    raw = make_case(*blocks())
    with pytest.raises(UsageError, match="a mask for each modality"):
        predict_case(models(), raw)
    with pytest.raises(UsageError, match="one mask for all"):
        predict_case([make_model(make_task(LABELS, modalities=2), Voxelwise())], raw, PredictOptions(modality=1))
    with pytest.raises(UsageError, match="not kept"):
        predict_case(models(), raw, PredictOptions(modality=1, probabilities=True))
    lacking = replace(raw, images=(raw.images[0], None))
    with pytest.raises(DataError, match="lacks modality 1"):
        predict_case(models(), lacking, PredictOptions(modality=1))


def test_in_one_call_the_modality_is_named() -> None:
    first, second = blocks()
    found = predict(models()[0], [first, second], modality="modality 1", mirror=False, device="cpu")
    np.testing.assert_array_equal(found.indices, second)
    with pytest.raises(UsageError, match="no such modality"):
        predict(models()[0], [first, second], modality="T9", device="cpu")


def on_disk(root: Path, raw: RawCase, *lacking: int) -> Dataset:
    files: list[ImageFile | None] = []
    for channel, image in enumerate(raw.images):
        files.append(None if channel in lacking else ImageFile(path=f"x_{channel:04}.nii.gz"))
        if image is not None and channel not in lacking:
            write_image(root / f"x_{channel:04}.nii.gz", image.voxels, image.geometry)
    names = tuple(Modality(name=f"modality {m}", optional=True) for m in range(2))
    case = Case(id="x", subject="x", images=tuple(files))
    return Dataset(
        name="d", root=str(root), layout="nnunet", modalities=names, labels=LABELS, cases=(), test_cases=(case,)
    )


def test_files_are_called_like_the_images_and_kept_while_nothing_changes(tmp_path: Path) -> None:
    raw = second_elsewhere(make_case(*blocks()), factor=2)
    dataset, out = on_disk(tmp_path / "raw", raw), tmp_path / "masks"
    for kept in (False, True):
        (outcome,) = predict_cases(models(), dataset, dataset.test_cases, out, mirror=False, workers=0)
        require_predicted([outcome])
        assert outcome.value is not None and outcome.value.kept is kept
        assert set(outcome.value.own) == {"x_0000", "x_0001"}
    assert sorted(path.name for path in out.glob("*.nii.gz")) == ["x_0000.nii.gz", "x_0001.nii.gz"]
    for channel, image in enumerate(raw.images):
        mask = read_label_image(out / f"x_{channel:04d}.nii.gz")
        assert image is not None and mask.voxels.shape == image.voxels.shape
    (out / "x_0001.nii.gz").unlink()
    (again,) = predict_cases(models(), dataset, dataset.test_cases, out, mirror=False, workers=0)
    assert again.value is not None and not again.value.kept and (out / "x_0001.nii.gz").exists()


def test_an_absent_modality_has_no_mask(tmp_path: Path) -> None:
    dataset = on_disk(tmp_path / "raw", make_case(*blocks()), 0)
    (outcome,) = predict_cases(models(), dataset, dataset.test_cases, tmp_path / "masks", mirror=False, workers=0)
    require_predicted([outcome])
    assert [path.name for path in (tmp_path / "masks").glob("*.nii.gz")] == ["x_0001.nii.gz"]
