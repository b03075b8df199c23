"""One case made ready for a network: cropped, transposed, normalised and resampled. The CPU result is the reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autofuse.dataset.types import IGNORE
from autofuse.fingerprint.crop import nonzero_box
from autofuse.fingerprint.types import Annotation
from autofuse.foundation.errors import DataError
from autofuse.plan.types import Configuration, Plan
from autofuse.preprocessing.normalise import inside_mask, normalise
from autofuse.preprocessing.placement import Placement, place
from autofuse.preprocessing.resample import resample_image, resample_labels, resample_nearest

if TYPE_CHECKING:
    from autofuse.dataset.raw import RawCase

STROKES_BELOW = 0.25
"""Labels with a smaller labelled fraction of the cropped case are strokes, resampled so that thin ones survive."""


@dataclass(frozen=True)
class PreparedCase:
    """A case on the grid of a configuration.

    Attributes:
        images: (M, z, y, x) float32 on the CPU; zeros where a modality is absent.
        present: (M,) bool.
        label: (z, y, x) int16 class indices with ``IGNORE``, or None.
        placement: the way back.
    """

    id: str
    images: NDArray[np.float32]
    present: NDArray[np.bool_]
    label: NDArray[np.int16] | None
    placement: Placement

    @property
    def annotation(self) -> Annotation:
        """Whether there is a label, and whether it leaves voxels open."""
        if self.label is None:
            return "none"
        return "sparse" if bool((self.label == IGNORE).any()) else "dense"


def prepare_case(
    raw: RawCase, plan: Plan, configuration: Configuration, device: str | torch.device = "cpu"
) -> PreparedCase:
    """``raw`` on the grid of ``configuration``; ``device`` is where it is computed, the result is on the CPU.

    A modality that the case lacks is filled with zeros and marked in ``present``.

    Raises:
        DataError: if no modality is present, their number is not the plan's, or an intensity exceeds float32.
    """
    voxels = _checked_voxels(raw, plan)
    box = nonzero_box([array for array in voxels if array is not None])
    placement = place(
        raw.geometry,
        box,
        plan.transpose,
        configuration.spacing_mm,
        keep_first_axis=configuration.dimensions == 2,
    )
    cropped = [None if array is None else placement.forward(array) for array in voxels]
    images = _prepared_images(cropped, placement, plan, configuration, torch.device(device))
    label = None
    if raw.label is not None:
        label = _prepared_label(placement.forward(raw.label), placement, configuration, torch.device(device))
    present = np.array([array is not None for array in voxels], dtype=np.bool_)
    if not np.isfinite(images).all():
        raise DataError(
            "Intensities are too large to be normalised.",
            case=raw.case.id,
            expected="values within the range of 32-bit floating point",
            remedy="Rescale or repair the image.",
        )
    return PreparedCase(raw.case.id, images, present, label, placement)


def _checked_voxels(raw: RawCase, plan: Plan) -> list[NDArray[Any] | None]:
    voxels = [None if image is None else image.voxels for image in raw.images]
    if len(voxels) != len(plan.modalities):
        raise DataError(
            "This case does not have the modalities that the plan was made for.",
            case=raw.case.id,
            found=f"{len(voxels)} modalities",
            expected=f"{len(plan.modalities)}: " + ", ".join(plan.modalities),
        )
    if all(array is None for array in voxels):
        raise DataError("Every modality of this case is absent.", case=raw.case.id)
    return voxels


def _prepared_images(
    cropped: list[NDArray[Any] | None],
    placement: Placement,
    plan: Plan,
    configuration: Configuration,
    device: torch.device,
) -> NDArray[np.float32]:
    """(M, *prepared_shape); one modality at a time is in float32 on the device."""
    shape = placement.prepared_shape
    images = np.zeros((len(cropped), *shape), dtype=np.float32)
    inside = inside_prepared = None
    if any(
        norm.scheme == "zscore_nonzero" and array is not None
        for norm, array in zip(plan.normalisation, cropped, strict=True)
    ):
        mask = inside_mask([array for array in cropped if array is not None])
        inside = torch.from_numpy(mask.astype(np.float32)).to(device)
        inside_prepared = resample_nearest(inside, shape)
    for index, (array, norm) in enumerate(zip(cropped, plan.normalisation, strict=True)):
        if array is None:
            continue
        volume = normalise(_float_tensor(array, device), norm, inside)
        volume = resample_image(volume[None], shape, anisotropic_axis=configuration.anisotropic_axis)[0]
        if norm.scheme == "zscore_nonzero" and inside_prepared is not None:
            # The spline rings across the border of the body; outside stays exactly 0.
            volume = volume.mul_(inside_prepared)
        images[index] = volume.cpu().numpy()
    return images


def _float_tensor(array: NDArray[Any], device: torch.device) -> Tensor:
    """A fresh, contiguous float32 tensor: the raw voxels are never written to."""
    return torch.from_numpy(np.array(array, dtype=np.float32, order="C")).to(device)


def _prepared_label(
    label: NDArray[np.int16], placement: Placement, configuration: Configuration, device: torch.device
) -> NDArray[np.int16]:
    tensor = torch.from_numpy(np.array(label, dtype=np.int16, order="C")).to(device)
    open_fraction = float((tensor == IGNORE).float().mean())
    resampled = resample_labels(
        tensor,
        placement.prepared_shape,
        anisotropic_axis=configuration.anisotropic_axis,
        sparse=1.0 - open_fraction < STROKES_BELOW,
    )
    result: NDArray[np.int16] = resampled.cpu().numpy()
    return result
