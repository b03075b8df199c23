"""Prepared cases on disk: whole or absent, checked, read in part; odd names; sampled coordinates; priors."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from prepared_cases import fill_store, raw_case, tiny_plan

from autofuse.dataset.types import IGNORE
from autofuse.foundation.errors import DataError, ModelError, ResourceError
from autofuse.preprocessing import store as store_module
from autofuse.preprocessing.arrays import read_array, write_array
from autofuse.preprocessing.labelled_voxels import sampled_voxels
from autofuse.preprocessing.prepare import prepare_case
from autofuse.preprocessing.store import CaseRecord, Store

ODD_NAMES = ("Zoë Müller", "it's", 'a "b"', "患者", "semi;colon&", "..", ".hidden", "x" * 240, "a%20b", "-rf")


def test_what_is_read_is_what_was_prepared(tmp_path: Path) -> None:
    plan = tiny_plan()
    raw = raw_case(absent=(1,))
    prepared = prepare_case(raw, plan, plan.configurations[0])
    case = fill_store(tmp_path, plan, [raw]).open("a")
    images, label = case.read()
    assert images.dtype == np.float32
    assert label is not None
    assert label.dtype == np.int16
    assert np.abs(images - prepared.images).max() < 5e-3
    assert np.array_equal(label, prepared.label)
    box = (slice(3, 20), slice(0, 34), slice(37, 38))
    part, part_label = case.read(box)
    assert part_label is not None
    assert np.array_equal(part, images[:, *box])
    assert np.array_equal(part_label, label[box])
    assert case.present.tolist() == [True, False]
    assert case.placement == prepared.placement
    assert case.record.class_voxels == tuple(int((label == value).sum()) for value in range(3))


def test_only_the_blocks_under_the_box_are_decompressed(tmp_path: Path) -> None:
    blosc2 = pytest.importorskip("blosc2")
    array = np.random.default_rng(0).normal(size=(2, 96, 96, 96)).astype(np.float16)
    write_array(tmp_path / "a.b2nd", array, 3)
    stored = blosc2.open(str(tmp_path / "a.b2nd"), mode="r")
    assert stored.chunks == (1, 64, 64, 64)
    assert stored.blocks == (1, 16, 16, 16)
    # A chunk that the box does not touch may be damaged without harm to it, and only to it.
    content = bytearray((tmp_path / "a.b2nd").read_bytes())
    middle = len(content) // 2
    content[middle + 1000 : middle + 200_000] = bytes(199_000)
    (tmp_path / "a.b2nd").write_bytes(content)
    part = read_array(tmp_path / "a.b2nd", (slice(0, 32), slice(0, 32), slice(0, 32)))
    assert np.array_equal(part[0], array[0, :32, :32, :32])
    try:
        whole = read_array(tmp_path / "a.b2nd")
    except RuntimeError:
        return
    assert not np.array_equal(whole, array)


def test_odd_names_have_folders_of_their_own(tmp_path: Path) -> None:
    plan = tiny_plan()
    raw = raw_case(shape=(18, 18, 18))
    cases = [raw_case(name, (18, 18, 18)) for name in ODD_NAMES]
    store = fill_store(tmp_path / "inner" / "store", plan, cases)
    assert Store(store.folder).case_ids == tuple(sorted(ODD_NAMES))
    assert len(list(store.folder.iterdir())) == len(ODD_NAMES)
    assert [item.name for item in (tmp_path / "inner").iterdir()] == ["store"]
    assert store.damaged(ODD_NAMES) == {}
    for name in ODD_NAMES:
        assert store.open(name).shape == raw.geometry.shape


@pytest.mark.parametrize("file", ["images.b2nd", "label.b2nd", "foreground.npy"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_damage_is_found_and_named(tmp_path: Path, file: str, damage: str) -> None:
    plan = tiny_plan()
    store = fill_store(tmp_path, plan, [raw_case("good"), raw_case("bad case")])
    store.verify(["good", "bad case"])
    path = tmp_path / "bad case" / file
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif damage == "truncate":
        path.write_bytes(content[:-7])
    else:
        path.unlink()
    with pytest.raises(DataError) as caught:
        store.verify(["good", "bad case"])
    assert caught.value.case == "bad case"
    assert file in str(caught.value.found)


def test_a_file_that_cannot_be_decompressed_names_the_case(tmp_path: Path) -> None:
    plan = tiny_plan()
    store = fill_store(tmp_path, plan, [raw_case("a")])
    for name in ("images.b2nd", "foreground.npy"):
        (tmp_path / "a" / name).write_bytes(b"nothing of the kind")
    with pytest.raises(DataError) as caught:
        store.open("a").read()
    assert caught.value.case == "a"
    with pytest.raises(DataError) as caught:
        _ = store.open("a").foreground
    assert caught.value.case == "a"


def test_a_changed_record_is_refused(tmp_path: Path) -> None:
    plan = tiny_plan()
    store = fill_store(tmp_path, plan, [raw_case("a")])
    path = tmp_path / "a" / "case.json"
    envelope = json.loads(path.read_text())
    envelope["value"]["annotation"] = "none"
    path.write_text(json.dumps(envelope))
    assert store.case_ids == ()
    with pytest.raises(ModelError):
        store.open("a")
    assert "a" in store.damaged(["a"])


def test_a_failed_write_leaves_the_old_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = tiny_plan()
    store = fill_store(tmp_path, plan, [raw_case("a")])
    before = (tmp_path / "a" / "images.b2nd").read_bytes()

    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store_module.np, "save", full)
    with pytest.raises(ResourceError):
        fill_store(tmp_path, plan, [raw_case("a", seed=5)])
    assert (tmp_path / "a" / "images.b2nd").read_bytes() == before
    assert os.listdir(tmp_path) == ["a"]  # noqa: PTH208
    assert store.damaged(["a"]) == {}


def test_large_intensities_are_not_squeezed_into_half_precision(tmp_path: Path) -> None:
    plan = tiny_plan(schemes=("none", "none"))
    raw = raw_case("a")
    assert raw.images[0] is not None
    raw.images[0].voxels[5, 5, 5] = 1e6
    images, _ = fill_store(tmp_path, plan, [raw]).open("a").read()
    assert images[0, 5, 5, 5] == 1e6


def test_sampled_voxels_are_of_their_class_and_the_same_each_time() -> None:
    label = np.zeros((60, 60, 60), dtype=np.int16)
    label[10:40, 10:40, 10:40] = 1
    label[50, 50, 50:53] = 2
    rows = sampled_voxels("a", label, "dense")
    assert np.array_equal(rows, sampled_voxels("a", label, "dense"))
    assert not np.array_equal(rows, sampled_voxels("b", label, "dense"))
    assert [(int(value), int((rows[:, 0] == value).sum())) for value in np.unique(rows[:, 0])] == [(1, 10_000), (2, 3)]
    assert np.array_equal(label[tuple(rows[:, 1:].T)], rows[:, 0])
    label[label == 0] = IGNORE
    label[0, 0, :5] = 0
    assert int((sampled_voxels("a", label, "sparse")[:, 0] == 0).sum()) == 5


def test_unlabelled_case(tmp_path: Path) -> None:
    case = fill_store(tmp_path, tiny_plan(), [raw_case("a", labelled=False)]).open("a")
    assert case.annotation == "none"
    assert case.read()[1] is None
    assert case.foreground == {}


def test_prior_of_an_earlier_stage(tmp_path: Path) -> None:
    store = fill_store(tmp_path, tiny_plan(), [raw_case("a")])
    masks = np.random.default_rng(0).integers(0, 3, store.open("a").shape)
    store.write_prior("a", "low-abc", masks)
    box = (slice(2, 9), slice(1, 3), slice(0, 30))
    assert np.array_equal(store.open("a").read_prior("low-abc", box), masks[box])
    many = masks * 100
    store.write_prior("a", "many", many)
    assert np.array_equal(store.open("a").read_prior("many"), many), "more classes than a byte holds"
    store.verify(["a"])
    path = tmp_path / "a" / "prior-low-abc.b2nd"
    path.write_bytes(path.read_bytes()[:-3])
    assert "prior-low-abc" in store.damaged(["a"])["a"]


def test_record_survives_json(tmp_path: Path) -> None:
    store = fill_store(tmp_path, tiny_plan(), [raw_case("a", spacing=(1 / 3, 0.1, 1.7))])
    record = store.open("a").record
    record.save(tmp_path / "again.json")
    assert CaseRecord.load(tmp_path / "again.json") == record
