"""Collaboration: few labels, many unlabelled cases, modalities that may lie apart (after CMC, arXiv 2408.07341).

An encoder and a decoder per modality meet at the bottleneck. What the modalities say about unlabelled cases is drawn
together: by channels where voxels cannot be compared, by voxels only where they lie on each other. Where there is one
modality, two views of it, which differ in intensities, take the place of two.

    L = L_sup + ramp(t) (semantic_weight L_CSC + anatomical_weight L_CAC + teacher_weight L_MT)

Shape legend: B batch, M modality, F feature channel, C output channel, S spatial axes (slowest first).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from autofuse.dataset.label_codes import region_membership
from autofuse.dataset.types import IGNORE
from autofuse.foundation.errors import UsageError
from autofuse.losses import Loss, deep_supervision, log_answers
from autofuse.networks.fusing import SeveralHeads
from autofuse.networks.heads import Branches
from autofuse.plan.task import Task
from autofuse.sampling.batch import Batch
from autofuse.training.trainer import Batches, Objective, Progress, Share, Stream, Weight
from autofuse_trainers.collaboration.agreement import (
    anatomical_consistency,
    prototype_consistency,
    semantic_consistency,
    volume_consistency,
)
from autofuse_trainers.collaboration.floor import TeacherWatch, dice_on, remarks
from autofuse_trainers.collaboration.views import another_view, views_of
from autofuse_trainers.supervised import Supervised

LOOK_EVERY = 5
"""Steps between two looks at how well the mean teacher does."""

Pooled = Annotated[int, Field(ge=1, le=16)]


@dataclass(frozen=True)
class Collaboration(Supervised):
    """Labelled cases teach each modality's head, pairs of modalities teach each other on all cases.

    Attributes:
        semantic_weight: of L_CSC, the agreement of the modalities' bottleneck channels.
        anatomical_weight: of L_CAC, the agreement of what the modalities' heads find.
        aligned: whether modalities lie on each other: then L_CAC compares voxels, otherwise volumes.
        warm_up: share of the training before both begin; ramp: share over which they then grow.
        temperature, pooled: of L_CSC; maps are averaged to ``pooled`` voxels an axis, which tolerates displacement.
        view_strength: of the random contrast, brightness and noise by which a single modality's two views differ.
        teacher_weight: of L_MT: each head agrees with the same head of a mean teacher, which sees the image as it is
            while the network sees another view of it (Tarvainen and Valpola, arXiv 1703.01780); 0 for no teacher.
        teacher_decay: share of the teacher that stays at each step.
        teacher_floor: share of the student's best running Dice on labelled patches; a teacher below it begins anew from
            the student, and has no weight until it is above it again. 0 for no floor.
        unlabelled_share: of the batch, drawn from all cases, whether labelled or not, without looking at labels. A
            quarter, so that a planned batch of two keeps both of its labelled samples and gets a third: one sample less
            to learn from cost more than all consistencies brought (``benchmarks/results/few_labels_sweep.json``).
    """

    name: ClassVar[str] = "collaboration"
    topology: ClassVar[str | None] = "per_modality"
    masks_each: ClassVar[bool] = True

    semantic_weight: Weight = 1.0
    anatomical_weight: Weight = 1.0
    aligned: bool = True
    warm_up: Share = 0.15
    ramp: Share = 0.5
    temperature: Annotated[float, Field(gt=0)] = 0.5
    pooled: Pooled = 4
    view_strength: Share = 0.3
    teacher_weight: Weight = 0.0
    teacher_decay: Share = 0.99
    teacher_floor: Share = 0.5
    unlabelled_share: Annotated[float, Field(gt=0, lt=1)] = 0.25

    def streams(self) -> tuple[Stream, ...]:
        """Labelled cases, and any cases."""
        return (
            Stream(share=1 - self.unlabelled_share, foreground=self.foreground),
            Stream("unlabelled", cases="any", share=self.unlabelled_share, foreground=0.0),
        )

    def networks(self, task: Task) -> nn.ModuleDict:
        """The planned network, as ``segmenter``, and its mean ``teacher`` where one is asked for.

        Raises:
            UsageError: if it has no head for each modality, so that there are none to agree.
        """
        nets = super().networks(task)
        if not isinstance(nets["segmenter"], SeveralHeads):
            raise UsageError(
                "Modalities teach each other by heads of their own, and the planned network has one for all.",
                found=f"topology {task.configuration.network.topology}",
                expected="per_modality, shared_kernels or late",
                remedy="Plan with --topology per_modality, or with --topology auto.",
            )
        if self.teacher_weight:
            nets["teacher"] = copy.deepcopy(nets["segmenter"]).requires_grad_(False)
            if self.teacher_floor:
                nets["watch"] = TeacherWatch()
        return nets

    def after_step(self, nets: nn.ModuleDict, progress: Progress) -> None:
        """The mean teacher follows: faster at first, so that it forgets how it began, and at once where it fell."""
        if not self.teacher_weight:
            return
        decay = min(self.teacher_decay, (progress.step + 1) / (progress.step + 10))
        fell = None
        if "watch" in nets:
            watch = nets["watch"]
            assert isinstance(watch, TeacherWatch), "networks() makes it"
            watch.take_in()
            fell = watch.judge(self.teacher_floor) if self.opened(progress) else None
        for kept, new in zip(nets["teacher"].parameters(), nets["segmenter"].parameters(), strict=True):
            kept.lerp_(new, 1 - decay)
            if fell is not None:
                kept.copy_(torch.where(fell, new, kept))

    def watched(self, nets: nn.ModuleDict) -> Mapping[str, float]:
        """How the mean teacher and the student do on labelled patches, and whether the teacher counts."""
        if "watch" not in nets:
            return {}
        watch = nets["watch"]
        assert isinstance(watch, TeacherWatch), "networks() makes it"
        return watch.told()

    def remarks(self, before: Mapping[str, float], now: Mapping[str, float]) -> tuple[str, ...]:
        """That the mean teacher fell below its floor, or has recovered."""
        return remarks(before, now, self.teacher_floor) if now else ()

    def objectives(self, task: Task) -> tuple[Objective, ...]:
        """One: all terms together."""
        loss, regions = self.loss(task), task.labels.has_regions
        membership = torch.from_numpy(region_membership(task.labels))

        def terms(nets: nn.ModuleDict, batches: Batches, progress: Progress) -> Mapping[str, Tensor]:
            network = nets["segmenter"]
            assert isinstance(network, SeveralHeads), "networks() refuses others"
            labelled, unlabelled = batches["labelled"], batches["unlabelled"]
            own = network.branches(labelled.inputs(), labelled.presence())
            found = self.supervised_terms(own, labelled, loss)
            if "watch" in nets and progress.step % LOOK_EVERY == 0:
                self.look(nets, own, labelled, membership, regions)
            opened = self.opened(progress)
            if not opened or not (self.semantic_weight or self.anatomical_weight or self.teacher_weight):
                return found  # what nothing is learnt from need not be looked at
            branches = self.looked_at(network, unlabelled)
            if self.semantic_weight:
                found["semantic"] = self.semantic_weight * opened * self.semantic(branches)
            if self.anatomical_weight:
                found["anatomical"] = self.anatomical_weight * opened * self.anatomical(branches, regions)
            if self.teacher_weight:
                taught = self.taught(nets["teacher"], unlabelled, branches, regions)
                counts = nets["watch"].get_buffer("counts") if "watch" in nets else 1.0
                found["teacher"] = self.teacher_weight * opened * counts * taught
            return found

        return (Objective("segmentation", moves=("segmenter",), terms=terms),)

    def look(self, nets: nn.ModuleDict, own: Branches, batch: Batch, membership: Tensor, regions: bool) -> None:
        """Leave with the watch how well student and teacher find what is labelled in a batch."""
        watch, teacher = nets["watch"], nets["teacher"]
        assert isinstance(watch, TeacherWatch) and isinstance(teacher, SeveralHeads), "networks() makes them"
        with torch.no_grad():
            said = teacher.branches(batch.inputs(), batch.presence())
            targets = [batch.target_of(modality) for modality in range(len(own.specific))]
            members = membership.to(batch.image.device)
            student_dice, teacher_dice = (
                dice_on(
                    [structures(levels[0], regions=regions) for levels in branches.specific],
                    targets,
                    members,
                    branches.presence,
                )
                for branches in (own, said)
            )
        watch.seen = student_dice, teacher_dice

    def looked_at(self, network: SeveralHeads, batch: Batch) -> Branches:
        """What each modality says of cases without labels: one alone of two views, all of one that no teacher has."""
        if batch.image.shape[1] == 1:
            return views_of(network, batch, self.view_strength)
        if self.teacher_weight:
            batch = replace(batch, image=another_view(batch.image, self.view_strength))
        return network.branches(batch.inputs(), batch.presence())

    def opened(self, progress: Progress) -> float:
        """How far both consistencies count: not at all before the warm-up is over, then along the ramp."""
        if progress.fraction < self.warm_up:
            return 0.0
        return progress.ramp(self.ramp, self.warm_up)

    def supervised_terms(self, branches: Branches, batch: Batch, loss: Loss) -> dict[str, Tensor]:
        """Dice and cross-entropy, mean over the heads; each answers for what its modality sees, by the mask of its
        modality where each has its own."""
        found: dict[str, Tensor] = {}
        for modality, levels in enumerate(branches.specific):
            target = torch.where(branches.presence[:, modality], batch.target_of(modality), IGNORE)
            for name, value in deep_supervision(levels, target, loss).items():
                found[name] = found[name] + value if name in found else value
        return {name: value / len(branches.specific) for name, value in found.items()}

    def segment_each(self, nets: nn.ModuleDict, batch: Batch) -> Tensor:
        """Logits (B, M, C, *S) of the modalities' own heads."""
        network = nets["segmenter"]
        assert isinstance(network, SeveralHeads), "networks() refuses others"
        branches = network.branches(batch.inputs(), batch.presence())
        return torch.stack([levels[0] for levels in branches.specific], 1)

    def semantic(self, branches: Branches) -> Tensor:
        """L_CSC of the modalities' bottlenecks, before they are fused."""
        present = branches.presence.flatten(2).any(2)
        return semantic_consistency(branches.bottlenecks, present, temperature=self.temperature, pooled=self.pooled)

    def anatomical(self, branches: Branches, regions: bool) -> Tensor:
        """L_CAC: voxel by voxel where modalities lie on each other, else by volumes and prototypes."""
        found = [structures(levels[0], regions=regions) for levels in branches.specific]
        if self.aligned:
            return anatomical_consistency(found, branches.presence)
        present = branches.presence.flatten(2).any(2)
        likeness = prototype_consistency(found, branches.bottlenecks, present)
        return (volume_consistency(found, branches.presence) + likeness) / 2

    def taught(self, teacher: nn.Module, batch: Batch, branches: Branches, regions: bool) -> Tensor:
        """L_MT: what each head says against the same head of the teacher, voxel by voxel, mean over heads.

        Of a single modality's two views it is the second that the teacher has not seen.
        """
        assert isinstance(teacher, SeveralHeads), "it is a copy of the network"
        with torch.no_grad():
            said = teacher.branches(batch.inputs(), batch.presence())
        first = len(branches.specific) - len(said.specific)
        seen = branches.presence[:, first:] & said.presence
        terms = []
        for modality, heads in enumerate(zip(branches.specific[first:], said.specific, strict=True)):
            pair = [structures(levels[0], regions=regions) for levels in heads]
            terms.append(anatomical_consistency(pair, seen[:, [modality, modality]]))
        return torch.stack(terms).mean()


def structures(logits: Tensor, *, regions: bool) -> Tensor:
    """Probability of each class but the background, or of each region, (B, C, *S)."""
    answers = log_answers(logits, regions=regions).exp()
    return answers[:, :, 0] if regions else answers[:, 0, 1:]
