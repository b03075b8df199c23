"""Validation while training: the right Dice, the same cases every time, cheap for tiny cases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from inference_fakes import REGIONS, Blurred, Voxelwise, class_labels, make_case, make_model, make_task

from autofuse.dataset.types import IGNORE, Labels
from autofuse.inference.case import predict_case
from autofuse.inference.overlap import counts, dice, joint_histogram
from autofuse.inference.prediction import PredictOptions
from autofuse.inference.validate import make_validator
from autofuse.plan.task import Task
from autofuse.preprocessing.placement import place
from autofuse.preprocessing.prepare import PreparedCase
from autofuse.preprocessing.store import Store

LABELS = class_labels(2)


def make_store(folder: Path, task: Task, cases: dict[str, tuple[np.ndarray, np.ndarray]]) -> Store:
    """Cases (image, label), both (z, y, x), as preprocessing would leave them."""
    store = Store(folder)
    for name, (image, label) in cases.items():
        raw = make_case(image)
        placement = place(raw.geometry, tuple(slice(0, size) for size in image.shape), (0, 1, 2), (1.0, 1.0, 1.0))
        prepared = PreparedCase(
            name, image[None].astype(np.float32), np.array([True]), label.astype(np.int16), placement
        )
        store.write(prepared, preparation="x", source_stamp="x", dimensions=task.configuration.dimensions)
    return store


def whole_numbers(shape: tuple[int, int, int], highest: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, highest + 1, shape)


@pytest.mark.parametrize("patch", [(8, 8, 8), (8, 8)])
@pytest.mark.parametrize("shape", [(5, 7, 6), (13, 9, 17), (1, 7, 6)])
def test_a_perfect_network_has_dice_one_and_errors_count(
    tmp_path: Path, patch: tuple[int, ...], shape: tuple[int, int, int]
) -> None:
    task = make_task(LABELS, patch=patch)
    truth = whole_numbers(shape, 2, 0)
    wrong = truth.copy()
    wrong[0][truth[0] == 2] = 1
    store = make_store(tmp_path, task, {"a": (truth, truth), "b": (truth, truth), "c": (truth, wrong)})
    model = make_model(task, Voxelwise())
    perfect = make_validator(store, ["a", "b"], task)(model.nets, model.trainer)
    assert perfect.mean_dice == 1.0 and perfect.per_class == {"class 1": 1.0, "class 2": 1.0}
    found = make_validator(store, ["a", "c"], task)(model.nets, model.trainer)
    joint, _ = joint_histogram(wrong, truth, 3)
    expected = dice(*counts(joint, np.array([False, False, True])))
    assert expected is not None and found.per_class["class 2"] == pytest.approx((1 + expected) / 2)


def test_parts_of_several_processes_add_up_to_the_whole(tmp_path: Path) -> None:
    task = make_task(LABELS, patch=(8, 8, 8))
    shapes = {"a": (5, 7, 6), "b": (13, 9, 17), "c": (8, 8, 8), "d": (9, 4, 9), "e": (3, 3, 3)}
    cases = {name: (whole_numbers(shape, 2, 3), whole_numbers(shape, 2, 4)) for name, shape in shapes.items()}
    cases["e"] = (np.zeros((3, 3, 3)), np.zeros((3, 3, 3)))  # no class is there, so none has a Dice
    model, store = make_model(task, Voxelwise()), make_store(tmp_path, task, cases)
    validator = make_validator(store, list(cases), task)
    for ranks in (2, 3, 7):
        parts = [validator.part(model.nets, model.trainer, rank, ranks) for rank in range(ranks)]
        assert validator.result(sum(parts[1:], parts[0])) == validator(model.nets, model.trainer)


def test_it_sees_what_prediction_without_mirroring_sees(tmp_path: Path) -> None:
    task = make_task(LABELS, mirror_axes=(0, 1))
    image, truth = np.random.default_rng(1).normal(size=(14, 11, 19)), whole_numbers((14, 11, 19), 2, 2)
    model = make_model(task, Blurred())
    case = make_case(image.astype(np.float32))
    predicted = predict_case([model], case, PredictOptions(mirror=False)).indices
    joint, _ = joint_histogram(truth, predicted, 3)
    store = make_store(tmp_path, task, {"a": (image, truth)})
    found = make_validator(store, ["a"], task)(model.nets, model.trainer)
    for index in (1, 2):
        # The store keeps images as float16, so a few voxels may differ.
        assert found.per_class[f"class {index}"] == pytest.approx(dice(*counts(joint, np.arange(3) == index)), abs=5e-3)


def test_ignored_voxels_and_absent_classes_count_for_nothing(tmp_path: Path) -> None:
    task = make_task(Labels(classes=LABELS.classes, ignore=9))
    image = whole_numbers((6, 6, 6), 1, 0)
    label = np.where(np.arange(6)[:, None, None] < 3, image, IGNORE)
    seen = image.copy()
    seen[4:] = 2  # wrong, where nobody labelled
    store = make_store(tmp_path, task, {"a": (seen, label)})
    model = make_model(task, Voxelwise())
    found = make_validator(store, ["a"], task)(model.nets, model.trainer)
    assert found.per_class == {"class 1": 1.0, "class 2": None} and found.mean_dice == 1.0


def test_regions(tmp_path: Path) -> None:
    task = make_task(REGIONS)
    value = whole_numbers((9, 9, 9), 3, 0)
    label = np.array([0, 2, 1, 3])[value]  # indices of the raw values 2, 1, 4 that are painted
    store = make_store(tmp_path, task, {"a": (value, label)})
    model = make_model(task, Voxelwise(outputs=3, regions=True))
    assert make_validator(store, ["a"], task)(model.nets, model.trainer).mean_dice == 1.0


def test_cases_are_few_spread_and_fixed(tmp_path: Path) -> None:
    task = make_task(LABELS)
    volume = whole_numbers((4, 4, 4), 2, 0)
    ids = [f"case {number:02}" for number in range(10)]
    store = make_store(tmp_path, task, dict.fromkeys([*ids[:9], ids[9]], (volume, volume)))
    validator = make_validator(store, ids[::-1], task, max_cases=3)
    assert validator.ids == ("case 00", "case 03", "case 06")
    assert validator.patches == 3
    assert make_validator(store, ids, task, max_cases=None).ids == tuple(ids)
    model = make_model(task, Voxelwise())
    assert validator(model.nets, model.trainer) == validator(model.nets, model.trainer)


def test_a_cascade_validates_with_the_kept_masks(tmp_path: Path) -> None:
    task = make_task(LABELS, previous="coarse")
    image, truth = whole_numbers((9, 8, 8), 2, 0), whole_numbers((9, 8, 8), 2, 1)
    store = make_store(tmp_path, task, {"a": (image, truth)})
    model = make_model(task, Blurred())
    found = []
    for name, masks in (("blank", np.zeros_like(truth)), ("true", truth)):
        store.write_prior("a", name, masks)
        found.append(make_validator(store, ["a"], task, prior_run=name)(model.nets, model.trainer).mean_dice)
    assert found[0] != found[1]
