"""The members of an ensemble on one case: their mean probabilities on the native grid, within planned memory.

Members run one after another. Within one, tiles and mirrorings are averaged as logits, as nnU-Net does; over members
that see the case on one grid, probabilities are averaged there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from autofuse.foundation.machine import Precision, default_precision
from autofuse.inference.export import Chunk, Grids, activate, target_chunks
from autofuse.inference.memory import Extras, Load, MemoryPlan, plan_memory
from autofuse.inference.prediction import LoadedCase, PredictOptions, grid_key, prior_key
from autofuse.inference.spool import Spool
from autofuse.inference.window import Rows, View, WindowPlan, sliding_window
from autofuse.plan.task import Task
from autofuse.plan.types import Configuration
from autofuse.preprocessing.placement import Placement
from autofuse.sampling.batch import Batch
from autofuse.training.model import AnyModel, Model

Advance = Callable[[float], None]
Weighted = tuple[AnyModel, float]

_SPOOL_ROWS_BYTES = 64 << 20


class Members:
    """Runs the members of an ensemble on one case and hands out their mean, row by finished row."""

    def __init__(
        self, case: LoadedCase, options: PredictOptions, members: int, extras: Extras, advance: Advance | None
    ) -> None:
        self.case, self.options, self.members, self.extras = case, options, members, extras
        self.device = torch.device(options.device)
        self._advance = advance
        self._plans: dict[tuple[str, Configuration], MemoryPlan] = {}

    def memory(self, task: Task) -> MemoryPlan:
        """The plan of memory for one configuration; made once, before anything is taken."""
        key = grid_key(task), task.configuration
        if key not in self._plans:
            prepared = self.case.prepared[key[0]]
            load = Load(
                prepared=prepared.placement.prepared_shape,
                native=self.case.geometry.shape,
                inputs=len(prepared.images) + task.prior_channels,
                outputs=task.outputs,
                extras=self.extras,
            )
            self._plans[key] = plan_memory(
                load,
                task.configuration,
                memory_gib=self.options.memory_gib,
                step=self.options.step,
                case=self.case.id,
                device=self.device,
            )
        return self._plans[key]

    def spool(self, outputs: int, shape: tuple[int, int, int]) -> Spool:
        """Sums in memory where every plan has room for them, else in a file."""
        roomy = all(plan.spool_in_memory for plan in self._plans.values())
        folder = self.options.scratch or Path(tempfile.gettempdir())
        return Spool(outputs, shape, None if roomy else folder)

    def chunks(self, group: Sequence[Weighted], *, keep_all: bool) -> Iterator[Chunk]:
        """Probabilities of one group on the native grid, multiplied by its members' weights."""
        task = group[0][0].task
        placement = self.case.prepared[grid_key(task)].placement
        grids = Grids(placement.prepared_shape, placement.cropped_shape, task.configuration.anisotropic_axis)
        alone = len(group) == 1 and group[0][1] == 1.0
        rows = self._logits(group[0][0]) if alone else self._mean(group, placement.prepared_shape)
        yield from target_chunks(
            rows, grids, task.labels, logits=alone, keep_all=keep_all, thresholds=self.options.thresholds
        )

    def framed(self, group: Sequence[Weighted], frame: Placement, *, keep_all: bool) -> Iterator[Chunk]:
        """As ``chunks``, on the grid of ``frame``, which holds all that the group sees: the rest is background.

        Members whose plans register otherwise may crop otherwise; then all outputs have to be kept.
        """
        task = group[0][0].task
        placement = self.case.prepared[grid_key(task)].placement
        chunks = self.chunks(group, keep_all=keep_all)
        if placement.crop == frame.crop:
            return chunks
        level = 0.0 if task.labels.has_regions else sum(weight for _, weight in group)
        return _surrounded(chunks, placement, frame, task.outputs, level)

    def _mean(self, group: Sequence[Weighted], shape: tuple[int, int, int]) -> Iterator[Rows]:
        """Weighted sums of the members' probabilities in thin runs of rows, while the last member makes its own."""
        (*others, (last, share)), task = group, group[0][0].task
        sums = self.spool(task.outputs, shape) if others else None
        for model, weight in others:
            for part in self._probabilities(model):
                assert sums is not None
                sums.add(part.start, part.values, weight)
        for part in self._probabilities(last):
            total = part.values * share
            yield Rows(part.start, total if sums is None else total + sums.read(part.start, part.stop).to(total.device))

    def _probabilities(self, model: AnyModel) -> Iterator[Rows]:
        for part in self._logits(model):
            row_bytes = 4 * part.values.shape[0] * part.values.shape[2] * part.values.shape[3]
            size = max(1, _SPOOL_ROWS_BYTES // row_bytes)
            for begin in range(0, part.values.shape[1], size):
                values = part.values[:, begin : begin + size]
                yield Rows(part.start + begin, activate(values, model.task.labels))

    def _logits(self, held: AnyModel) -> Iterator[Rows]:
        # What lies in its folder is read now and forgotten after its turn.
        model = held if isinstance(held, Model) else held.load()
        key = grid_key(model.task)
        prepared = self.case.prepared[key]
        view = View(
            images=torch.from_numpy(prepared.images),
            present=torch.from_numpy(prepared.present),
            prior=self.case.priors.get(prior_key(model)),
            case=self.case.id,
            spacing_mm=prepared.placement.prepared_spacing_mm,
            partial=prepared.partial_view,
        )
        nets, modality = model.nets.to(self.device).eval(), self.options.modality

        def segment(batch: Batch) -> Tensor:
            if modality is None:
                return model.trainer.segment(nets, batch)
            return model.trainer.segment_each(nets, batch)[:, modality]

        try:
            yield from sliding_window(segment, view, self._window(model), self._report)
        finally:
            if self.members > 1 and model is held and self.device.type != "cpu":
                model.nets.cpu()

    def _window(self, model: Model) -> WindowPlan:
        task, memory = model.task, self.memory(model.task)
        # The plan names axes of the volume; those of a 2D patch are the last two of them.
        flat = 3 - task.configuration.dimensions
        axes = tuple(axis - flat for axis in task.plan.mirror_axes if axis >= flat)
        return WindowPlan(
            patch=task.configuration.patch,
            outputs=task.outputs,
            step=self.options.step,
            mirror_axes=axes if self.options.mirror else (),
            batch=memory.batch,
            rows=memory.rows,
            dtype=torch.float32 if memory.dtype == "float32" else torch.float16,
            device=self.device,
            precision=self.options.precision or _trained_precision(model, self.device),
        )

    def _report(self, share: float) -> None:
        if self._advance is not None:
            self._advance(share / self.members)


def _trained_precision(model: Model, device: torch.device) -> Precision:
    return model.run.precision if model.run.device == device.type else default_precision(device.type)


def _surrounded(
    chunks: Iterator[Chunk], placement: Placement, frame: Placement, outputs: int, level: float
) -> Iterator[Chunk]:
    """Chunks of ``placement`` at their place in ``frame``; around them the first output is ``level``, others are 0."""
    before = [placement.crop[axis][0] - frame.crop[axis][0] for axis in frame.transpose]
    after = [frame.crop[axis][1] - placement.crop[axis][1] for axis in frame.transpose]
    sides = (before[2], after[2], before[1], after[1])
    empty = torch.zeros(outputs, 1, *frame.cropped_shape[1:])
    empty[0] = level
    kept = tuple(range(outputs))
    for row in range(before[0]):
        yield Chunk(row, row + 1, kept, empty)
    for chunk in chunks:
        assert chunk.values is not None
        values = F.pad(chunk.values, sides)
        if level:
            values[0] = F.pad(chunk.values[0], sides, value=level)
        yield replace(chunk, start=chunk.start + before[0], stop=chunk.stop + before[0], values=values)
    depth = frame.cropped_shape[0]
    for row in range(depth - after[0], depth):
        yield Chunk(row, row + 1, kept, empty)
