"""Modalities that do not lie on the reference grid, or must be moved first: from their own grid to the prepared one.

Each is normalised on its own voxels and interpolated once. Outside its field of view it is NaN: nobody knows what is
there, and no number must be taken for an intensity.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from autofuse.alignment.regrid import regrid
from autofuse.alignment.types import Rigid
from autofuse.foundation.console import log
from autofuse.plan.types import NormalisationPlan, Plan
from autofuse.preprocessing.normalise import inside_mask, normalise

if TYPE_CHECKING:
    from autofuse.dataset.raw import RawCase
    from autofuse.images.geometry import Geometry
    from autofuse.images.image import Image

Rigids = tuple[Rigid | None, ...]


def find_rigids(raw: RawCase, plan: Plan) -> Rigids:
    """Per modality what brings it onto the reference modality; None where nothing does or the plan asks for nothing.

    Where the registration fails or goes beyond the plan's limits, the image stays as it is, and that is logged.
    """
    if plan.registration is None:
        return (None,) * len(raw.images)
    present = [channel for channel, image in enumerate(raw.images) if image is not None]
    wanted = plan.reference if raw.reference is None else raw.reference
    fixed = raw.images[wanted if wanted in present else present[0]]
    assert fixed is not None
    return tuple(None if image is None or image is fixed else _rigid(raw, plan, fixed, image) for image in raw.images)


def _rigid(raw: RawCase, plan: Plan, fixed: Image, moving: Image) -> Rigid | None:
    from autofuse.alignment.rigid import register

    assert plan.registration is not None
    found = register(
        fixed.voxels,
        fixed.geometry,
        moving.voxels,
        moving.geometry,
        largest_shift_mm=plan.registration.largest_shift_mm,
        largest_rotation_degrees=plan.registration.largest_rotation_degrees,
    )
    if found is None:
        name = plan.modalities[next(channel for channel, image in enumerate(raw.images) if image is moving)]
        log().warning("%s: %s could not be registered; it stays as it lies", raw.case.id, name)
    return found


def on_prepared_grid(
    image: Image, target: Geometry, rigid: Rigid | None, plan: NormalisationPlan, device: torch.device
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(*target.shape) float32, normalised over the image's own field of view, and where it is covered; 0 elsewhere."""
    inside = None
    if plan.scheme == "zscore_nonzero":
        inside = torch.from_numpy(inside_mask([image.voxels]).astype(np.float32)).to(device)
    volume = torch.from_numpy(np.array(image.voxels, dtype=np.float32, order="C")).to(device)
    volume = normalise(volume, plan, inside)
    voxels, covered = regrid(volume.cpu().numpy(), image.geometry, target, rigid, device=device)
    if inside is not None:
        # As for modalities on the reference grid: the outside of the body stays exactly 0.
        body, _ = regrid(inside.cpu().numpy(), image.geometry, target, rigid, order=1, device=device)
        voxels[body < 0.5] = 0
    return voxels, covered
