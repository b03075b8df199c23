"""One case, or an ensemble on it: back on the native grid, by every way that memory may force."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from inference_fakes import REGIONS, Blurred, Voxelwise, class_labels, make_case, make_model, make_task

from autofuse.foundation.errors import DataError, ModelError, ResourceError, UsageError
from autofuse.inference import members, memory
from autofuse.inference.case import load_for, predict_case, predict_loaded
from autofuse.inference.prediction import PredictOptions
from autofuse.inference.prior import prior_channels
from autofuse.inference.spool import Spool
from autofuse.training.model import Model

LABELS = class_labels(2)


def blobs(shape: tuple[int, int, int], classes: int = 2, seed: int = 0) -> np.ndarray:
    """Whole numbers 0 ... classes in smooth blobs, none on the first and last rows, as intensities."""
    noise = np.random.default_rng(seed).normal(size=shape)
    for axis in range(3):
        noise = sum(np.roll(noise, shift, axis) for shift in range(-2, 3))
    volume = np.digitize(noise, np.quantile(noise, [0.7 + 0.3 * k / classes for k in range(classes)]))
    volume[:2], volume[-3:], volume[:, :1], volume[:, :, -2:] = 0, 0, 0, 0
    return volume.astype(np.float32)


def test_a_voxelwise_network_gives_the_native_grid_back_exactly() -> None:
    volume = blobs((14, 20, 11))
    model = make_model(make_task(LABELS), Voxelwise())
    prediction = predict_case([model], make_case(volume, spacing_mm=(1.0, 1.0, 1.0)))
    np.testing.assert_array_equal(prediction.indices, volume.astype(np.int16))
    assert prediction.indices.dtype == np.int16 and prediction.probabilities is None


def test_transposed_cropped_and_resampled_case_comes_back_in_place() -> None:
    volume = np.zeros((16, 30, 24), dtype=np.float32)
    volume[3:12, 5:25, 8:18], volume[5:9, 10:20, 10:15] = 1, 2
    task = make_task(LABELS, spacing_mm=(0.5, 1.0, 0.8), transpose=(2, 0, 1))
    prediction = predict_case([make_model(task, Voxelwise())], make_case(volume, spacing_mm=(1.0, 0.6, 1.1)))
    assert prediction.indices.shape == volume.shape
    # The cubic spline blurs an edge by less than a voxel; the blocks must lie where they were.
    assert (prediction.indices == volume).mean() > 0.97
    for value in (1, 2):
        centre = [axis.mean() for axis in np.nonzero(prediction.indices == value)]
        np.testing.assert_allclose(centre, [axis.mean() for axis in np.nonzero(volume == value)], atol=0.4)


def test_2d_configuration_mirrors_in_the_plane_only() -> None:
    volume = blobs((6, 20, 17))
    model = make_model(make_task(LABELS, patch=(8, 8), mirror_axes=(0, 2)), Voxelwise())
    prediction = predict_case([model], make_case(volume))
    np.testing.assert_array_equal(prediction.indices, volume.astype(np.int16))
    work = members.Members(load_for([model], make_case(volume)), PredictOptions(), 1, memory.Extras(), None)
    assert work._window(model).mirror_axes == (1,)


def test_regions_are_painted_in_order() -> None:
    # Region r is where v > r + 0.5: whole from 1, core from 2, enhancing from 3.
    volume = blobs((10, 12, 12), classes=3)
    model = make_model(make_task(REGIONS), Voxelwise(outputs=3, regions=True))
    prediction = predict_case([model], make_case(volume))
    raw = np.array([0, 2, 1, 4])[volume.astype(int)]
    np.testing.assert_array_equal(prediction.raw_labels(), raw)
    strict = predict_case([model], make_case(volume), PredictOptions(thresholds=(0.9, 0.5, 0.5)))
    # sigmoid(0.5) = 0.62: voxels of value 1 are no longer sure enough.
    np.testing.assert_array_equal(strict.raw_labels(), np.where(raw == 2, 0, raw))


def neighbours(**changes: object) -> tuple[Model, ...]:
    task = make_task(LABELS, spacing_mm=(1.3, 0.9, 1.0), **changes)  # type: ignore[arg-type]
    found = []
    for fold, scale in enumerate((1.0, -0.5, 2.0)):
        model = make_model(task, Blurred(), fold=fold)
        model.nets["net"].weight.mul_(scale)
        found.append(model)
    return tuple(found)


def test_slabs_and_the_whole_give_the_same_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    case = make_case(np.random.default_rng(1).normal(size=(33, 20, 22)).astype(np.float32))
    (model, *_) = neighbours()
    in_slabs = predict_case([model], case)
    assert in_slabs.memory.rows < 20
    monkeypatch.setattr(memory, "accumulator_rows", lambda *args: 10_000)
    monkeypatch.setattr(members.Members, "_window", _all_at_once(members.Members._window))
    at_once = predict_case([model], case)
    np.testing.assert_array_equal(in_slabs.indices, at_once.indices)


def _all_at_once(original):  # type: ignore[no-untyped-def]
    return lambda self, model: replace(original(self, model), rows=None)


def test_an_ensemble_is_the_mean_of_its_members_probabilities() -> None:
    case = make_case(np.random.default_rng(2).normal(size=(18, 20, 22)).astype(np.float32))
    models, options = neighbours(), PredictOptions(probabilities=True)
    shares = (0.2, 0.5, 0.3)
    apart = [predict_case([model], case, options).probabilities for model in models]
    expected = sum(share * one.whole().astype(np.float32) for share, one in zip(shares, apart, strict=True) if one)
    together = predict_case(models, case, options, weights=[2, 5, 3])
    assert together.probabilities is not None
    np.testing.assert_allclose(together.probabilities.whole(), expected, atol=3e-3)
    clear = np.sort(expected, axis=0)
    sure = clear[-1] - clear[-2] > 0.01
    np.testing.assert_array_equal(together.indices[sure], expected.argmax(0)[sure])


def test_members_on_different_grids_are_averaged_on_the_native_one() -> None:
    case = make_case(np.random.default_rng(2).normal(size=(18, 20, 22)).astype(np.float32))
    fine, coarse = (make_model(make_task(LABELS, spacing_mm=(s, s, s)), Blurred()) for s in (1.0, 1.7))
    flat = make_model(make_task(LABELS, patch=(8, 8)), Blurred())
    options = PredictOptions(probabilities=True, mirror=False)
    apart = [predict_case([model], case, options).probabilities for model in (fine, coarse, flat)]
    expected = sum(one.whole().astype(np.float32) for one in apart if one is not None) / 3
    together = predict_case([fine, coarse, flat], case, options)
    assert together.probabilities is not None
    np.testing.assert_allclose(together.probabilities.whole(), expected, atol=3e-3)


def test_keeping_probabilities_does_not_change_masks_and_covers_the_whole_grid() -> None:
    volume = blobs((14, 20, 11))
    (model, *_) = neighbours()
    plain = predict_case([model], make_case(volume))
    kept = predict_case([model], make_case(volume), PredictOptions(probabilities=True))
    np.testing.assert_array_equal(plain.indices, kept.indices)
    assert kept.probabilities is not None
    whole = kept.probabilities.whole()
    assert whole.shape == (3, *volume.shape) and whole.dtype == np.float16
    np.testing.assert_allclose(whole.astype(np.float32).sum(0), 1, atol=3e-3)
    assert (whole[0, 0] == 1).all(), "what was cropped away is background"


def test_sums_on_disk_equal_sums_in_memory(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    on_disk, in_memory = Spool(3, (9, 4, 5), tmp_path), Spool(3, (9, 4, 5), None)
    for start, count in ((0, 4), (4, 5), (2, 3)):
        values = torch.rand(3, count, 4, 5, generator=generator)
        for spool in (on_disk, in_memory):
            spool.add(start, values, 0.5)
    torch.testing.assert_close(on_disk.read(1, 8), in_memory.read(1, 8))
    np.testing.assert_array_equal(on_disk.output(2), in_memory.output(2))
    assert not list(tmp_path.iterdir()), "the file has no name, so nothing is left behind"


def test_an_ensemble_that_spools_to_disk_gives_the_same_masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case, models = make_case(blobs((14, 20, 11))), neighbours()
    expected = predict_case(models, case)
    folders = []

    class Watched(Spool):
        def __init__(self, outputs: int, shape: tuple[int, int, int], folder: Path | None) -> None:
            folders.append(folder)
            super().__init__(outputs, shape, folder)

    original = memory.plan_memory
    monkeypatch.setattr(members, "Spool", Watched)
    monkeypatch.setattr(
        members, "plan_memory", lambda *a, **k: replace(original(*a, **k), spool_in_memory=False, dtype="float32")
    )
    found = predict_case(models, case, PredictOptions(scratch=tmp_path))
    assert folders == [tmp_path]
    np.testing.assert_array_equal(found.indices, expected.indices)


def test_a_cascade_needs_and_uses_the_earlier_masks() -> None:
    task = make_task(LABELS, spacing_mm=(1.0, 2.0, 1.0), previous="coarse")
    model = make_model(task, Blurred())
    volume = blobs((10, 16, 12))
    with pytest.raises(ModelError, match="second stage"):
        predict_case([model], make_case(volume))
    one = predict_case([model], make_case(volume), priors={"coarse": np.zeros(volume.shape, np.int16)})
    other = predict_case([model], make_case(volume), priors={"coarse": volume.astype(np.int16)})
    assert (one.indices != other.indices).any()


def test_each_cascade_of_an_ensemble_gets_the_earlier_masks_on_its_own_grid() -> None:
    volume = blobs((16, 16, 12))
    fine, coarse = (
        make_model(make_task(LABELS, spacing_mm=(step, 1.0, 1.0), previous="low"), Blurred()) for step in (1.0, 2.0)
    )
    case, priors = make_case(volume), {"low": volume.astype(np.int16)}
    options = PredictOptions(probabilities=True)
    apart = [predict_case([model], case, options, priors=priors).probabilities for model in (fine, coarse)]
    together = predict_case([fine, coarse], case, options, priors=priors).probabilities
    assert together is not None
    expected = sum(one.whole().astype(np.float32) for one in apart if one is not None) / 2
    np.testing.assert_allclose(together.whole(), expected, atol=3e-3)


def test_prior_channels_are_one_hot_on_the_prepared_grid() -> None:
    task = make_task(LABELS, transpose=(1, 0, 2))
    volume = blobs((10, 16, 12))
    placement = next(iter(load_for([make_model(task, Voxelwise())], make_case(volume)).prepared.values())).placement
    channels = prior_channels(volume.astype(np.int16), task.plan, task.configuration, placement)
    cropped = placement.forward(volume)
    assert channels.shape == (2, *placement.prepared_shape)
    np.testing.assert_array_equal(channels[0].numpy(), cropped == 1)
    np.testing.assert_array_equal(channels[1].numpy(), cropped == 2)


def test_what_cannot_be_predicted_is_refused_with_the_case_named() -> None:
    task = make_task(LABELS)
    case = make_case(blobs((10, 10, 10)))
    with pytest.raises(ModelError, match="not finite") as caught:
        predict_case([make_model(task, Voxelwise(broken=True))], case)
    assert caught.value.case == "case"
    with pytest.raises(UsageError, match="no model"):
        predict_case([], case)
    with pytest.raises(UsageError, match="different labels"):
        predict_case(
            [make_model(task, Voxelwise()), make_model(make_task(class_labels(3)), Voxelwise(outputs=4))], case
        )
    # On a cube nothing but the mask would show it.
    with pytest.raises(UsageError, match="another axis first"):
        predict_case(
            [make_model(task, Voxelwise()), make_model(make_task(LABELS, transpose=(2, 0, 1)), Voxelwise())], case
        )
    with pytest.raises(DataError, match="modalities"):
        predict_case([make_model(make_task(LABELS, modalities=2), Voxelwise())], case)
    with pytest.raises(ResourceError, match="more memory") as refused:
        predict_case([make_model(task, Voxelwise())], case, PredictOptions(memory_gib=0.01))
    assert "accumulator" in str(refused.value)


def test_progress_adds_up_to_one() -> None:
    done: list[float] = []
    models = neighbours()
    predict_loaded(models, load_for(models, make_case(blobs((14, 20, 11)))), advance=done.append)
    assert sum(done) == pytest.approx(1.0)


def test_memory_plan_shrinks_what_it_can() -> None:
    configuration = make_task(class_labels(19), patch=(64, 64, 64), batch=1).configuration
    load = memory.Load((400, 512, 512), (400, 512, 512), inputs=1, outputs=20)
    held = memory.resident_gib()
    roomy = memory.plan_memory(load, configuration, memory_gib=held + 20)
    tight = memory.plan_memory(load, configuration, memory_gib=held + 2.2)
    assert (roomy.dtype, tight.dtype) == ("float32", "float16")
    assert tight.peak_gib < held + 2.2
    assert roomy.parts_gib["accumulator"] == pytest.approx(2 * tight.parts_gib["accumulator"])
    # Rows of a patch, not of the case: 64 of 400.
    assert tight.parts_gib["accumulator"] == pytest.approx(21 * 64 * 512 * 512 * 2 / 2**30)
