"""How strongly patches are augmented."""

from __future__ import annotations

import math
from typing import Any

from autofuse.plan.types import Configuration, Decision
from autofuse_planners.thresholds import Thresholds


def choose_augmentation(
    default: Configuration, steps: int, cases: int, rules: Thresholds
) -> tuple[dict[str, Any], Decision]:
    """Fields of the trainer: rotations and zooms more often than nnU-Net where few cases are seen many times.

    On 52 hippocampi the held-out Dice stood still from the 1,800th of 4,000 steps at nnU-Net's rate, while the loss
    went on falling; after 1,600 steps both rates had come to the same Dice (0.857 and 0.858; another fold, one seed).
    """
    passes = steps * default.batch * math.prod(default.patch) / (cases * _seen_voxels(default))
    often = cases < rules.few_cases and passes > rules.many_passes
    fields: dict[str, Any] = {"rotation": rules.often_share, "scaling": rules.often_share} if often else {}
    return fields, Decision(
        what="augmentation",
        chosen=f"rotation and zoom of {rules.often_share:.0%} of the samples" if often else "as nnU-Net",
        rule=(
            f"fewer than {rules.few_cases} cases, each seen more than {rules.many_passes:g} times, are learned by heart"
        ),
        evidence={"cases": cases, "passes": round(passes, 1)},
        alternatives=("as nnU-Net: rotation and zoom of 20% each",) if often else (),
    )


def _seen_voxels(default: Configuration) -> int:
    """Voxels of the median case."""
    return math.prod(default.median_shape)
