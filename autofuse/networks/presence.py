"""What a network may see: absent modalities out of the image, dropped while training, weighed when features meet.

Shape legend: B batch, M modality, K prior channel, S spatial axes (slowest first), s the axes of a lower resolution.
"Presence" is (B, M, *1) where modalities are absent sample by sample, (B, M, *S) where voxel by voxel.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from autofuse.foundation.errors import ModelError
from autofuse.networks.blocks import AVERAGES
from autofuse.networks.inlet import Inlet
from autofuse.networks.unet import check_input
from autofuse.sampling import ranks

NEVER = -1e4
"""Added to the score of what is absent: finite in every precision, and its exponential is zero."""


class SeesModalities(nn.Module):
    """A network whose modalities can be absent, and are dropped while it trains.

    Attributes:
        dropout_share: how much of the planned dropout is in force, 0 to 1; whole_share: of the samples, that keep all
            they have. Neither is part of the weights.
    """

    dropout_share: float = 1.0
    whole_share: float = 0.0

    def see(self, inlet: Inlet, image: Tensor, present: Tensor | None) -> tuple[Tensor, Tensor]:
        """``visible`` with the dropout that is in force now."""
        dropout = inlet.modality_dropout * self.dropout_share if self.training else 0.0
        return visible(inlet, image, present, dropout, self.whole_share)


def set_modality_dropout(nets: nn.Module, share: float, whole: float) -> None:
    """Put ``share`` of the planned modality dropout in force in every network of ``nets``, ``whole`` samples spared."""
    for module in nets.modules():
        if isinstance(module, SeesModalities):
            module.dropout_share, module.whole_share = share, whole


def visible(
    inlet: Inlet, image: Tensor, present: Tensor | None, dropout: float, whole: float = 0.0
) -> tuple[Tensor, Tensor]:
    """The image (B, M + K, *S) with zeros where modalities are absent, and the presence.

    Args:
        image: (B, M + K, *S); what it holds where a modality is absent does not matter, NaN included.
        present: (B, M) or (B, M, *S) bool; None where all are there.
        dropout: probability with which each modality is dropped, in all samples but a share ``whole`` of them.

    Raises:
        ModelError: if the image or ``present`` does not fit.
    """
    check_input(image, inlet.channels, inlet.reduction)
    if present is None:
        present = torch.ones(image.shape[0], inlet.modalities, dtype=torch.bool, device=image.device)
    wanted = (image.shape[0], inlet.modalities)
    if tuple(present.shape) not in (wanted, (*wanted, *image.shape[2:])):
        raise ModelError(
            "The table of present modalities does not fit the network.",
            found=f"shape {tuple(present.shape)}",
            expected=f"shape {wanted} or {(*wanted, *image.shape[2:])}",
        )
    if dropout > 0:
        present = drop_modalities(present, dropout, whole)
    if present.ndim == 2:
        present = present.view(*wanted, *(1,) * (image.ndim - 2))
    return without_absent(image, present), present


def without_absent(image: Tensor, present: Tensor) -> Tensor:
    """``image`` (B, M + K, *S) with zeros where ``present`` (B, M), (B, M, *1) or (B, M, *S) says absent."""
    if present.ndim == 2:
        present = present.view(*present.shape, *(1,) * (image.ndim - 2))
    modalities = present.shape[1]
    seen = image[:, :modalities].masked_fill(~present, 0.0)
    return seen if modalities == image.shape[1] else torch.cat([seen, image[:, modalities:]], dim=1)


def one_modality(inlet: Inlet, image: Tensor, modality: int) -> Tensor:
    """What a network of one modality sees of ``image`` (B, M + K, *S): the modality and the priors, (B, 1 + K, *S)."""
    own = image[:, modality : modality + 1]
    return torch.cat([own, image[:, inlet.modalities :]], dim=1) if inlet.prior_channels else own


def drop_modalities(present: Tensor, probability: float, whole: float = 0.0) -> Tensor:
    """``present`` (B, M) or (B, M, *S) with each modality dropped at ``probability``, but never a sample's last one.

    A sample keeps all it has with probability ``whole``.
    """
    there = present.flatten(2).any(2) if present.ndim > 2 else present
    luck = ranks.rand(*there.shape, device=there.device).masked_fill(~there, -1.0)
    luckiest = torch.zeros_like(there).scatter_(1, luck.argmax(1, keepdim=True), True)
    spared = ranks.rand(there.shape[0], 1, device=there.device) < whole
    kept = (luck >= probability) | luckiest | spared
    return present & kept.view(*kept.shape, *(1,) * (present.ndim - 2))


def share_seen(presence: Tensor, size: tuple[int, ...]) -> Tensor:
    """Which share of each voxel at resolution ``size`` a modality sees, (B, M, *1) or (B, M, *s) in [0, 1]."""
    if tuple(presence.shape[2:]) in ((1,) * len(size), size):
        return presence.float()
    steps = [whole // voxels for whole, voxels in zip(presence.shape[2:], size, strict=True)]
    return AVERAGES[len(size)](presence.float(), steps, steps)


def mean_weights(share: Tensor) -> Tensor:
    """Weights (of ``share``'s shape) of a mean over the modalities that see a voxel; all zero where nobody does."""
    return share / share.sum(1, keepdim=True).clamp_min(torch.finfo(share.dtype).tiny)


def gate_weights(scores: Tensor, share: Tensor) -> Tensor:
    """Softmax over modalities of ``scores`` (B, M, *S), each weighed by the ``share`` of the voxel that it sees.

    The weights of any subset add up to 1, an absent modality's is 0, and where nobody sees anything all are 0.
    """
    there = share > 0
    known = torch.where(there, share.clamp_min(torch.finfo(share.dtype).tiny).log(), NEVER)
    return torch.softmax(scores.float() + known, dim=1) * there
