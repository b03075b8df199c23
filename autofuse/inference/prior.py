"""What the second stage of a cascade is given: the first stage's masks on its own grid, a channel per class."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autofuse.dataset.label_codes import region_membership
from autofuse.plan.types import Configuration, Plan
from autofuse.preprocessing.placement import Placement
from autofuse.preprocessing.resample import resample_labels


def prior_indices(native: NDArray[np.integer], configuration: Configuration, placement: Placement) -> NDArray[np.int16]:
    """(z, y, x) class indices on the prepared grid from those on the native one, as preprocessing resamples labels."""
    cropped = torch.from_numpy(np.array(placement.forward(native), dtype=np.int16, order="C"))
    resampled = resample_labels(cropped, placement.prepared_shape, anisotropic_axis=configuration.anisotropic_axis)
    indices: NDArray[np.int16] = resampled.numpy()
    return indices


def prior_channels(
    native: NDArray[np.integer], plan: Plan, configuration: Configuration, placement: Placement
) -> Tensor:
    """(K, z, y, x) bool on the prepared grid: per class or region of the labels, whether the first stage saw it."""
    indices = torch.from_numpy(prior_indices(native, configuration, placement)).long().clamp_(min=0)
    return torch.from_numpy(region_membership(plan.labels))[:, indices]
