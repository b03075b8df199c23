"""Fuse4Seg: one fused image that a person can read, made so that a network can segment it (after arXiv 2409.10328).

The leader fuses, the follower segments what was fused. The follower descends its loss on one half of the training
cases; the leader descends λ L_fuse + L_seg on the other half, which the follower has not been trained on.

Shape legend: B batch, M modality, K prior channel, C output channel, S spatial axes (slowest first).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from autofuse.foundation.errors import UsageError
from autofuse.losses import Loss, deep_supervision
from autofuse.networks.unet_spec import unet_spec
from autofuse.plan.task import Task
from autofuse.sampling.batch import Batch
from autofuse.training.trainer import Batches, Objective, Progress, Share, Stream, Weight
from autofuse_trainers.fuse4seg.bilevel import gauss_newton, one_step_ahead
from autofuse_trainers.fuse4seg.fusion_loss import decomposition, edges, intensity
from autofuse_trainers.fuse4seg.leader import Fused, Leader
from autofuse_trainers.fuse4seg.leader_spec import Aggregate, leader_spec
from autofuse_trainers.fuse4seg.window import window_of
from autofuse_trainers.supervised import Supervised

Bilevel = Literal["fixed", "joint", "first_order", "gauss_newton", "unrolled"]
Terms = dict[str, Tensor]
FUSER, SEGMENTER = "fuser", "segmenter"
LOWER, UPPER = "labelled", "upper"
"""Streams: what the follower learns from, and what the leader is judged by."""


@dataclass(frozen=True)
class Fuse4Seg(Supervised):
    """A leader that fuses and a follower that segments, on modalities that lie on each other.

    Attributes:
        bilevel: ``fixed``: the fused image is the plain aggregate and nobody learns to fuse; ``joint``: both descend
            one loss on all cases; ``first_order``: each descends its own; ``gauss_newton`` and ``unrolled``: the
            leader also foresees how the follower will move.
        follower_steps: of the follower for each step of the leader.
        warm_up: share of the training in which the leader learns to fuse, without labels.
        fusion_weight: λ; intensity_weight, gradient_weight, decomposition_weight: of the terms of L_fuse.
        aggregate: what the fused image departs from: the mean, the brightest modality, the mean by saliency, or a
            pyramid whose bands come from the modality that shows most in them.
        sees: whether the follower sees the fused image alone, or the modalities too.
        leader_width: channels of the leader's features, even; None for as many as planned memory holds.
        unroll_rate: of the follower's imagined step under ``unrolled``.
    """

    name: ClassVar[str] = "fuse4seg"
    topology: ClassVar[str | None] = "image_level"

    bilevel: Bilevel = "first_order"
    follower_steps: Annotated[int, Field(ge=1, le=100)] = 5
    warm_up: Share = 0.05
    fusion_weight: Weight = 0.1
    intensity_weight: Weight = 1.0
    gradient_weight: Weight = 10.0
    decomposition_weight: Weight = 2.0
    aggregate: Aggregate = "pyramid"
    sees: Literal["fused", "fused_and_sources"] = "fused"
    leader_width: Annotated[int, Field(ge=2, le=64, multiple_of=2)] | None = None
    unroll_rate: Weight = 0.01

    def streams(self) -> tuple[Stream, ...]:
        """One of all cases where there is one objective, else one of each half of the training fold.

        ``first_order`` looks at one of them at a time, so each fills the batch; who looks at both halves it.
        """
        if self.bilevel in ("fixed", "joint"):
            return (Stream(LOWER, foreground=self.foreground),)
        share = 1.0 if self.bilevel == "first_order" else 0.5
        return (
            Stream(LOWER, share=share, foreground=self.foreground, half="lower"),
            Stream(UPPER, share=share, foreground=self.foreground, half="upper"),
        )

    def networks(self, task: Task) -> nn.ModuleDict:
        """The leader as ``fuser``, and the planned U-Net on what it makes as ``segmenter``.

        Raises:
            UsageError: if the plan is not for a fused image, for which modalities have to lie on each other.
        """
        network = task.configuration.network
        if network.topology != "image_level":
            raise UsageError(
                "An image is fused of modalities that lie on each other, voxel by voxel.",
                found=f"topology {network.topology}",
                expected="topology image_level",
                remedy="Plan with --want-fused, or with --topology image_level.",
            )
        windows = tuple(window_of(item) for item in task.plan.normalisation)
        leader = leader_spec(task, self.aggregate, self.leader_width, windows)
        channels = 1 + task.prior_channels + (task.modalities if self.sees == "fused_and_sources" else 0)
        return nn.ModuleDict({FUSER: leader.build(), SEGMENTER: unet_spec(network, channels, task.outputs).build()})

    def objectives(self, task: Task) -> tuple[Objective, ...]:
        """The follower's and the leader's; one for both together where they are not two."""
        loss = self.loss(task)

        def together(nets: nn.ModuleDict, batches: Batches, progress: Progress) -> Mapping[str, Tensor]:
            fused = self.fuse(nets, batches[LOWER])
            found = {} if self.bilevel == "fixed" else self.fusion_terms(fused, progress)
            if self.bilevel == "fixed" or progress.fraction >= self.warm_up:
                found |= self.segmentation_terms(nets[SEGMENTER], fused, batches[LOWER], loss)
            return found

        def follow(nets: nn.ModuleDict, batches: Batches, progress: Progress) -> Mapping[str, Tensor]:
            if progress.fraction < self.warm_up:
                return {}
            with torch.no_grad():
                fused = self.fuse(nets, batches[LOWER])
            return self.segmentation_terms(nets[SEGMENTER], fused, batches[LOWER], loss)

        def lead(nets: nn.ModuleDict, batches: Batches, progress: Progress) -> Mapping[str, Tensor]:
            if progress.fraction < self.warm_up:
                return self.fusion_terms(self.fuse(nets, batches[UPPER]), progress)
            return self.leader_terms(nets, batches, progress, loss) if progress.step % self.follower_steps == 0 else {}

        if self.bilevel == "fixed":
            return (Objective("segmentation", moves=(SEGMENTER,), terms=together),)
        if self.bilevel == "joint":
            return (Objective("segmentation", moves=(FUSER, SEGMENTER), terms=together),)
        return (
            Objective("segmentation", moves=(SEGMENTER,), terms=follow),
            Objective("fusion", moves=(FUSER,), terms=lead),
        )

    def fusion_terms(self, fused: Fused, progress: Progress) -> Terms:
        """λ L_fuse, term by term; λ counts beside L_seg alone, and is 1 while there is none."""
        beside = self.fusion_weight if progress.fraction >= self.warm_up else 1.0
        weighed: dict[str, tuple[float, Callable[[], Tensor]]] = {
            "intensity": (self.intensity_weight, lambda: intensity(fused)),
            "gradient": (self.gradient_weight, lambda: edges(fused)),
            "decomposition": (self.decomposition_weight, lambda: decomposition(fused)),
        }
        return {name: beside * weight * term() for name, (weight, term) in weighed.items() if beside * weight}

    def segmentation_terms(
        self, segmenter: nn.Module, fused: Fused, batch: Batch, loss: Loss, weights: Mapping[str, Tensor] | None = None
    ) -> Terms:
        """L_seg of the follower, term by term; with other ``weights`` than its own if they are given."""
        assert batch.target is not None, "the streams ask for labelled cases"
        seen = self.follower_input(fused, batch)
        used: dict[str, Tensor] = dict(segmenter.named_parameters())
        levels = torch.func.functional_call(segmenter, used | dict(weights or {}), (seen,))
        return dict(deep_supervision(levels, batch.target, loss))

    def leader_terms(self, nets: nn.ModuleDict, batches: Batches, progress: Progress, loss: Loss) -> Terms:
        """λ L_fuse + L_seg on cases that the follower has not seen, and what corrects the gradient."""
        segmenter, above, below = nets[SEGMENTER], batches[UPPER], batches[LOWER]
        fused = self.fuse(nets, above)
        found = self.fusion_terms(fused, progress)
        if self.bilevel == "unrolled":
            ahead = one_step_ahead(
                lambda weights: _sum(self.segmentation_terms(segmenter, self.fuse(nets, below), below, loss, weights)),
                segmenter,
                self.unroll_rate,
            )
            return found | self.segmentation_terms(segmenter, fused, above, loss, ahead)
        if self.bilevel == "first_order":  # the follower stands still, and gradients of its weights would cost time
            still = {name: weight.detach() for name, weight in segmenter.named_parameters()}
            return found | self.segmentation_terms(segmenter, fused, above, loss, still)
        segmented = self.segmentation_terms(segmenter, fused, above, loss)
        if self.bilevel == "gauss_newton":
            lower = _sum(self.segmentation_terms(segmenter, self.fuse(nets, below), below, loss))
            found["correction"] = gauss_newton(_sum(segmented), lower, list(segmenter.parameters()))
        return found | segmented

    def fuse(self, nets: nn.ModuleDict, batch: Batch) -> Fused:
        """What the leader makes of a batch, or the plain aggregate."""
        leader = nets[FUSER]
        assert isinstance(leader, Leader), "networks() builds one"
        if self.bilevel == "fixed":
            return leader.plain(batch.inputs(), batch.presence())
        fused: Fused = leader(batch.inputs(), batch.presence())
        return fused

    def follower_input(self, fused: Fused, batch: Batch) -> Tensor:
        """What the follower sees: (B, 1 [+ M] + K, *S)."""
        parts = [fused.image]
        if self.sees == "fused_and_sources":
            parts.append(fused.sources)
        if batch.prior is not None:
            parts.append(batch.prior)
        return torch.cat(parts, dim=1)

    def segment(self, nets: nn.ModuleDict, batch: Batch) -> Tensor:
        """Logits (B, C, *S) of the follower on the fused image."""
        logits: Tensor = nets[SEGMENTER](self.follower_input(self.fuse(nets, batch), batch))[0]
        return logits

    def fuses(self, task: Task) -> bool:
        """Always."""
        return True

    def fused(self, nets: nn.ModuleDict, batch: Batch) -> Tensor:
        """The fused image (B, 1, *S) in [0, 1]."""
        return self.fuse(nets, batch).image


def _sum(terms: Mapping[str, Tensor]) -> Tensor:
    return torch.stack([term.float().reshape(()) for term in terms.values()]).sum()
