"""CmFNet: scribbles on several modalities, which teach each other what nobody drew (arXiv 2506.18042).

The paper states three parts (scribble supervision, intra-modal regularisation, inter-modal consistency) and no formula;
the formulas are our reconstruction, see documentation/methods/cmfnet.md.

    L = L_scribble + intra_weight ramp(t) L_intra + inter_weight ramp(t) L_inter

Each is a sum over heads. A mean would be the same to an optimiser that rescales gradients; to plain descent it gives
every head, which has weights of its own, only a share of the learning rate that it would have alone.

Shape legend: B batch, M modality, C output channel, S spatial axes (slowest first). "Heads" are the cross head, which
sees all modalities, and the specific head of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from autofuse.dataset.types import IGNORE
from autofuse.losses import Loss, Neighbourhood, deep_supervision, gated_crf, log_answers, symmetric_divergence
from autofuse.networks import build_network
from autofuse.networks.fusing import FusingNetwork, SeveralHeads
from autofuse.networks.heads import Branches, head_weights, merge_logits
from autofuse.networks.specific_shared import SpecificShared
from autofuse.plan.task import Task
from autofuse.sampling.batch import Batch
from autofuse.training.trainer import Batches, Objective, Progress, Share, Stream, Weight
from autofuse_trainers.partial import Partial

Positive = Annotated[float, Field(gt=0)]
Terms = dict[str, Tensor]


@dataclass(frozen=True)
class CmFNet(Partial):
    """Each case contributes the terms that it can: an unlabelled one the last two, an absent modality none.

    With ``intra_weight`` and ``inter_weight`` 0 this is ``partial`` on another network. On a network without specific
    heads (``early``, ``stems``) only the cross head is trained, and there is no L_inter.

    Attributes:
        intra_weight: of L_intra, the gated CRF of each head on what it sees.
        inter_weight: of L_inter, the symmetric divergence of each specific head from the cross head.
        ramp: share of the training over which both weights grow.
        by_certainty: whether L_inter weighs voxels by how sure both heads are together.
        specific_heads: whether specific heads are trained at all; without them less memory is needed.
        predict_with: the cross head, or the mean of all heads' probabilities.
        crf_radius_mm, crf_sigma_mm, crf_sigma_intensity: as of ``Neighbourhood``.
        crf_reduction: resolution that the CRF sees; None for half in 3D and the whole in 2D.
    """

    name: ClassVar[str] = "cmfnet"
    topology: ClassVar[str | None] = "specific_shared"

    intra_weight: Weight = 1.0
    inter_weight: Weight = 0.1
    ramp: Share = 1.0
    by_certainty: bool = False
    specific_heads: bool = True
    predict_with: Literal["cross", "mean"] = "cross"
    crf_radius_mm: Positive = 5.0
    crf_sigma_mm: Positive = 6.0
    crf_sigma_intensity: Positive = 0.5
    crf_reduction: Annotated[int, Field(ge=1, le=8)] | None = None

    def streams(self) -> tuple[Stream, ...]:
        """One, of all cases: unlabelled ones teach too."""
        return (Stream(cases="any", foreground=self.foreground),)

    def networks(self, task: Task) -> nn.ModuleDict:
        """The planned network, as ``segmenter``."""
        network = build_network(task)
        if not self.specific_heads and isinstance(network, SpecificShared):
            network.keep_cross_head_only()
        return nn.ModuleDict({"segmenter": network})

    def objectives(self, task: Task) -> tuple[Objective, ...]:
        """One: all terms together."""
        loss, regions = self.loss(task), task.labels.has_regions

        def terms(nets: nn.ModuleDict, batches: Batches, progress: Progress) -> Mapping[str, Tensor]:
            batch, ramp = batches["labelled"], progress.ramp(self.ramp)
            branches = look(_network(nets), batch)
            found = self.scribble_terms(branches, batch, loss)
            heads = [log_answers(levels[0], regions=regions) for levels in (branches.logits, *branches.specific)]
            if self.intra_weight:
                found["intra_modal"] = self.intra_weight * ramp * self.intra_modal(heads, branches.presence, batch)
            if self.inter_weight and branches.specific:
                found["inter_modal"] = self.inter_weight * ramp * self.inter_modal(heads, branches.presence)
            return found

        return (Objective("segmentation", moves=("segmenter",), terms=terms),)

    def scribble_terms(self, branches: Branches, batch: Batch, loss: Loss) -> Terms:
        """Dice and cross-entropy on labelled voxels, summed over heads; a specific head answers for what it sees."""
        assert batch.target is not None, "the stream fills targets of unlabelled cases with IGNORE"
        found = deep_supervision(branches.logits, batch.target, loss)
        for modality, levels in enumerate(branches.specific):
            target = torch.where(branches.presence[:, modality], batch.target, IGNORE)
            for name, value in deep_supervision(levels, target, loss).items():
                found[name] = found[name] + value
        return found

    def intra_modal(self, heads: list[Tensor], presence: Tensor, batch: Batch) -> Tensor:
        """L_intra: the sum of the heads' gated CRF energies; the cross head's kernel sees all modalities."""
        reduction = self.crf_reduction or (2 if batch.image.ndim == 5 else 1)
        near = Neighbourhood(self.crf_radius_mm, self.crf_sigma_mm, self.crf_sigma_intensity, reduction=reduction)
        energies = [gated_crf(heads[0].exp(), batch.image, batch.spacing_mm, near, seen=presence)]
        for modality, head in enumerate(heads[1:]):
            own = slice(modality, modality + 1)
            energies.append(gated_crf(head.exp(), batch.image[:, own], batch.spacing_mm, near, seen=presence[:, own]))
        return torch.stack(energies).sum()

    def inter_modal(self, heads: list[Tensor], presence: Tensor) -> Tensor:
        """L_inter: Σ_m of the symmetric divergence between specific head m and the cross head."""
        cross, *specific = heads
        parts = [
            symmetric_divergence(head, cross, where=presence[:, m : m + 1], by_certainty=self.by_certainty)
            for m, head in enumerate(specific)
        ]
        return torch.stack(parts).sum()

    def segment(self, nets: nn.ModuleDict, batch: Batch) -> Tensor:
        """Logits (B, C, *S) of the cross head, or of all heads' mean probabilities."""
        network = _network(nets)
        if self.predict_with == "mean":
            return mean_of_heads(network, look(network, batch))
        logits: Tensor = network(batch.inputs(), batch.presence())[0]
        return logits


def _network(nets: nn.ModuleDict) -> FusingNetwork:
    network = nets["segmenter"]
    assert isinstance(network, FusingNetwork)
    return network


def look(network: FusingNetwork, batch: Batch) -> Branches:
    """What the network and each of its specific heads say; without specific heads, the network alone."""
    image, present = batch.inputs(), batch.presence()
    if isinstance(network, (SpecificShared, SeveralHeads)):
        return network.branches(image, present)
    presence = present.view(*present.shape, *(1,) * (image.ndim - 2)) if present.ndim == 2 else present
    return Branches(network(image, present), (), (), presence)


def mean_of_heads(network: FusingNetwork, branches: Branches) -> Tensor:
    """Logits (B, C, *S) of the mean probability over the cross head and the specific heads that see a voxel."""
    if not branches.specific:
        return branches.logits[0]
    logits = torch.stack([branches.logits[0], *(levels[0] for levels in branches.specific)], 1)
    presence = torch.cat([torch.ones_like(branches.presence[:, :1]), branches.presence], 1)
    weights = head_weights(presence, tuple(logits.shape[3:]))
    return merge_logits(logits, weights, regions=network.spec.regions)
