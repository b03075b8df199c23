"""The phantom is what its options say, and no modality alone tells everything."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from autofuse.dataset import Dataset, RawCase, check_dataset, load_case, load_truth, make_splits, open_dataset
from autofuse.foundation.errors import UsageError
from autofuse.phantom import PhantomOptions, write_phantom

SMALL = PhantomOptions(cases=6, test_cases=1, shape=(24, 32, 28), spacing_mm=(2.0, 1.0, 1.0))


def _files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def _cases(dataset: Dataset) -> list[RawCase]:
    return [load_case(dataset, case) for case in dataset.cases]


def _voxels(raw: RawCase, modality: int) -> NDArray[np.int16]:
    image = raw.images[modality]
    assert image is not None
    return image.voxels


def _auc(positive: NDArray[np.float64], negative: NDArray[np.float64]) -> float:
    """Probability that a voxel of one kind is brighter than one of the other, whichever way round is better."""
    order = np.argsort(np.argsort(np.concatenate([positive, negative]), kind="stable"), kind="stable") + 1
    count = len(positive)
    area = (order[:count].sum() - count * (count + 1) / 2) / (count * len(negative))
    return float(max(area, 1 - area))


def test_same_seed_same_bytes_other_seed_other_bytes(tmp_path: Path) -> None:
    first = _files(write_phantom(tmp_path / "a", SMALL))
    assert _files(write_phantom(tmp_path / "b", SMALL)) == first
    other = _files(write_phantom(tmp_path / "c", replace(SMALL, seed=1)))
    assert other.keys() == first.keys()
    assert not {name for name in first if name.endswith(".nii.gz") and first[name] == other[name]}


@pytest.mark.parametrize(
    "options",
    [
        SMALL,
        replace(SMALL, modalities=1),
        replace(SMALL, modalities=5, cases=3),
        replace(SMALL, dimensions=2),
        replace(SMALL, shape=(5, 16, 16), spacing_mm=(8.0, 1.0, 1.0)),
        replace(SMALL, scribbles=0.03, unlabelled=2, missing=0.4, frames=2, shift_mm=3.0, modalities=3),
    ],
    ids=["plain", "one modality", "five modalities", "single slices", "coarse", "everything"],
)
def test_opens_and_passes_the_check(options: PhantomOptions, tmp_path: Path) -> None:
    folder = write_phantom(tmp_path / "phantom", options)
    report = check_dataset(folder, workers=0)
    assert report.problems == ()
    facts = report.facts
    assert facts is not None
    assert (facts.cases, facts.test_cases, facts.unlabelled) == (options.cases, options.test_cases, options.unlabelled)
    assert tuple(axis.maximum for axis in facts.shape) == options.grid
    assert tuple(axis.maximum for axis in facts.spacing_mm) == pytest.approx(options.spacing_mm)
    assert all(label.cases == options.cases - options.unlabelled for label in facts.labels)
    dataset = open_dataset(folder)
    assert all(load_truth(dataset, case) is not None for case in dataset.test_cases)


def test_one_modality_cannot_tell(tmp_path: Path) -> None:
    """With two modalities, the first shows the organ and not the lesion, the second the lesion and not the organ."""
    options = PhantomOptions(cases=8, test_cases=0, shape=(40, 40, 40), bias=0.0)
    pooled: dict[tuple[int, int], list[NDArray[np.float64]]] = {}
    for raw in _cases(open_dataset(write_phantom(tmp_path / "phantom", options))):
        for modality in (0, 1):
            voxels = _voxels(raw, modality)
            for tissue in (0, 1, 3):
                inside = (raw.label == tissue) & (voxels > 0)
                body = voxels[(raw.label == 0) & (voxels > 0)]
                part = (voxels[inside] - np.median(body)) / body.std()
                pooled.setdefault((modality, tissue), []).append(part)
    values = {key: np.concatenate(parts) for key, parts in pooled.items()}
    assert _auc(values[0, 1], values[0, 0]) > 0.9
    assert _auc(values[1, 1], values[1, 0]) < 0.6
    assert _auc(values[0, 3], values[0, 0]) < 0.6
    assert _auc(values[1, 3], values[1, 0]) > 0.9


def test_every_structure_is_seen_by_some_modality_but_all_by_none() -> None:
    for modalities in (2, 3, 4, 7):
        options = replace(SMALL, modalities=modalities)
        seen = [set(options.seen_in(modality)) for modality in range(modalities)]
        assert set.union(*seen) == {"organ", "vessel", "lesion"}
        assert all(0 < len(names) < 3 for names in seen)
    assert set(replace(SMALL, modalities=1).seen_in(0)) == {"organ", "vessel", "lesion"}


def _centre_mm(voxels: NDArray[np.int16], spacing: tuple[float, ...]) -> NDArray[np.float64]:
    return np.argwhere(voxels > 0).mean(axis=0) * spacing


@pytest.mark.parametrize("dimensions", [2, 3])
def test_shift_is_as_declared(dimensions: int, tmp_path: Path) -> None:
    options = replace(SMALL, shape=(40, 60, 60), spacing_mm=(1.5, 1.0, 1.0), shift_mm=4.0, dimensions=dimensions)
    folder = write_phantom(tmp_path / "phantom", options)
    told = json.loads((folder / "phantom.json").read_text())["cases"]
    directions = set()
    for raw in _cases(open_dataset(folder)):
        none, shift = (np.array(vector) for vector in told[raw.case.id]["shift_mm"])
        assert not none.any() and np.linalg.norm(shift) == pytest.approx(4.0, abs=1e-4)
        moved = _centre_mm(_voxels(raw, 1), options.spacing_mm) - _centre_mm(_voxels(raw, 0), options.spacing_mm)
        # The body is cut at the border of the image here and there, which moves its centre a little.
        np.testing.assert_allclose(moved, shift, atol=0.6)
        directions.add(tuple(np.sign(shift)))
    assert len(directions) > 1


def test_scribbles_are_as_dense_as_declared_and_true(tmp_path: Path) -> None:
    options = replace(SMALL, scribbles=0.02, shape=(32, 48, 48))
    dataset = open_dataset(write_phantom(tmp_path / "phantom", options))
    for raw in _cases(dataset):
        truth = load_truth(dataset, raw.case)
        assert truth is not None and raw.label is not None
        drawn = raw.label >= 0
        np.testing.assert_array_equal(raw.label[drawn], truth[0][drawn])
        assert drawn.mean() == pytest.approx(0.02, abs=0.001)
        for value in range(4):
            inside = truth[0] == value
            assert drawn[inside].sum() == max(4, round(0.02 * int(inside.sum())))


def test_missing_unlabelled_and_frames(tmp_path: Path) -> None:
    options = replace(SMALL, cases=10, missing=0.5, unlabelled=4, frames=2, modalities=3)
    folder = write_phantom(tmp_path / "phantom", options)
    dataset = open_dataset(folder)
    present = np.array([[image is not None for image in case.images] for case in dataset.cases])
    assert present.any(axis=1).all() and (present.sum(axis=0) >= 2).all() and not present.all()
    told = json.loads((folder / "phantom.json").read_text())["cases"]
    assert [told[case.id]["present"] for case in dataset.cases] == present.tolist()
    assert [case.label is None for case in dataset.cases] == [False] * 6 + [True] * 4
    assert {case.subject for case in dataset.cases} == {f"phantom_{k:03d}" for k in range(1, 6)}
    for train, held in make_splits(dataset).folds:
        assert not {name[:11] for name in train} & {name[:11] for name in held}
    one, two = (load_case(dataset, dataset.case(f"phantom_001_frame{k}")).label for k in (1, 2))
    other = load_case(dataset, dataset.case("phantom_002_frame1")).label
    assert one is not None and two is not None and other is not None
    organ = [label == 1 for label in (one, two, other)]
    overlap = [2 * (organ[0] & item).sum() / (organ[0].sum() + item.sum()) for item in organ]
    assert overlap[0] == 1 > overlap[1] > overlap[2]


def test_twelve_cases_take_seconds(tmp_path: Path) -> None:
    start = time.process_time()
    write_phantom(tmp_path / "phantom", PhantomOptions(cases=12, test_cases=0))
    assert time.process_time() - start < 8  # measured: 2 s


def test_a_phantom_is_made_once_and_overwrites_nothing(tmp_path: Path) -> None:
    folder = write_phantom(tmp_path / "phantom", SMALL)
    stamp = (folder / "dataset.json").stat().st_mtime_ns
    assert write_phantom(folder, SMALL) == folder
    assert (folder / "dataset.json").stat().st_mtime_ns == stamp
    with pytest.raises(UsageError, match="something else"):
        write_phantom(folder, replace(SMALL, seed=5))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(UsageError, match="something else"):
        write_phantom(tmp_path / "mine", SMALL)
    (tmp_path / "empty").mkdir()
    assert open_dataset(write_phantom(tmp_path / "empty", SMALL)).cases


@pytest.mark.parametrize(
    "changes",
    [
        {"cases": 0},
        {"shape": (32, 8, 8)},
        {"spacing_mm": (0.0, 1.0, 1.0)},
        {"modalities": 0},
        {"shift_mm": 50.0},
        {"scribbles": 1.5},
        {"unlabelled": 6},
        {"missing": 1.0},
        {"noise": -1.0},
        {"dimensions": 4},
        {"seed": -1},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_options_that_make_no_sense_are_named(changes: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=next(iter(changes))):
        write_phantom(tmp_path / "phantom", replace(SMALL, **changes))
    assert not (tmp_path / "phantom").exists()
