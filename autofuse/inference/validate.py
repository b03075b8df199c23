"""Dice of a network in training on held-out cases, on the prepared grid and without mirroring."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from autofuse.dataset.label_codes import region_indices, region_membership
from autofuse.dataset.types import Labels
from autofuse.foundation.errors import DataError
from autofuse.foundation.machine import Precision, default_precision
from autofuse.inference.memory import accumulator_rows, tile_batch_size
from autofuse.inference.overlap import counts, dice, joint_histogram
from autofuse.inference.tiles import STEP, tiling
from autofuse.inference.window import View, WindowPlan, single_tiles, sliding_window
from autofuse.plan.task import Task
from autofuse.preprocessing.store import Store, StoredCase
from autofuse.sampling.batch import Batch
from autofuse.training.state import ValidationResult
from autofuse.training.trainer import Trainer

MAX_CASES = 16
"""Held-out cases that a validation looks at: evenly spread over the sorted ids, the same ones every time."""

UNDEFINED = -1.0
"""Stands for a Dice that a case does not define."""

CACHE_BYTES = 256 << 20
"""Cases that take less than this together stay in memory between validations."""

Looked = tuple[View, NDArray[np.int16]]
Judged = tuple[int, NDArray[np.int16], NDArray[np.int16]]
"""Number of the network's head, its class indices and the true ones (z, y, x)."""


