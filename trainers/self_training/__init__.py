"""Self-training: teachers that learned from the labelled cases label the others, and a student learns from both.

The plain method that won the challenge FLARE 2022: what teachers are sure of is taken for true.

    L = L_sup(labelled) + ramp(t) unlabelled_weight L_sup(unlabelled, where teachers are sure)

Before the student is trained the engine trains the teachers, as ``Trainer.teaching`` asks for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from autofuse.losses import deep_supervision
from autofuse.plan.task import Task
from autofuse.training.trainer import Batches, Objective, Progress, Share, Stream, Teaching, Weight
from autofuse_trainers.supervised import Supervised


@dataclass(frozen=True)
class SelfTraining(Supervised):
    """A student of labels and of teachers.

    Attributes:
        teacher: trainer of the first round's teachers: ``partial`` where labels are sparse.
        members: teachers a round, of different seeds; one alone is surer of itself than it should be.
        rounds: in each later one students are the teachers of the next.
        confidence: probability below which teachers leave a voxel unlabelled; regions: of being inside, or outside.
        least_dice: held-out Dice below which teachers are not believed, and the student learns from labels alone.
        unlabelled_weight: of what teachers say; it grows over the share ``ramp`` of the training.
        unlabelled_share: of the batch.
        case_weighting: as in ``supervised``; here a sample weighs by the voxels that teachers were sure of.
    """

    name: ClassVar[str] = "self_training"

    teacher: Literal["supervised", "partial"] = "supervised"
    members: Annotated[int, Field(ge=1, le=20)] = 2
    rounds: Annotated[int, Field(ge=1, le=10)] = 1
    confidence: Share = 0.8
    least_dice: Share = 0.3
    unlabelled_weight: Weight = 1.0
    ramp: Share = 0.2
    unlabelled_share: Annotated[float, Field(gt=0, lt=1)] = 0.5

    def streams(self) -> tuple[Stream, ...]:
        """Labelled cases, and what teachers labelled."""
        return (
            Stream(share=1 - self.unlabelled_share, foreground=self.foreground),
            Stream(
                "unlabelled",
                cases="unlabelled",
                share=self.unlabelled_share,
                foreground=self.foreground,
                taught=True,
            ),
        )

    def teaching(self) -> Teaching:
        """Teachers of the fields."""
        return Teaching(self.teacher, self.members, self.rounds, self.confidence, self.least_dice)

    def objectives(self, task: Task) -> tuple[Objective, ...]:
        """One: Dice + cross-entropy on labels, and on what teachers were sure of."""
        loss = self.loss(task)

        def terms(nets: nn.ModuleDict, batches: Batches, progress: Progress) -> Mapping[str, Tensor]:
            found: dict[str, Tensor] = {}
            weights = {"labelled": 1.0, "unlabelled": self.unlabelled_weight * progress.ramp(self.ramp)}
            for stream, weight in weights.items():
                batch = batches[stream]
                assert batch.target is not None, "both streams have targets"
                levels = nets["segmenter"](batch.inputs(), batch.presence())
                prefix = "" if stream == "labelled" else "taught_"
                for name, value in deep_supervision(levels, batch.target, loss).items():
                    found[prefix + name] = weight * value
            return found

        return (Objective("segmentation", moves=("segmenter",), terms=terms),)
