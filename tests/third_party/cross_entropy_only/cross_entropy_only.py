"""Plain cross-entropy on labelled voxels: everything that a training method of one's own takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from autofuse.losses import deep_supervision, dice_ce
from autofuse.networks import build_network
from autofuse.plan.task import Task
from autofuse.sampling.batch import Batch
from autofuse.training.trainer import Batches, Objective, Progress, Trainer


@dataclass(frozen=True)
class CrossEntropyOnly(Trainer):
    """No Dice."""

    name: ClassVar[str] = "cross_entropy_only"

    def networks(self, task: Task) -> nn.ModuleDict:
        return nn.ModuleDict({"net": build_network(task)})

    def objectives(self, task: Task) -> tuple[Objective, ...]:
        def loss(logits: Tensor, target: Tensor) -> Mapping[str, Tensor]:
            return {"cross_entropy": dice_ce(logits, target, task.labels)["cross_entropy"]}

        def terms(nets: nn.ModuleDict, batches: Batches, progress: Progress) -> Mapping[str, Tensor]:
            batch = batches["labelled"]
            return deep_supervision(nets["net"](batch.inputs(), batch.present), batch.target, loss)

        return (Objective("segmentation", moves=("net",), terms=terms),)

    def segment(self, nets: nn.ModuleDict, batch: Batch) -> Tensor:
        return nets["net"](batch.inputs(), batch.present)[0]
