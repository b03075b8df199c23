"""Supervised training: one planned network, Dice + cross-entropy with deep supervision.

The recipe is nnU-Net's (Isensee et al., Nature Methods 2021): SGD with Nesterov momentum, polynomial decay, gradients
clipped, all modalities into one network in the way that the plan's topology says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from autofuse.losses import Loss, deep_supervision, dice_ce
from autofuse.networks import build_network
from autofuse.networks.image_level import ImageLevel
from autofuse.plan.task import Task
from autofuse.sampling.batch import Batch
from autofuse.training.trainer import Batches, Objective, Progress, Trainer, Weight


@dataclass(frozen=True)
class Supervised(Trainer):
    """Dense labels; voxels with the ignore label change nothing.

    Attributes:
        dice_weight, ce_weight: factors of the two terms.
        batch_dice: one Dice over the samples of a batch together; None for the plan's dimensions to say: together in
            2D, where many slices lack a class, and apart in 3D.
        case_weighting: samples of a batch weigh (labelled voxels) ** this; with dense labels all weigh the same.
    """

    name: ClassVar[str] = "supervised"

    dice_weight: Weight = 1.0
    ce_weight: Weight = 1.0
    batch_dice: bool | None = None
    case_weighting: Weight = 1.0

    def networks(self, task: Task) -> nn.ModuleDict:
        """The planned network, as ``segmenter``."""
        return nn.ModuleDict({"segmenter": build_network(task)})

    def objectives(self, task: Task) -> tuple[Objective, ...]:
        """One: Dice + cross-entropy over the resolutions of the decoder."""
        loss = self.loss(task)

        def terms(nets: nn.ModuleDict, batches: Batches, progress: Progress) -> Mapping[str, Tensor]:
            batch = batches["labelled"]
            assert batch.target is not None, "the stream asks for labelled cases"
            return deep_supervision(nets["segmenter"](batch.inputs(), batch.presence()), batch.target, loss)

        return (Objective("segmentation", moves=("segmenter",), terms=terms),)

    def loss(self, task: Task) -> Loss:
        """Dice + cross-entropy of logits (B, C, *S) and a target (B, *S), by name, weighted."""
        batch_dice = task.configuration.dimensions == 2 if self.batch_dice is None else self.batch_dice

        def dice_and_cross_entropy(logits: Tensor, target: Tensor) -> Mapping[str, Tensor]:
            return dice_ce(
                logits,
                target,
                task.labels,
                dice_weight=self.dice_weight,
                ce_weight=self.ce_weight,
                batch_dice=batch_dice,
                case_weighting=self.case_weighting,
            )

        return dice_and_cross_entropy

    def segment(self, nets: nn.ModuleDict, batch: Batch) -> Tensor:
        """Logits (B, C, *S) of the planned network."""
        logits: Tensor = nets["segmenter"](batch.inputs(), batch.presence())[0]
        return logits

    def fuses(self, task: Task) -> bool:
        """Whether the planned network makes one image of the modalities first."""
        return task.configuration.network.topology == "image_level"

    def fused(self, nets: nn.ModuleDict, batch: Batch) -> Tensor | None:
        """The image (B, 1, *S) in [0, 1] that an ``image_level`` network segments; nobody taught it to be readable."""
        network = nets["segmenter"]
        return network.fuse(batch.inputs(), batch.presence()) if isinstance(network, ImageLevel) else None
