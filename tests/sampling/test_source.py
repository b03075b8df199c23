"""Which patches are drawn, from where, how often, and what of the store is read for them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from prepared_cases import fill_store, raw_case, tiny_plan

from autofuse.dataset.types import IGNORE
from autofuse.plan.task import Task
from autofuse.plan.types import Plan
from autofuse.preprocessing.store import Store, StoredCase
from autofuse.sampling.augmentation import augment
from autofuse.sampling.draw import NO_AUGMENTATION, AugmentationRecipe
from autofuse.sampling.source import PatchSource


@dataclass(frozen=True)
class Wanted:
    """The fields of a trainer's stream that a source reads."""

    name: str = "labelled"
    share: float = 1.0
    foreground: float = 1 / 3


def _task(plan: Plan) -> Task:
    return Task(plan, plan.configurations[0])


def _source(store: Store, plan: Plan, stream: Wanted | None = None, **options: object) -> PatchSource:
    recipe = options.pop("recipe", NO_AUGMENTATION)
    return PatchSource(store, store.case_ids, _task(plan), stream or Wanted(), 7, recipe=recipe, **options)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return tiny_plan(patch=(12, 16, 16), batch=3)


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory, plan: Plan) -> Store:
    cases = [raw_case(f"case {index}", seed=index) for index in range(4)]
    return fill_store(tmp_path_factory.mktemp("dense"), plan, cases)


@pytest.fixture(scope="module")
def sparse(tmp_path_factory: pytest.TempPathFactory, plan: Plan) -> Store:
    return fill_store(tmp_path_factory.mktemp("sparse"), plan, [raw_case("a", scribbled=True)])


def test_a_patch_is_what_the_store_holds_there(dense: Store, plan: Plan) -> None:
    source = _source(dense, plan)
    for step in range(4):
        crops = source.crop(step)
        batch = augment(crops)
        assert batch.target is not None
        assert batch.image.shape == (3, 2, 12, 16, 16)
        for sample, name in enumerate(batch.cases):
            images, label = dense.open(name).read()
            windows = np.lib.stride_tricks.sliding_window_view(images[0], (12, 16, 16))
            corner = batch.image[sample, 0, 0, 0, 0].item()
            found = [
                tuple(at)
                for at in np.argwhere(windows[..., 0, 0, 0] == corner)
                if np.array_equal(windows[tuple(at)], batch.image[sample, 0])
            ]
            assert len(found) == 1
            box = tuple(slice(low, low + size) for low, size in zip(found[0], (12, 16, 16), strict=True))
            assert np.array_equal(images[:, *box], batch.image[sample])
            assert label is not None
            assert np.array_equal(label[box], batch.target[sample])


