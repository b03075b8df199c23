"""Which patch each step sees, and only that read from the store: a function of (seed, stream, step), without memory."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from math import ceil, floor
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from autofuse.dataset.label_codes import region_membership
from autofuse.dataset.types import IGNORE
from autofuse.plan.task import Task
from autofuse.preprocessing.store import Store, StoredCase
from autofuse.preprocessing.taught import taught_case
from autofuse.sampling.crops import Crop, Crops
from autofuse.sampling.draw import AugmentationDraw, AugmentationRecipe, draw_augmentation

_ORDER = 0x0DE5
"""Keeps the random numbers of the order of cases apart from those of the patches."""

Point = tuple[int, int, int]


class StreamFields(Protocol):
    """What of a trainer's ``Stream`` matters here."""

    @property
    def name(self) -> str:
        """Key under which the batch reaches the objectives."""
        ...

    @property
    def share(self) -> float:
        """Share of the plan's batch size."""
        ...

    @property
    def foreground(self) -> float:
        """Share of patches centred on labelled foreground."""
        ...


class PatchSource:
    """Patches of some cases for one stream.

    Cases: every pass through them follows an order of its own, so that each is seen equally often; with ``weights``
    they are drawn independently. Places: a share ``stream.foreground`` of patches, evenly spread over steps, is centred
    on a voxel of a class drawn evenly from those that the case has; the rest lies anywhere in the image, or anywhere
    labelled where labels are sparse. Patches stay inside the image wherever it is large enough.

    Args:
        store: the prepared cases of the task's configuration.
        case_ids: those that feed the stream, in any order.
        recipe: how patches are augmented.
        weights: relative frequency by case id.
        prior_run: whose masks are the extra input of a cascade's second stage; needed if the task has ``previous``.
        taught_by: under which name the store keeps labels that take the place of the cases' own.
        rank, ranks: which of several processes that share each batch this is, and how many they are. Rank r of n makes
            the samples r, r + n, ... of the batch, which is rounded up to a multiple of n.
    """

    def __init__(
        self,
        store: Store,
        case_ids: Sequence[str],
        task: Task,
        stream: StreamFields,
        seed: int,
        *,
        recipe: AugmentationRecipe | None = None,
        weights: Mapping[str, float] | None = None,
        prior_run: str | None = None,
        taught_by: str | None = None,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self.store, self.task, self.stream, self.seed = store, task, stream, seed
        self.case_ids = tuple(sorted(case_ids))
        if not self.case_ids:
            raise ValueError(f"the stream {stream.name!r} has no case")
        self.recipe = recipe or AugmentationRecipe()
        self.batch = stream_batch(stream.share, task.configuration.batch, ranks)
        self.rank, self.ranks = rank, ranks
        self.patch = tuple(task.configuration.patch)
        self.prior_run = prior_run
        self._open = store.open if taught_by is None else lru_cache(None)(partial(self._taught, taught_by))
        first = 3 - len(self.patch)
        self.spacing_mm = tuple(task.configuration.spacing_mm[first:])
        self.mirror_axes = tuple(axis - first for axis in task.plan.mirror_axes if axis >= first)
        self.keep_zero = tuple(norm.scheme == "zscore_nonzero" for norm in task.plan.normalisation)
        self._shares: NDArray[np.float64] | None = None
        if weights is not None:
            raw = np.array([weights.get(case_id, 1.0) for case_id in self.case_ids], dtype=float)
            self._shares = raw / raw.sum()
        self._order = lru_cache(maxsize=4)(self._order_of_pass)

    def crop(self, step: int) -> Crops:
        """This rank's samples of the batch of ``step``, before augmentation. May be called from any thread.

        Raises:
            DataError: if a file of the store is damaged.
        """
        membership = torch.from_numpy(region_membership(self.task.labels)) if self.prior_run is not None else None
        return Crops(
            samples=tuple(self._sample(number) for number in self._numbers(step)[self.rank :: self.ranks]),
            patch=self.patch,
            spacing_mm=self.spacing_mm,
            keep_zero=self.keep_zero,
            prior_membership=membership,
            step_cases=self._cases_of_step(step) if self.ranks > 1 else (),
        )

    def _numbers(self, step: int) -> range:
        return range(step * self.batch, (step + 1) * self.batch)

    def _cases_of_step(self, step: int) -> tuple[str, ...]:
        return tuple(self._case_of(number, self._generator(number)) for number in self._numbers(step))

    def _generator(self, *key: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, zlib.crc32(self.stream.name.encode()), *key])

    def _order_of_pass(self, number: int) -> NDArray[np.intp]:
        return self._generator(_ORDER, number).permutation(len(self.case_ids))

    def _sample(self, number: int) -> Crop:
        generator = self._generator(number)
        case = self._open(self._case_of(number, generator))
        before = floor(number * self.stream.foreground)
        forced = floor((number + 1) * self.stream.foreground) > before
        centre = self._centre(case, generator, forced)
        draw = draw_augmentation(self.recipe, generator, self.patch, self.spacing_mm, self.mirror_axes, case.present)
        return self._read(case, centre, draw)

    def _taught(self, taught_by: str, case_id: str) -> StoredCase:
        return taught_case(self.store.open(case_id), taught_by)

    def _case_of(self, number: int, generator: np.random.Generator) -> str:
        if self._shares is not None:
            return self.case_ids[int(generator.choice(len(self.case_ids), p=self._shares))]
        number_of_pass, position = divmod(number, len(self.case_ids))
        return self.case_ids[int(self._order(number_of_pass)[position])]

    def _centre(self, case: StoredCase, generator: np.random.Generator, forced: bool) -> Point:
        """The voxel on which the patch is centred before it is moved inside the image."""
        voxels = case.foreground
        classes = [value for value in voxels if value > 0]
        if forced and classes:
            return _picked(voxels[classes[int(generator.integers(len(classes)))]], generator)
        if case.annotation == "sparse" and voxels:
            counts = np.array([case.record.class_voxels[value] for value in voxels], dtype=float)
            return _picked(voxels[list(voxels)[int(generator.choice(len(counts), p=counts / counts.sum()))]], generator)
        sizes = self._patch_3d()
        first, second, third = (
            size // 2 + int(generator.integers(0, max(0, length - size) + 1))
            for size, length in zip(sizes, case.shape, strict=True)
        )
        return first, second, third

    def _patch_3d(self) -> tuple[int, ...]:
        return (1, *self.patch) if len(self.patch) == 2 else self.patch

    def _read(self, case: StoredCase, centre: Point, draw: AugmentationDraw) -> Crop:
        """Read the box that the drawn patch sees: the patch itself, or what a turned or zoomed one encloses."""
        starts, middles = [], []
        for voxel, size, length in zip(centre, self._patch_3d(), case.shape, strict=True):
            start = min(max(voxel - size // 2, 0), length - size) if length >= size else -((size - length) // 2)
            starts.append(start)
            middles.append(start + (size - 1) / 2)
        reach = draw.reach(self.patch)
        reach = (0.0, *reach) if len(reach) == 2 else reach
        spans = [_span(middle, half) for middle, half in zip(middles, reach, strict=True)]
        images, label, prior = self._padded(case, spans)
        covered = None
        if case.record.partial_view:
            # Beyond the case's border images are 0 as everywhere; only what is NaN was not seen.
            covered = ~np.isnan(images)
            np.nan_to_num(images, copy=False, nan=0.0)
        inner = 3 - len(self.patch)

        def shaped(array: NDArray[Any]) -> NDArray[Any]:
            return array[..., 0, :, :] if inner else array

        return Crop(
            case=case.id,
            images=torch.from_numpy(shaped(images)),
            present=torch.from_numpy(case.present),
            label=torch.from_numpy(shaped(label)),
            label_fill=self._fill(case),
            prior=None if prior is None else torch.from_numpy(shaped(prior)),
            draw=draw,
            centre=tuple(middle - low for middle, (low, _) in zip(middles, spans, strict=True))[inner:],
            covered=None if covered is None else torch.from_numpy(shaped(covered)),
        )

    def _fill(self, case: StoredCase) -> int | tuple[int, ...]:
        """What labels are beyond the image: background for dense ones, else ``IGNORE``; one for each mask."""
        if not self.task.plan.masks_per_modality:
            return 0 if case.annotation == "dense" else IGNORE
        kinds = case.record.annotations or ("none",) * self.task.modalities
        return tuple(0 if kind == "dense" else IGNORE for kind in kinds)

    def _padded(
        self, case: StoredCase, spans: list[tuple[int, int]]
    ) -> tuple[NDArray[np.float32], NDArray[np.int16], NDArray[np.integer] | None]:
        """Images, label and prior inside ``spans``, which may reach beyond the image.

        Beyond it images are 0, as at prediction. Dense labels continue as background there, since the crop's border is
        the border of what is not zero; sparse ones as ``IGNORE``, since nobody looked there.
        """
        inner = [(max(low, 0), min(high, length)) for (low, high), length in zip(spans, case.shape, strict=True)]
        first, second, third = (slice(low, max(low, high)) for low, high in inner)
        images, label = case.read((first, second, third))
        prior = None if self.prior_run is None else case.read_prior(self.prior_run, (first, second, third))
        margins = [(a - low, high - b) for (low, high), (a, b) in zip(spans, inner, strict=True)]
        if label is None:
            own = self.task.plan.masks_per_modality
            label = np.full(images.shape if own else images.shape[1:], IGNORE, dtype=np.int16)
        if any(margin != (0, 0) for margin in margins):
            images = np.pad(images, [(0, 0), *margins])
            label = _padded_label(label, margins, self._fill(case))
            prior = None if prior is None else np.pad(prior, margins)
        return images, label, prior


def stream_batch(share: float, batch: int, ranks: int = 1) -> int:
    """A stream's samples in a step, of all ranks: its share of the batch, rounded up to as many (1 or more) each."""
    return ranks * -(-max(1, round(share * batch)) // ranks)


def _padded_label(
    label: NDArray[np.int16], margins: list[tuple[int, int]], fill: int | tuple[int, ...]
) -> NDArray[np.int16]:
    if isinstance(fill, int):
        return np.pad(label, margins, constant_values=fill)
    return np.stack([np.pad(one, margins, constant_values=beyond) for one, beyond in zip(label, fill, strict=True)])


def _span(middle: float, half: float) -> tuple[int, int]:
    """Voxels from the first to one after the last that linear interpolation within ``half`` of ``middle`` needs."""
    return floor(middle - half + 1e-6), ceil(middle + half - 1e-6) + 1


def _picked(voxels: NDArray[np.int16], generator: np.random.Generator) -> Point:
    first, second, third = (int(value) for value in voxels[int(generator.integers(len(voxels)))])
    return first, second, third
