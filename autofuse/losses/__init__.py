"""Losses that see labelled voxels only: Dice, cross-entropy, deep supervision; for classes and for regions."""

from autofuse.losses.deep_supervision import deep_supervision, level_weights, nearest
from autofuse.losses.dice_ce import dice_ce

__all__ = ["deep_supervision", "dice_ce", "level_weights", "nearest"]
