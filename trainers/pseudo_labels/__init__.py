"""Pseudo labels from two decoders: how far a structure reaches beyond its strokes.

Two decoders on one encoder see features that differ by dropout; a random mixture of what they say, weighed by how sure
it is, teaches both where nobody drew (Luo et al., arXiv 2203.02106; soft and with uncertainty as in DMSPS, Han et al.,
Medical Image Analysis 2024).

    goal = α p₁ + (1 - α) p₂, α uniform in [0, 1] for each sample
    L = L_scribble + pseudo_weight ramp(t) ½ Σ_k mean_voxels exp(-H(goal) / log C) KL(goal‖p_k)

Shape legend: B batch, C output channel, G question, K answer, S spatial axes (slowest first).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from autofuse.foundation.errors import UsageError
from autofuse.losses import deep_supervision, divergence_from, log_answers
from autofuse.networks import build_network
from autofuse.networks.fusing import OneDecoder
from autofuse.networks.unet_spec import decoder_spec
from autofuse.plan.task import Task
from autofuse.sampling import ranks
from autofuse.training.trainer import Batches, Objective, Progress, Share, Stream, Weight
from autofuse_trainers.partial import Partial


@dataclass(frozen=True)
class PseudoLabels(Partial):
    """Partial supervision of two decoders that teach each other; the first one predicts.

    Attributes:
        pseudo_weight: of the pseudo labels' term; ramp: share of the training over which it grows.
        feature_dropout: share of the feature channels that the second decoder does not see in a step.
        by_certainty: whether voxels weigh as much as their pseudo label is sure.
    """

    name: ClassVar[str] = "pseudo_labels"
    decoders: ClassVar[int] = 2

    pseudo_weight: Weight = 1.0
    ramp: Share = 1.0
    feature_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    by_certainty: bool = True

    def streams(self) -> tuple[Stream, ...]:
        """One, of all cases: unlabelled ones get pseudo labels too."""
        return (Stream(cases="any", foreground=self.foreground),)

    def networks(self, task: Task) -> nn.ModuleDict:
        """The planned network as ``segmenter``, and one more decoder as ``second``.

        Raises:
            UsageError: if modalities meet behind the decoders, so that there is none to double.
        """
        network = build_network(task)
        if not isinstance(network, OneDecoder):
            raise UsageError(
                "Pseudo labels come from two decoders on one encoder, and the planned network has several encoders.",
                found=f"topology {task.configuration.network.topology}",
                expected="early, stems, specific_shared or image_level",
                remedy="Choose another trainer, or plan with --topology.",
            )
        second = decoder_spec(task.configuration.network, task.outputs).build()
        return nn.ModuleDict({"segmenter": network, "second": second})

    def objectives(self, task: Task) -> tuple[Objective, ...]:
        """One: both decoders on what is labelled, and on what they say together."""
        loss, regions = self.loss(task), task.labels.has_regions

        def terms(nets: nn.ModuleDict, batches: Batches, progress: Progress) -> Mapping[str, Tensor]:
            batch = batches["labelled"]
            assert batch.target is not None, "the stream fills targets of unlabelled cases with IGNORE"
            first, second = self.both(nets, batch.inputs(), batch.presence())
            found = deep_supervision(first, batch.target, loss)
            for name, value in deep_supervision(second, batch.target, loss).items():
                found[name] = (found[name] + value) / 2
            if self.pseudo_weight:
                answers = [log_answers(levels[0], regions=regions) for levels in (first, second)]
                found["pseudo_labels"] = self.pseudo_weight * progress.ramp(self.ramp) * self.pseudo_term(*answers)
            return found

        return (Objective("segmentation", moves=("segmenter", "second"), terms=terms),)

    def both(
        self, nets: nn.ModuleDict, image: Tensor, presence: Tensor
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Logits of both decoders, highest resolution first; the second sees features with dropout."""
        network = nets["segmenter"]
        assert isinstance(network, OneDecoder)
        features = network.features(image, presence)
        return network.decode(features), nets["second"](dropped(features, self.feature_dropout))

    def pseudo_term(self, first: Tensor, second: Tensor) -> Tensor:
        """Mean divergence of both decoders from their mixture; log-probabilities (B, G, K, *S), a scalar."""
        share = ranks.rand(first.shape[0], *(1,) * (first.ndim - 1), device=first.device)
        goal = share * first.detach().exp() + (1 - share) * second.detach().exp()
        parts = [divergence_from(goal, head, by_certainty=self.by_certainty) for head in (first, second)]
        return torch.stack(parts).mean()


def dropped(features: Sequence[Tensor], share: float) -> list[Tensor]:
    """The features (B, F, *s) with whole channels set to 0, each with probability ``share``, the rest scaled up."""
    if share == 0:
        return list(features)
    found = []
    for level in features:
        kept = ranks.rand(*level.shape[:2], *(1,) * (level.ndim - 2), device=level.device) >= share
        found.append(level * (kept / (1 - share)).to(level.dtype))
    return found
