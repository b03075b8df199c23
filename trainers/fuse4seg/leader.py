"""The network that fuses: modalities in, one image in [0, 1] out.

Shape legend: B batch, M modality, W channel of features, S spatial axes (slowest first).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from autofuse.networks.blocks import CONVOLUTIONS
from autofuse.networks.presence import SeesModalities, gate_weights, mean_weights, share_seen
from autofuse_trainers.fuse4seg.aggregate import aggregate, local_mean
from autofuse_trainers.fuse4seg.leader_spec import COUPLINGS
from autofuse_trainers.fuse4seg.window import shown

if TYPE_CHECKING:
    from autofuse_trainers.fuse4seg.leader_spec import LeaderSpec

EXTREMES = 0.02
"""Aggregates are held this far from black and white, so that the sigmoid can leave them again."""

START = 0.01
"""Deviation of the head's first weights: the fused image begins close to the aggregate."""


@dataclass(frozen=True)
class Fused:
    """A fused image, and what its losses read.

    Attributes:
        image: (B, 1, *S) in [0, 1], float32; 0 where no modality sees anything.
        basis: alike, the aggregate that the image departs from.
        shown: (B, M, *S) in [0, 1], the modalities through their windows.
        presence: (B, M, *1) or (B, M, *S) bool.
        bases, details: per modality (B, W, *S).
        sources: (B, M, *S), the prepared modalities, 0 where they are absent.
    """

    image: Tensor
    basis: Tensor
    shown: Tensor
    presence: Tensor
    bases: tuple[Tensor, ...]
    details: tuple[Tensor, ...]
    sources: Tensor


class Coupling(nn.Module):
    """y₁ = x₁, y₂ = x₂ · exp(tanh s(x₁)) + t(x₁), halves swapped: invertible, so nothing is lost (RealNVP, 1605.08803).

    s and t begin at 0, and with them the coupling as the identity; tanh bounds the scale in every precision.
    """

    def __init__(self, spec: LeaderSpec) -> None:
        super().__init__()
        self.read = spec.coupling.build()
        self.said = CONVOLUTIONS[len(spec.kernel)](spec.width // 2, spec.width, 1)
        nn.init.zeros_(self.said.weight)
        assert self.said.bias is not None
        nn.init.zeros_(self.said.bias)

    def forward(self, features: Tensor) -> Tensor:
        """(B, W, *S) to (B, W, *S), the halves swapped."""
        first, second = features.chunk(2, dim=1)
        scale, shift = self._terms(first)
        return torch.cat([second * scale.exp() + shift, first], dim=1)

    def inverse(self, features: Tensor) -> Tensor:
        """What ``forward`` made these of."""
        changed, first = features.chunk(2, dim=1)
        scale, shift = self._terms(first)
        return torch.cat([first, (changed - shift) * (-scale).exp()], dim=1)

    def _terms(self, first: Tensor) -> tuple[Tensor, Tensor]:
        scale, shift = self.said(self.read(first)).chunk(2, dim=1)
        return torch.tanh(scale), shift


class Leader(SeesModalities):
    """Fuses any modalities in any order.

    Each is encoded by the same weights. Low frequencies give its base, the rest passes the couplings and gives its
    details. Bases are averaged, details summed by gates that add up to 1 over the modalities present. What is decoded
    moves the aggregate of the shown modalities: F = sigmoid(logit(aggregate) + departure).
    """

    def __init__(self, spec: LeaderSpec) -> None:
        super().__init__()
        self.spec = spec
        self.encoder = spec.encoder.build()
        self.base = spec.base.build()
        self.couplings = nn.ModuleList(Coupling(spec) for _ in range(COUPLINGS))
        self.gate = CONVOLUTIONS[len(spec.kernel)](spec.width, 1, 1)
        self.decoder = spec.decoder.build()
        self.head = spec.head.build()
        for weight in self.gate.parameters():
            nn.init.zeros_(weight)
        nn.init.normal_(self.head.get_parameter("weight"), std=START)

    def forward(self, image: Tensor, present: Tensor | None = None) -> Fused:
        """(B, M + K, *S) and which modalities are there to the fused image; priors are not fused.

        Raises:
            ModelError: if the image or ``present`` does not fit the network.
        """
        plain = self.plain(image, present)
        features = [self.encoder(plain.sources[:, m : m + 1]) for m in range(plain.sources.shape[1])]
        bases, details = zip(*(self.decoupled(found) for found in features), strict=True)
        departure = self.head(self.decoder(self.fuse_features(bases, details, plain.presence)))
        fused = torch.sigmoid(torch.logit(plain.image, EXTREMES) + departure.float())
        return replace(
            plain, image=fused * plain.presence.any(1, keepdim=True), bases=tuple(bases), details=tuple(details)
        )

    def plain(self, image: Tensor, present: Tensor | None = None) -> Fused:
        """The aggregate alone, without bases and details; arguments and errors as of ``forward``."""
        seen, presence = self.see(self.spec.inlet, image, present)
        sources = seen[:, : self.spec.inlet.modalities]
        light = shown(sources, self.spec.windows)
        image = aggregate(light, presence, self.spec.aggregate, self.spec.steps)
        return Fused(image, image, light, presence, (), (), sources)

    def decoupled(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Base and details (B, W, *S) of one modality's features."""
        low = local_mean(features, self.spec.blur)
        details = features - low
        for coupling in self.couplings:
            details = coupling(details)
        return self.base(low), details

    def fuse_features(self, bases: Sequence[Tensor], details: Sequence[Tensor], presence: Tensor) -> Tensor:
        """The mean base and the gated details of the modalities present, (B, 2 W, *S)."""
        first = bases[0]
        share = share_seen(presence, tuple(first.shape[2:]))
        means = mean_weights(share).to(first.dtype)
        gates = gate_weights(torch.cat([self.gate(found) for found in details], dim=1), share).to(first.dtype)
        base = sum((means[:, m : m + 1] * found for m, found in enumerate(bases)), torch.zeros_like(first))
        detail = sum((gates[:, m : m + 1] * found for m, found in enumerate(details)), torch.zeros_like(first))
        return torch.cat([base, detail], dim=1)
