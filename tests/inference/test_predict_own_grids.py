"""Cases whose modalities lie on grids of their own, or are not all there: masks, coverage of tiles, what is said."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from inference_fakes import Blurred, Voxelwise, class_labels, make_model, make_task
from torch import Tensor, nn

from autofuse.dataset.raw import RawCase
from autofuse.dataset.types import Case, Dataset, ImageFile, Modality
from autofuse.foundation import console
from autofuse.foundation.errors import DataError
from autofuse.images import read_label_image
from autofuse.images.image import Image
from autofuse.images.write import write_image
from autofuse.inference.case import load_for, predict_case
from autofuse.inference.folder import predict_cases, require_predicted
from autofuse.inference.prediction import PredictOptions, Seen
from autofuse.inference.record import PredictionRecord
from autofuse.inference.simple import predict
from autofuse.inference.window import View, WindowPlan, single_tiles, sliding_window, whole
from autofuse.inference.writing import record_path
from autofuse.sampling.batch import Batch
from autofuse.training.model import Model

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "preprocessing"))
from own_grids import NARROW, second_elsewhere
from prepared_cases import raw_case

LABELS = class_labels(2)
SHAPE = (32, 36, 40)


@dataclass(frozen=True)
class Presence(Voxelwise):
    """Channel c of the logits says whether modality c is seen; the mean over mirrorings must not change that."""

    name: ClassVar[str] = "presence"

    def segment(self, nets: nn.ModuleDict, batch: Batch) -> Tensor:
        seen = batch.presence()
        seen = seen.reshape(*seen.shape, *(1,) * (batch.image.ndim - seen.ndim)).expand_as(batch.image).float()
        return torch.cat([seen, torch.full_like(seen[:, :1], 0.5)], dim=1)


@pytest.fixture(autouse=True)
def quiet() -> None:
    console.configure(quiet=True)


def _models(trainer: Voxelwise | Blurred | None = None, **network: object) -> list[Model]:
    task = make_task(LABELS, patch=(16, 16, 16), modalities=2)
    if network:
        changed = task.configuration.network.model_copy(update=network)
        configuration = task.configuration.model_copy(update={"network": changed})
        plan = task.plan.model_copy(update={"configurations": (configuration,)})
        task = replace(task, plan=plan, configuration=configuration)
    return [make_model(task, trainer or Voxelwise())]


def _half_view(*shape: int) -> View:
    images = torch.ones(2, *shape)
    images[1, shape[0] // 2 :] = float("nan")
    return View(images, torch.ones(2, dtype=torch.bool), case="case", partial=True)


@pytest.mark.parametrize("patch", [(8, 8, 8), (8, 8)])
@pytest.mark.parametrize("mirror_axes", [(), (0, 1)])
def test_tiles_say_voxel_by_voxel_what_is_covered(patch: tuple[int, ...], mirror_axes: tuple[int, ...]) -> None:
    told = []

    def segment(batch: Batch) -> Tensor:
        assert bool(torch.isfinite(batch.image).all()) and batch.covered is not None
        assert torch.equal(batch.present[:, 1], batch.covered[:, 1].flatten(1).any(dim=1))
        told.append(batch.present[:, 1])
        return batch.presence().float()

    plan = WindowPlan(patch=patch, outputs=2, mirror_axes=mirror_axes, batch=2)
    seen = whole(sliding_window(segment, _half_view(24, 9, 11), plan))
    assert bool((seen[0] > 0.99).all())
    torch.testing.assert_close(seen[1, :12], torch.ones(12, 9, 11), atol=1e-5, rtol=0)
    torch.testing.assert_close(seen[1, 12:], torch.zeros(12, 9, 11), atol=1e-5, rtol=0)
    assert not bool(torch.cat(told).all()) and bool(torch.cat(told).any())


def test_whole_and_partial_cases_go_side_by_side() -> None:
    def segment(batch: Batch) -> Tensor:
        assert batch.covered is not None
        return batch.presence().float()

    complete = View(torch.ones(2, 8, 8, 8), torch.tensor([True, False]), case="complete")
    plan = WindowPlan(patch=(8, 8, 8), outputs=2)
    one, other = single_tiles(segment, [complete, _half_view(8, 8, 8)], plan)
    assert one.amin(dim=(1, 2, 3)).tolist() == [1.0, 0.0] and one.amax(dim=(1, 2, 3)).tolist() == [1.0, 0.0]
    assert bool(other[1, :4].all()) and not bool(other[1, 4:].any())


def test_the_mask_lies_on_the_reference_grid_and_coverage_reaches_the_network() -> None:
    raw = second_elsewhere(replace(raw_case(shape=SHAPE), label=None))
    prediction = predict_case(_models(Presence()), raw, PredictOptions(mirror=True))
    assert prediction.geometry == raw.geometry and prediction.indices.shape == SHAPE
    assert bool((prediction.indices == 0).all())  # the first modality is seen everywhere
    blind = replace(raw, images=(None, raw.images[1]), geometry=raw.images[1].geometry, reference=1)  # type: ignore[union-attr]
    prediction = predict_case(_models(Presence()), blind)
    assert prediction.geometry.shape == blind.geometry.shape and bool((prediction.indices == 1).all())
    assert prediction.seen == Seen(absent=("modality 0",))
    assert prediction.seen.in_words() == "predicted without modality 0"


def test_where_the_reference_modality_is_not_covered_the_other_counts() -> None:
    raw = second_elsewhere(replace(raw_case(shape=SHAPE), label=None))
    swapped = make_task(LABELS, patch=(16, 16, 16), modalities=2)

    @dataclass(frozen=True)
    class Second(Presence):
        def segment(self, nets: nn.ModuleDict, batch: Batch) -> Tensor:
            return super().segment(nets, batch)[:, [2, 1, 0]] * torch.tensor([1.0, 1, 0]).reshape(1, 3, 1, 1, 1)

    found = predict_case([make_model(swapped, Second())], raw).indices
    rows = (found == 1).all(axis=(1, 2))
    assert np.flatnonzero(rows).tolist() == list(range(*NARROW)) and not (found[~rows] == 1).any()
    seen = load_for([make_model(swapped, Second())], raw).seen
    assert seen.grid == "modality 0" and seen.absent == ()
    ((name, share),) = seen.partly
    assert name == "modality 1" and share == pytest.approx((NARROW[1] - NARROW[0]) / SHAPE[0], abs=0.01)


def _on_disk(root: Path, raw: RawCase, name: str = "x") -> Dataset:
    files = []
    for channel, image in enumerate(raw.images):
        if image is not None:
            write_image(root / f"{name}_{channel:04}.nii.gz", image.voxels, image.geometry)
        files.append(None if image is None else ImageFile(path=f"{name}_{channel:04}.nii.gz"))
    return Dataset(
        name="fake",
        root=str(root),
        layout="images",
        modalities=(Modality(name="T1"), Modality(name="FLAIR")),
        labels=LABELS,
        cases=(),
        test_cases=(Case(id=name, subject=name, images=tuple(files)),),
    )


def test_files_on_several_grids_are_predicted_and_the_record_says_what_was_seen(tmp_path: Path) -> None:
    raw = second_elsewhere(replace(raw_case(shape=SHAPE), label=None))
    dataset, models = _on_disk(tmp_path / "raw", raw), _models(Blurred())
    (outcome,) = predict_cases(models, dataset, dataset.test_cases, tmp_path / "out")
    require_predicted([outcome])
    assert outcome.value is not None
    assert read_label_image(outcome.value.mask).geometry.same_grid(raw.geometry)
    ((name, share),) = outcome.value.seen.partly
    assert name == "modality 1" and 0.7 < share < 0.8
    assert PredictionRecord.load(record_path(tmp_path / "out", "x")).seen == outcome.value.seen
    (again,) = predict_cases(models, dataset, dataset.test_cases, tmp_path / "out")
    assert again.value is not None and again.value.kept and again.value.seen == outcome.value.seen


def test_the_plans_reference_decides_where_nothing_else_does(tmp_path: Path) -> None:
    raw = second_elsewhere(replace(raw_case(shape=SHAPE), label=None))
    dataset, (model,) = _on_disk(tmp_path / "raw", raw), _models(Blurred())
    plan = model.task.plan.model_copy(update={"reference": 1})
    turned = replace(model, task=replace(model.task, plan=plan))
    (outcome,) = predict_cases([turned], dataset, dataset.test_cases, tmp_path / "out")
    assert outcome.value is not None and raw.images[1] is not None
    assert read_label_image(outcome.value.mask).geometry.same_grid(raw.images[1].geometry)
    assert outcome.value.seen.grid == "modality 1"


@pytest.mark.parametrize(
    ("network", "copes"),
    [
        ({}, False),
        ({"modality_dropout": 0.4}, True),
        ({"topology": "late"}, True),
        ({"topology": "stems"}, False),
        ({"topology": "specific_shared"}, False),
    ],
)
def test_an_absent_modality_is_refused_unless_the_network_copes(
    tmp_path: Path, network: dict[str, object], copes: bool
) -> None:
    raw = replace(raw_case(shape=SHAPE, absent=(1,)), label=None)
    dataset = _on_disk(tmp_path / "raw", raw)
    (outcome,) = predict_cases(_models(Blurred(), **network), dataset, dataset.test_cases, tmp_path / "out")
    if copes:
        assert outcome.value is not None and outcome.value.seen.absent == ("modality 1",)
    else:
        assert isinstance(outcome.error, DataError) and "--expect-missing" in str(outcome.error.remedy)


def test_arrays_with_their_geometries_may_lie_on_different_grids() -> None:
    raw = second_elsewhere(replace(raw_case(shape=SHAPE), label=None))
    first, second = raw.images
    assert first is not None and second is not None
    (model,) = _models(Blurred())
    found = predict(model, [first, (second.voxels, second.geometry)], device="cpu")
    expected = predict_case([model], raw)
    np.testing.assert_array_equal(found.indices, expected.indices)
    assert found.geometry == raw.geometry and found.seen == expected.seen
    with pytest.raises(DataError, match="need their geometries"):
        predict(model, [first.voxels, second.voxels], device="cpu")
    far = Image(second.voxels, replace(second.geometry, origin_mm=(900.0, 0.0, 0.0)))
    with pytest.raises(DataError, match="no place in common") as caught:
        predict(model, [first, far], device="cpu", case="p7")
    assert caught.value.case == "p7" and "x 8" in str(caught.value.found)


def test_what_was_seen_in_words() -> None:
    seen = Seen(absent=("FLAIR",), partly=(("T2", 0.634),))
    assert seen.in_words() == "predicted without FLAIR, with T2 in 63% of the image" and Seen().in_words() == ""