def test_only_the_patch_is_read_and_a_turned_patch_reads_what_it_sees(
    dense: Store, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    read = StoredCase.read

    def counted(self: StoredCase, box: object = None) -> object:
        sizes.append(int(np.prod([part.stop - part.start for part in box])))  # type: ignore[attr-defined]
        return read(self, box)  # type: ignore[arg-type]

    monkeypatch.setattr(StoredCase, "read", counted)
    _source(dense, plan).crop(0)
    assert sizes == [12 * 16 * 16] * 3
    sizes.clear()
    source = _source(dense, plan, recipe=AugmentationRecipe(rotation=0.5, scaling=0))
    straight = [crop.draw.matrix is None for step in range(6) for crop in source.crop(step).samples]
    assert 0 < sum(straight) < len(straight)
    for size, is_straight in zip(sizes, straight, strict=True):
        assert (size == 12 * 16 * 16) == is_straight


def test_a_batch_is_a_function_of_seed_stream_and_step(dense: Store, plan: Plan) -> None:
    recipe = AugmentationRecipe(rotation=0.5, noise=0.5, gamma=0.5)
    first, again = (_source(dense, plan, recipe=recipe) for _ in range(2))
    for step in range(3):
        first.crop(step)
    mine, theirs = augment(first.crop(7)), augment(again.crop(7))
    assert mine.cases == theirs.cases
    assert torch.equal(mine.image, theirs.image)
    other = augment(_source(dense, plan, Wanted(name="other"), recipe=recipe).crop(7))
    assert not torch.equal(mine.image, other.image)
    assert not torch.equal(mine.image, augment(first.crop(8)).image)


def test_every_case_is_seen_equally_often_in_changing_order(dense: Store, plan: Plan) -> None:
    source = _source(dense, plan)
    seen = [crop.case for step in range(16) for crop in source.crop(step).samples]
    for start in range(0, len(seen), 4):
        assert sorted(seen[start : start + 4]) == list(dense.case_ids)
    assert len({tuple(seen[start : start + 4]) for start in range(0, len(seen), 4)}) > 3


def test_weights_change_how_often_a_case_is_seen(dense: Store, plan: Plan) -> None:
    weights = dict.fromkeys(dense.case_ids, 0.0) | {"case 2": 1.0}
    source = _source(dense, plan, weights=weights)
    assert {crop.case for step in range(5) for crop in source.crop(step).samples} == {"case 2"}


@pytest.mark.parametrize("share", [0.0, 1 / 3, 1.0])
def test_share_of_patches_on_foreground(dense: Store, plan: Plan, share: float) -> None:
    source = _source(dense, plan, Wanted(foreground=share))
    forced: list[bool] = []
    centre = source._centre

    def watched(case: StoredCase, generator: np.random.Generator, wanted: bool) -> tuple[int, int, int]:
        point = centre(case, generator, wanted)
        forced.append(wanted)
        if wanted:
            _, label = case.read()
            assert label is not None
            assert label[point] > 0
        return point

    source._centre = watched  # type: ignore[method-assign]
    for step in range(20):
        source.crop(step)
    assert abs(sum(forced) - share * len(forced)) < 1
    if share == 1.0:
        values = [int((crop.label > 0).sum()) for step in range(10) for crop in source.crop(step).samples]
        assert min(values) > 0


def test_classes_are_drawn_evenly(dense: Store, plan: Plan) -> None:
    source = _source(dense, plan, Wanted(foreground=1.0))
    counts: Counter[int] = Counter()
    case = dense.open("case 0")
    _, label = case.read()
    assert label is not None
    for number in range(300):
        counts[int(label[source._centre(case, np.random.default_rng(number), True)])] += 1
    assert set(counts) == {1, 2}  # one has four times the voxels of the other
    assert abs(counts[1] - 150) < 45


def test_sparse_labels_draw_labelled_voxels_background_too(sparse: Store, plan: Plan) -> None:
    source = _source(sparse, plan, Wanted(foreground=0.0))
    case = sparse.open("a")
    _, label = case.read()
    assert label is not None
    found = {int(label[source._centre(case, np.random.default_rng(number), False)]) for number in range(200)}
    assert found == {0, 1, 2}
    for step in range(10):
        for crop in source.crop(step).samples:
            assert int((crop.label != IGNORE).sum()) > 0


def test_beyond_the_border(tmp_path: Path) -> None:
    plan = tiny_plan(patch=(16, 48, 16), batch=1)
    cases = [raw_case("dense", (20, 22, 24)), raw_case("sparse", (20, 22, 24), scribbled=True)]
    store = fill_store(tmp_path, plan, [*cases, raw_case("none", (20, 22, 24), labelled=False)])
    for name, fill in (("dense", 0), ("sparse", IGNORE), ("none", IGNORE)):
        source = PatchSource(store, [name], _task(plan), Wanted(), 0, recipe=NO_AUGMENTATION)
        batch = augment(source.crop(0))
        assert batch.target is not None
        outside = [*range(13), *range(35, 48)]
        assert bool((batch.image[:, :, :, outside] == 0).all())
        assert bool((batch.target[:, :, outside] == fill).all())
        assert batch.image[:, :, :, 13:35].std() > 0.5
        if name == "none":
            assert bool((batch.target == IGNORE).all())


def test_slices_of_a_volume(tmp_path: Path) -> None:
    plan = tiny_plan(patch=(16, 20), batch=5)
    store = fill_store(tmp_path, plan, [raw_case("a")])
    source = _source(store, plan, Wanted(foreground=0.4), recipe=AugmentationRecipe(rotation=0.5))
    batch = augment(source.crop(3))
    assert batch.image.shape == (5, 2, 16, 20)
    assert batch.target is not None
    assert batch.target.shape == (5, 16, 20)
    assert batch.spacing_mm == (1.0, 1.0)
    on_foreground = _source(store, plan, Wanted(foreground=1.0)).crop(0)
    assert all(int((crop.label > 0).sum()) > 0 for crop in on_foreground.samples)


def test_share_of_the_batch(dense: Store, plan: Plan) -> None:
    assert len(_source(dense, plan, Wanted(share=0.34)).crop(0).samples) == 1
    assert len(_source(dense, plan, Wanted(share=0.01)).crop(0).samples) == 1
    assert len(_source(dense, plan, Wanted(share=0.67)).crop(0).samples) == 2


def test_prior_follows_the_image(dense: Store, plan: Plan) -> None:
    for name in dense.case_ids:
        _, label = dense.open(name).read()
        assert label is not None
        dense.write_prior(name, "low", label)
    recipe = AugmentationRecipe(rotation=1.0, scaling=1.0)
    batch = augment(_source(dense, plan, recipe=recipe, prior_run="low").crop(0))
    assert batch.prior is not None
    assert batch.target is not None
    assert batch.prior.shape == (3, 2, 12, 16, 16)
    for channel in range(2):
        assert torch.equal(batch.prior[:, channel] > 0, batch.target == channel + 1)
    assert batch.inputs().shape[1] == 4
