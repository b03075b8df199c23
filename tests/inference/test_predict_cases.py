"""A folder of cases: finished ones are skipped, bad ones named, others unharmed."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from inference_fakes import Voxelwise, class_labels, make_model, make_task

from autofuse.dataset.types import Case, Dataset, ImageFile, Modality
from autofuse.foundation import console
from autofuse.foundation.errors import DataError, ModelError, PartialError, ResourceError
from autofuse.foundation.locks import lock
from autofuse.images import read_label_image
from autofuse.images.geometry import Geometry
from autofuse.images.write import write_image
from autofuse.inference import folder
from autofuse.inference.folder import predict_cases, require_predicted
from autofuse.inference.overlap_threads import Told
from autofuse.inference.prediction import PredictOptions
from autofuse.inference.record import RECORDS
from autofuse.inference.simple import predict

LABELS = class_labels(2)
GEOMETRY = Geometry((6, 10, 9), (2.0, 0.7, 0.8), (-11.5, 20.25, 3.125))


@pytest.fixture(autouse=True)
def quiet() -> None:
    console.configure(quiet=True)


def make_dataset(root: Path, names: tuple[str, ...] = ("a", "b", "c"), modalities: int = 1) -> Dataset:
    generator = np.random.default_rng(3)
    cases = []
    for name in names:
        for m in range(modalities):
            voxels = generator.integers(0, 3, GEOMETRY.shape).astype(np.float32)
            write_image(root / f"{name}_{m:04}.nii.gz", voxels, GEOMETRY)
        files = tuple(ImageFile(path=f"{name}_{m:04}.nii.gz") for m in range(modalities))
        cases.append(Case(id=name, subject=name, images=files))
    return Dataset(
        name="fake",
        root=str(root),
        layout="images",
        modalities=tuple(Modality(name=f"modality {m}") for m in range(modalities)),
        labels=LABELS,
        cases=(),
        test_cases=tuple(cases),
    )


def make_models(bias: float = 0.0, **trainer: bool) -> list[folder.Model]:
    spacing = GEOMETRY.spacing_mm
    return [make_model(make_task(LABELS, spacing_mm=spacing), Voxelwise(**trainer), bias=bias)]  # type: ignore[arg-type]


@pytest.mark.parametrize("workers", [0, None])
def test_masks_lie_on_the_images_grid(tmp_path: Path, workers: int | None) -> None:
    dataset = make_dataset(tmp_path / "raw")
    outcomes = predict_cases(make_models(), dataset, dataset.test_cases, tmp_path / "out", workers=workers)
    assert [item.name for item in outcomes] == ["a", "b", "c"]
    require_predicted(outcomes)
    for item, case in zip(outcomes, dataset.test_cases, strict=True):
        assert item.value is not None and not item.value.kept
        mask = read_label_image(item.value.mask)
        image = read_label_image(dataset.path(case.images[0].path))  # type: ignore[union-attr]
        np.testing.assert_array_equal(mask.voxels, image.voxels)
        np.testing.assert_allclose(mask.geometry.affine(), image.geometry.affine(), atol=1e-6)


def test_finished_cases_are_skipped_until_something_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, out = make_dataset(tmp_path / "raw"), tmp_path / "out"
    read = []
    original = folder.load_case
    monkeypatch.setattr(folder, "load_case", lambda d, c, **k: read.append(c.id) or original(d, c, **k))

    def again(models: list[folder.Model], **options: object) -> list[str]:
        read.clear()
        require_predicted(predict_cases(models, dataset, dataset.test_cases, out, **options))  # type: ignore[arg-type]
        return sorted(read)

    assert again(make_models()) == ["a", "b", "c"]
    assert again(make_models()) == []
    os.utime(dataset.path("b_0000.nii.gz"), ns=(1, 1))
    assert again(make_models()) == ["b"]
    (out / "c.nii.gz").unlink()
    assert again(make_models()) == ["c"]
    damaged = bytearray((out / "a.nii.gz").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (out / "a.nii.gz").write_bytes(damaged)
    assert again(make_models()) == ["a"]
    (out / RECORDS / "a.json").write_text("{")
    assert again(make_models()) == ["a"]
    assert again(make_models(bias=0.01)) == ["a", "b", "c"], "another model"
    assert again(make_models(bias=0.01), mirror=False) == ["a", "b", "c"], "another option"
    assert again(make_models(bias=0.01), mirror=False, memory_gib=20.0) == [], "memory changes no mask"


def test_one_bad_case_does_not_stop_the_others(tmp_path: Path) -> None:
    dataset, out = make_dataset(tmp_path / "raw", ("a", "b", "c", "d")), tmp_path / "out"
    dataset.path("b_0000.nii.gz").write_bytes(b"no image")
    dataset.path("c_0000.nii.gz").unlink()
    outcomes = predict_cases(make_models(), dataset, dataset.test_cases, out)
    assert [item.error is None for item in outcomes] == [True, False, False, True]
    with pytest.raises(PartialError, match="2 of 4") as caught:
        require_predicted(outcomes)
    assert caught.value.case == "b, c" and caught.value.exit_code == 6
    assert sorted(path.name for path in out.glob("*.nii.gz")) == ["a.nii.gz", "d.nii.gz"]


def test_where_all_cases_fail_the_reason_decides(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "raw")
    outcomes = predict_cases(make_models(broken=True), dataset, dataset.test_cases, tmp_path / "out")
    with pytest.raises(ModelError, match="3 of 3"):
        require_predicted(outcomes)
    for case in dataset.test_cases:
        dataset.path(case.images[0].path).unlink()  # type: ignore[union-attr]
    with pytest.raises(DataError):
        require_predicted(predict_cases(make_models(), dataset, dataset.test_cases, tmp_path / "out"))


def test_an_unforeseen_error_is_the_cases_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = make_dataset(tmp_path / "raw")
    original = folder.predict_loaded

    def fails_on_b(models, case, *args, **kwargs):  # type: ignore[no-untyped-def]
        if case.id == "b":
            raise ZeroDivisionError("oh")
        return original(models, case, *args, **kwargs)

    monkeypatch.setattr(folder, "predict_loaded", fails_on_b)
    outcomes = predict_cases(make_models(), dataset, dataset.test_cases, tmp_path / "out")
    assert [item.error is None for item in outcomes] == [True, False, True]
    assert "ZeroDivisionError" in str(outcomes[1].error)


def test_where_two_cases_do_not_fit_they_go_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = make_dataset(tmp_path / "raw")
    tried = []
    original = folder.predict_loaded

    def tight(models, case, *args, ahead=False, **kwargs):  # type: ignore[no-untyped-def]
        tried.append((case.id, ahead))
        if ahead:
            raise ResourceError("too much")
        return original(models, case, *args, **kwargs)

    monkeypatch.setattr(folder, "predict_loaded", tight)
    require_predicted(predict_cases(make_models(), dataset, dataset.test_cases, tmp_path / "out"))
    assert tried == [("a", True), ("a", False), ("b", False), ("c", False)]


def test_a_modality_that_training_always_had_must_be_there(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "raw", modalities=2)
    lacking = [case.model_copy(update={"images": (case.images[0], None)}) for case in dataset.test_cases]
    models = [make_model(make_task(LABELS, spacing_mm=GEOMETRY.spacing_mm, modalities=2), Voxelwise())]
    outcomes = predict_cases(models, dataset, lacking[:1], tmp_path / "out")
    assert isinstance(outcomes[0].error, DataError) and "no modality 1" in str(outcomes[0].error)
    optional = dataset.model_copy(
        update={"modalities": (dataset.modalities[0], Modality(name="modality 1", optional=True))}
    )
    require_predicted(predict_cases(models, optional, lacking[:1], tmp_path / "out"))


def test_a_cascade_reads_the_masks_of_its_first_stage(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "raw")
    require_predicted(predict_cases(make_models(), dataset, dataset.test_cases, tmp_path / "first"))
    task = make_task(LABELS, spacing_mm=GEOMETRY.spacing_mm, previous="coarse")
    models, priors = [make_model(task, Voxelwise())], {"coarse": tmp_path / "first"}
    outcomes = predict_cases(models, dataset, dataset.test_cases, tmp_path / "second", priors=priors)
    require_predicted(outcomes)
    (tmp_path / "first" / "b.nii.gz").unlink()
    outcomes = predict_cases(models, dataset, dataset.test_cases, tmp_path / "second", priors=priors)
    assert [item.error is None for item in outcomes] == [True, False, True]


def test_probabilities_are_kept_as_half_floats(tmp_path: Path) -> None:
    import blosc2

    dataset = make_dataset(tmp_path / "raw", ("a",))
    options = PredictOptions(probabilities=True)
    (outcome,) = predict_cases(make_models(), dataset, dataset.test_cases, tmp_path / "out", options=options)
    assert outcome.value is not None and outcome.value.probabilities is not None
    stored = blosc2.open(str(outcome.value.probabilities), mode="r")[:]
    assert stored.shape == (3, *GEOMETRY.shape) and stored.dtype == np.float16
    np.testing.assert_array_equal(stored.argmax(0), read_label_image(outcome.value.mask).voxels)
    (again,) = predict_cases(make_models(), dataset, dataset.test_cases, tmp_path / "out", options=options)
    assert again.value == replace(outcome.value, kept=True)


def test_two_at_once_in_one_folder_are_refused(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "raw", ("a",))
    with lock(tmp_path / "out" / RECORDS), pytest.raises(ResourceError, match="Another process"):
        predict_cases(make_models(), dataset, dataset.test_cases, tmp_path / "out")


def test_progress_is_exactly_one_a_case() -> None:
    told: list[float] = []
    shares = Told(lambda n=1, note="": told.append(n), "a")
    for _ in range(7):
        shares(1 / 7)
    shares.finish()
    assert sum(told) == 1.0 and len(told) in (7, 8)


def test_one_call_for_notebooks(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "raw", ("a",))
    path = dataset.path("a_0000.nii.gz")
    (model,) = make_models()
    from_path = predict(model, [path], device="cpu")
    by_name = predict([model], {"modality 0": str(path)}, device="cpu")
    voxels = read_label_image(path).voxels
    from_array = predict(model, [(voxels.astype(np.float32), GEOMETRY)], device="cpu")
    for prediction in (from_path, by_name, from_array):
        np.testing.assert_array_equal(prediction.raw_labels(), voxels)
    from_path.save(tmp_path / "mask.nii.gz")
    assert read_label_image(tmp_path / "mask.nii.gz").geometry.same_grid(GEOMETRY)
