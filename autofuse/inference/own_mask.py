"""A mask for each modality, on the native grid of its own image, where modalities carry masks of their own.

The network sees a case on the grid of its reference modality, as in training; what a modality's head says there is
interpolated linearly onto that modality's grid. Beyond what the reference shows there is background.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from autofuse.alignment.regrid import regrid
from autofuse.dataset.grids import same_grid
from autofuse.dataset.label_codes import region_indices
from autofuse.dataset.types import Case, mask_name
from autofuse.foundation.errors import DataError, UsageError
from autofuse.images.geometry import Geometry
from autofuse.inference.export import THRESHOLD
from autofuse.inference.prediction import LoadedCase, Prediction, PredictOptions, Probabilities
from autofuse.training.model import AnyModel


def require_whose(models: Sequence[AnyModel], case: LoadedCase, options: PredictOptions) -> None:
    """Nothing, if it is clear whose mask is wanted of models that make one for each modality.

    Raises:
        UsageError: if it is not said, is said of models that make one mask, or more than the mask is asked for.
        DataError: if the case lacks that modality.
    """
    plan = models[0].task.plan
    if plan.masks_per_modality != (options.modality is not None):
        own = plan.masks_per_modality
        raise UsageError(
            "These models make a mask for each modality." if own else "These models make one mask for all modalities.",
            found="no modality was named" if own else f"channel {options.modality} was named",
            expected="one of " + ", ".join(plan.modalities) if own else "no modality",
            remedy="Say whose mask is wanted." if own else "Leave the modality out.",
        )
    if options.modality is None:
        return
    if options.keeps:
        raise UsageError(
            "Probabilities and uncertainty are not kept where each modality has a mask of its own.",
            remedy="Ask for the masks alone.",
        )
    if case.own[options.modality] is None:
        name = plan.modalities[options.modality]
        raise DataError(f"The case lacks {name}, whose mask is wanted.", case=case.id, remedy="Name another modality.")


def own_grid(case: LoadedCase, options: PredictOptions) -> Geometry:
    """The grid on which the mask is wanted: that of the modality's own image, or the case's reference grid."""
    grid = None if options.modality is None else case.own[options.modality]
    return case.geometry if grid is None else grid


def lies_elsewhere(case: LoadedCase, options: PredictOptions) -> bool:
    """Whether the mask is wanted on another grid than the case's reference grid."""
    return not same_grid(own_grid(case, options), case.geometry)


def painted_elsewhere(
    probabilities: Probabilities, target: Geometry, thresholds: Sequence[float] | None = None
) -> NDArray[np.int16]:
    """(*target.shape) class indices: of the interpolated probabilities the largest wins, the lower index on a tie;
    regions are painted in order, each where it exceeds its threshold. One output is in memory at a time."""
    labels, geometry = probabilities.labels, probabilities.placement.geometry
    outputs = probabilities.spool.outputs
    indices = np.zeros(target.shape, dtype=np.int16)
    limits = thresholds or (THRESHOLD,) * outputs
    codes = region_indices(labels) if labels.has_regions else range(outputs)
    best = np.zeros(target.shape, dtype=np.float32)
    for channel, code in enumerate(codes):
        found, covered = regrid(probabilities.output(channel), geometry, target, order=1)
        if labels.has_regions:
            indices[found > limits[channel]] = code
        elif channel == 0:
            best = np.where(covered, found, 1.0)
        else:
            wins = found > best
            indices[wins], best[wins] = code, found[wins]
    return indices


def of_modality(prediction: Prediction, modality: int, names: Sequence[str]) -> Prediction:
    """``prediction`` under the name of that modality's mask."""
    seen = replace(prediction.seen, grid=names[modality]) if prediction.seen.grid else prediction.seen
    return replace(prediction, case=mask_name(prediction.case, modality), seen=seen)


def masks_of(case: Case, own: bool) -> dict[str, int | None]:
    """Names of the masks that are made of a case, with the modality of each: one alone, or one a modality that is
    there."""
    if not own:
        return {case.id: None}
    return {case.mask_name(channel): channel for channel, image in enumerate(case.images) if image is not None}