@dataclass(frozen=True)
class Validator:
    """Call it with networks in evaluation mode and their trainer; it gives their mean Dice.

    Ignored voxels count for nothing. A class's Dice is the mean over the cases that have it, in the reference or the
    prediction; the mean Dice is that of the classes (0 if no class occurs). Where modalities carry masks of their own,
    each head is held against the mask of its modality, and each mask counts like a case.

    Attributes:
        ids: the cases looked at.
        precision: of the forward pass; None for the plan's, where the device is of the same kind.
        prior_run: whose masks are the extra input of a cascade's second stage.
    """

    store: Store
    ids: tuple[str, ...]
    task: Task
    precision: Precision | None = None
    prior_run: str | None = None
    _cache: dict[str, Looked] = field(default_factory=dict, repr=False)

    @cached_property
    def patches(self) -> int:
        """Tiles that one validation takes."""
        return sum(self._tiles(case) for case in self._cases())

    def __call__(self, nets: nn.ModuleDict, trainer: Trainer) -> ValidationResult:
        """Mean Dice over classes, and per class or region (None where no case has it)."""
        return self.result(self.part(nets, trainer, 0, 1))

    def part(self, nets: nn.ModuleDict, trainer: Trainer, rank: int, count: int) -> Tensor:
        """(masks, classes) float64: the Dice of every ``count``-th case from ``rank`` on, 0 for the other cases.

        A case has as many masks as the network has heads. ``UNDEFINED`` stands for a mask that it lacks, and for a
        class that it has neither in the reference nor in the prediction.
        """
        device = next(nets.parameters()).device
        members = region_membership(self.task.labels)
        heads = self._heads
        rows = torch.zeros(len(self.ids) * heads, len(members), dtype=torch.float64)
        for number, masks in self._predictions(nets, trainer, device, rank, count):
            rows[number * heads : (number + 1) * heads] = UNDEFINED
            for head, predicted, truth in masks:
                joint, _ = joint_histogram(truth, predicted, members.shape[1])
                scores = [dice(*counts(joint, member)) for member in members]
                known = [UNDEFINED if score is None else score for score in scores]
                rows[number * heads + head] = torch.tensor(known, dtype=torch.float64)
        return rows

    def result(self, scores: Tensor) -> ValidationResult:
        """Means of all cases' ``scores``, which have come together from one or several processes."""
        rows = scores.tolist()
        per_class: dict[str, float | None] = {}
        for index, item in enumerate(self.task.labels.classes):
            defined = [value for row in rows if (value := row[index]) != UNDEFINED]
            per_class[item.name] = float(np.mean(defined)) if defined else None
        means = [value for value in per_class.values() if value is not None]
        return ValidationResult(float(np.mean(means)) if means else 0.0, per_class)

    def _predictions(
        self, nets: nn.ModuleDict, trainer: Trainer, device: torch.device, rank: int, count: int
    ) -> Iterator[tuple[int, list[Judged]]]:
        """Number and masks of a rank's cases; cases of a single tile go through side by side.

        Numbers are in the order in which one process looks at the cases: those of several tiles first.
        """

        def segment(batch: Batch) -> Tensor:
            if self._heads == 1:
                return trainer.segment(nets, batch)
            return trainer.segment_each(nets, batch).flatten(1, 2)

        ordered = sorted(self._cases(), key=lambda case: self._tiles(case) == 1)
        mine = list(enumerate(ordered))[rank::count]
        several = [item for item in mine if self._tiles(item[1]) > 1]
        single = [item for item in mine if self._tiles(item[1]) == 1]
        for number, case in several:
            view, truth = self._look(case)
            plan = self._plan(case.shape, device)
            parts = [self._winners(rows.values) for rows in sliding_window(segment, view, plan)]
            yield number, self._judged(case, np.concatenate(parts, axis=1), truth)
        size = tile_batch_size(self.task.configuration)
        for start in range(0, len(single), size):
            together = single[start : start + size]
            looked = [self._look(case) for _, case in together]
            plan = self._plan(together[0][1].shape, device)
            logits = single_tiles(segment, [view for view, _ in looked], plan)
            for values, (_, truth), (number, case) in zip(logits, looked, together, strict=True):
                yield number, self._judged(case, self._winners(values), truth)

    @property
    def _heads(self) -> int:
        return self.task.modalities if self.task.plan.masks_per_modality else 1

    def _winners(self, logits: Tensor) -> NDArray[np.int16]:
        """(heads, ...) class indices of logits (heads * C, ...)."""
        heads = logits.reshape(self._heads, self.task.outputs, *logits.shape[1:])
        return np.stack([winners(head, self.task.labels) for head in heads])

    def _judged(self, case: StoredCase, predicted: NDArray[np.int16], truth: NDArray[np.int16]) -> list[Judged]:
        """The case's mask, or those that its modalities have."""
        if self._heads == 1:
            return [(0, predicted[0], truth)]
        masks = enumerate(case.record.annotations)
        return [(head, predicted[head], truth[head]) for head, kind in masks if kind != "none" and case.present[head]]

    def _cases(self) -> list[StoredCase]:
        return [self.store.open(case_id) for case_id in self.ids]

    def _tiles(self, case: StoredCase) -> int:
        return tiling(case.shape, _patch_3d(self.task)).count

    def _look(self, case: StoredCase) -> Looked:
        if case.id in self._cache:
            return self._cache[case.id]
        images, label = case.read()
        if label is None:
            raise DataError("A case without a label cannot validate.", case=case.id)
        prior = None
        if self.prior_run is not None:
            earlier = torch.from_numpy(case.read_prior(self.prior_run)).long().clamp_(min=0)
            prior = torch.from_numpy(region_membership(self.task.labels))[:, earlier]
        view = View(
            torch.from_numpy(images),
            torch.from_numpy(case.present),
            prior,
            case.id,
            case.spacing_mm,
            case.record.partial_view,
        )
        if self._fits_cache:
            self._cache[case.id] = view, label
        return view, label

    @cached_property
    def _fits_cache(self) -> bool:
        channels = 4 * (self.task.modalities + self.task.prior_channels) + 2 * self._heads
        return sum(channels * math.prod(case.shape) for case in self._cases()) <= CACHE_BYTES

    def _plan(self, shape: Sequence[int], device: torch.device) -> WindowPlan:
        configuration, budget = self.task.configuration, self.task.plan.budget
        batch = tile_batch_size(configuration)
        planned = budget.precision if budget.device == device.type else default_precision(device.type)
        return WindowPlan(
            patch=configuration.patch,
            outputs=self._heads * self.task.outputs,
            batch=batch,
            rows=accumulator_rows(shape, configuration, batch, STEP),
            device=device,
            precision=self.precision or planned,
        )


def make_validator(
    store: Store,
    ids: Sequence[str],
    task: Task,
    *,
    max_cases: int | None = MAX_CASES,
    precision: Precision | None = None,
    prior_run: str | None = None,
) -> Validator:
    """A validator on at most ``max_cases`` of the held-out cases ``ids``, evenly spread over the sorted ids."""
    ordered = sorted(ids)
    count = len(ordered) if max_cases is None else min(max_cases, len(ordered))
    chosen = tuple(ordered[i * len(ordered) // count] for i in range(count))
    return Validator(store, chosen, task, precision, prior_run)


def winners(logits: Tensor, labels: Labels) -> NDArray[np.int16]:
    """(...) class indices of logits (C, ...), as masks are painted; regions where the logit is positive."""
    if labels.has_regions:
        painted = torch.zeros(logits.shape[1:], dtype=torch.int16, device=logits.device)
        for values, index in zip(logits, region_indices(labels), strict=True):
            painted.masked_fill_(values > 0, index)
    else:
        painted = logits.max(dim=0).indices.to(torch.int16)
    result: NDArray[np.int16] = painted.cpu().numpy()
    return result


def _patch_3d(task: Task) -> tuple[int, ...]:
    patch = task.configuration.patch
    return patch if len(patch) == 3 else (1, *patch)
