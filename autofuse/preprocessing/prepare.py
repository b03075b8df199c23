"""One case made ready for a network: cropped, transposed, normalised and resampled. The CPU result is the reference."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autofuse.dataset.types import IGNORE
from autofuse.fingerprint.crop import case_box
from autofuse.fingerprint.types import Annotation
from autofuse.foundation.errors import DataError
from autofuse.plan.types import Configuration, NormalisationPlan, Plan
from autofuse.preprocessing.elsewhere import Rigids, find_rigids, on_prepared_grid
from autofuse.preprocessing.far import with_far_background
from autofuse.preprocessing.label import own_labels, prepared_label
from autofuse.preprocessing.ladder import Ladder, place_name, places
from autofuse.preprocessing.normalise import inside_mask, normalise, only_inside
from autofuse.preprocessing.placement import Placement, place
from autofuse.preprocessing.resample import resample_image, resample_nearest

if TYPE_CHECKING:
    from autofuse.dataset.raw import RawCase


KINDS: tuple[Annotation, ...] = ("sparse", "dense")
"""How a case with several masks is annotated: as the first of these that one of them is."""


@dataclass(frozen=True)
class PreparedCase:
    """A case on the grid of a configuration.

    Attributes:
        images: (M, z, y, x) float32 on the CPU; zeros where a modality is absent, NaN outside the field of view of one
            that is there.
        present: (M,) bool.
        label: (z, y, x) int16 class indices with ``IGNORE``, or None; (M, z, y, x) where modalities carry masks of
            their own.
        placement: the way back.
        partial_view: whether a modality that is there does not see all of the grid.
        rigids: per modality what brought it onto the reference; None where nothing did.
        annotations: where modalities carry masks of their own, how each is annotated; () otherwise.
    """

    id: str
    images: NDArray[np.float32]
    present: NDArray[np.bool_]
    label: NDArray[np.int16] | None
    placement: Placement
    partial_view: bool = False
    rigids: Rigids = ()
    annotations: tuple[Annotation, ...] = ()

    @property
    def annotation(self) -> Annotation:
        """Whether there is a label, and whether it, or a mask of a modality, leaves voxels open."""
        if self.annotations:
            return next((kind for kind in KINDS if kind in self.annotations), "none")
        if self.label is None:
            return "none"
        return "sparse" if bool((self.label == IGNORE).any()) else "dense"


def prepare_case(
    raw: RawCase,
    plan: Plan,
    configuration: Configuration,
    device: str | torch.device = "cpu",
    rigids: Rigids | None = None,
) -> PreparedCase:
    """``raw`` on the grid of ``configuration``; ``device`` is where it is computed, the result is on the CPU.

    A modality that the case lacks, or that sees nothing of the grid, is filled with zeros and marked in ``present``.

    Args:
        rigids: as ``find_rigids`` gives them for this case and plan; None finds them.

    Raises:
        DataError: if no modality is present, their number is not the plan's, or an intensity exceeds float32.
    """
    _check_modalities(raw, plan)
    device = torch.device(device)
    rigids = find_rigids(raw, plan) if rigids is None else rigids
    placement = place(
        raw.geometry,
        case_box(raw.images, raw.geometry, rigids),
        plan.transpose,
        configuration.spacing_mm,
        keep_first_axis=configuration.dimensions == 2,
    )
    here = [raw.on_reference(channel) and rigids[channel] is None for channel in range(len(raw.images))]
    cropped = [
        placement.forward(image.voxels) if image is not None and stays else None
        for image, stays in zip(raw.images, here, strict=True)
    ]
    images = _prepared_images(cropped, placement, plan, configuration, device)
    views = _brought_here(raw, rigids, here, images, placement, plan, device)
    label = None
    annotations: tuple[Annotation, ...] = ()
    if raw.labels:
        label, annotations = own_labels(raw, rigids, placement, configuration, device)
    elif raw.label is not None:
        label = prepared_label(placement.forward(raw.label), placement, configuration, device)
        if plan.far_background and bool((label == IGNORE).any()):
            classes = len(plan.labels.raw_values)
            label = with_far_background(label, placement.prepared_spacing_mm, classes, raw.case.id)
    # NaN and infinity show in the extremes, which need no mask of the whole case.
    if not np.isfinite([images.min(), images.max()]).all():
        raise DataError(
            "Intensities are too large to be normalised.",
            case=raw.case.id,
            expected="values within the range of 32-bit floating point",
            remedy="Rescale or repair the image.",
        )
    present = np.array([stays or (k in views and bool(views[k].any())) for k, stays in enumerate(here)], dtype=np.bool_)
    partly = [channel for channel, covered in views.items() if present[channel] and not covered.all()]
    for channel in partly:
        images[channel][~views[channel]] = np.nan
    return PreparedCase(raw.case.id, images, present, label, placement, bool(partly), rigids, annotations)


def _check_modalities(raw: RawCase, plan: Plan) -> None:
    if len(raw.images) != len(plan.modalities):
        raise DataError(
            "This case does not have the modalities that the plan was made for.",
            case=raw.case.id,
            found=f"{len(raw.images)} modalities",
            expected=f"{len(plan.modalities)}: " + ", ".join(plan.modalities),
        )
    if all(image is None for image in raw.images):
        raise DataError("Every modality of this case is absent.", case=raw.case.id)
    if raw.labels and not plan.masks_per_modality:
        raise DataError(
            "Modalities of this case carry masks of their own, and the plan is for one mask.",
            case=raw.case.id,
            expected="a plan whose networks have a head for each modality",
            remedy="Plan with another planner, such as the default one.",
        )


def _brought_here(
    raw: RawCase,
    rigids: Rigids,
    here: list[bool],
    images: NDArray[np.float32],
    placement: Placement,
    plan: Plan,
    device: torch.device,
) -> dict[int, NDArray[np.bool_]]:
    """Where each modality that came from elsewhere is covered, by channel; ``images`` is filled with them."""
    views, ladder = {}, Ladder("bringing a modality onto the reference grid")
    for channel, image in enumerate(raw.images):
        if image is None or here[channel]:
            continue
        norm = plan.normalisation[channel]
        work = partial(on_prepared_grid, image, placement.prepared_geometry, rigids[channel], norm)
        ways = ((place_name(where), partial(work, where)) for where in places(device))
        images[channel], views[channel] = ladder.climb(*ways)
    return views


def _prepared_images(
    cropped: list[NDArray[Any] | None],
    placement: Placement,
    plan: Plan,
    configuration: Configuration,
    device: torch.device,
) -> NDArray[np.float32]:
    """(M, *prepared_shape), zeros for those that are None; one modality at a time is in float32 on the device."""
    shape = placement.prepared_shape
    images = np.zeros((len(cropped), *shape), dtype=np.float32)
    mask = None
    if any(
        norm.scheme == "zscore_nonzero" and array is not None
        for norm, array in zip(plan.normalisation, cropped, strict=True)
    ):
        mask = inside_mask([array for array in cropped if array is not None])
    body = _Body(mask, shape)
    ladder = Ladder("preparing a modality")
    for index, (array, norm) in enumerate(zip(cropped, plan.normalisation, strict=True)):
        if array is not None:
            work = partial(_prepare_image, array, images[index], norm, body, configuration)
            ladder.climb(*((place_name(where), partial(work, where)) for where in places(device)))
    return images


class _Body:
    """What is inside of the body, before and after resampling, on any device; kept on the last that was asked for."""

    def __init__(self, mask: NDArray[np.bool_] | None, shape: tuple[int, int, int]) -> None:
        self._mask, self._shape = mask, shape
        self._kept: tuple[torch.device, Tensor, Tensor] | None = None

    def on(self, device: torch.device) -> tuple[Tensor | None, Tensor | None]:
        """(z, y, x) bool on the cropped and on the prepared grid; None where no scheme asks for them."""
        if self._mask is None:
            return None, None
        if self._kept is None or self._kept[0] != device:
            self._kept = None
            inside = torch.from_numpy(self._mask).to(device)
            self._kept = (device, inside, resample_nearest(inside, self._shape))
        return self._kept[1], self._kept[2]


def _prepare_image(
    array: NDArray[Any],
    out: NDArray[np.float32],
    norm: NormalisationPlan,
    body: _Body,
    configuration: Configuration,
    device: torch.device,
) -> None:
    """Write one modality, normalised and resampled on ``device``, into ``out``."""
    inside, inside_prepared = body.on(device)
    stays = array.shape == out.shape and device.type == "cpu"
    if stays:
        # What is not resampled is normalised where it will stay: half the memory of a large case.
        out[:] = array
    volume = normalise(torch.from_numpy(out) if stays else _float_tensor(array, device), norm, inside)
    volume = resample_image(volume[None], out.shape, anisotropic_axis=configuration.anisotropic_axis)[0]
    if norm.scheme == "zscore_nonzero" and inside_prepared is not None:
        # The spline rings across the border of the body; outside stays exactly 0.
        volume = only_inside(volume, inside_prepared)
    if not stays:
        out[:] = volume.cpu().numpy()


def _float_tensor(array: NDArray[Any], device: torch.device) -> Tensor:
    """A fresh, contiguous float32 tensor: the raw voxels are never written to."""
    return torch.from_numpy(np.array(array, dtype=np.float32, order="C")).to(device)
