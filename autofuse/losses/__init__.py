"""Losses for classes and for regions: Dice and cross-entropy on labelled voxels, and what teaches on the others."""

from autofuse.losses.consistency import divergence_from, symmetric_divergence
from autofuse.losses.deep_supervision import Loss, deep_supervision, level_weights, nearest
from autofuse.losses.dice_ce import dice_ce
from autofuse.losses.gated_crf import Neighbourhood, gated_crf
from autofuse.losses.probabilities import log_answers

__all__ = [
    "Loss",
    "Neighbourhood",
    "deep_supervision",
    "dice_ce",
    "divergence_from",
    "gated_crf",
    "level_weights",
    "log_answers",
    "nearest",
    "symmetric_divergence",
]
