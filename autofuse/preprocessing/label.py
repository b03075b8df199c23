"""Label maps on the prepared grid: one for all modalities, or each modality's own through the geometry of its image."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from autofuse.alignment.field_of_view import covered_voxels, index_map
from autofuse.alignment.regrid import regrid
from autofuse.alignment.types import Rigid
from autofuse.dataset.types import IGNORE
from autofuse.fingerprint.strokes import STROKES_BELOW
from autofuse.fingerprint.types import Annotation
from autofuse.plan.types import Configuration
from autofuse.preprocessing.ladder import Ladder, place_name, places
from autofuse.preprocessing.placement import Placement
from autofuse.preprocessing.resample import resample_labels

if TYPE_CHECKING:
    from autofuse.dataset.raw import RawCase
    from autofuse.images.geometry import Geometry


def prepared_label(
    label: NDArray[np.int16], placement: Placement, configuration: Configuration, device: torch.device
) -> NDArray[np.int16]:
    """A label of the cropped grid on the prepared one; strokes are resampled so that thin ones survive."""
    sparse = _are_strokes(label)

    def resampled(where: torch.device) -> NDArray[np.int16]:
        tensor = torch.from_numpy(np.array(label, dtype=np.int16, order="C")).to(where)
        axis = configuration.anisotropic_axis
        found = resample_labels(tensor, placement.prepared_shape, anisotropic_axis=axis, sparse=sparse)
        result: NDArray[np.int16] = found.cpu().numpy()
        return result

    ways = ((place_name(where), partial(resampled, where)) for where in places(device))
    return Ladder("resampling labels").climb(*ways)


def own_labels(
    raw: RawCase,
    rigids: tuple[Rigid | None, ...],
    placement: Placement,
    configuration: Configuration,
    device: torch.device,
) -> tuple[NDArray[np.int16], tuple[Annotation, ...]]:
    """The masks of all modalities (M, z, y, x), and how each is annotated.

    Each goes the way of its own modality's image, whatever the others show. ``IGNORE`` everywhere in a modality without
    a mask, and outside its field of view.
    """
    masks = np.full((len(raw.labels), *placement.prepared_shape), IGNORE, dtype=np.int16)
    kinds: list[Annotation] = []
    for channel, (image, label) in enumerate(zip(raw.images, raw.labels, strict=True)):
        if image is None or label is None:
            kinds.append("none")
            continue
        kinds.append("sparse" if bool((label == IGNORE).any()) else "dense")
        if raw.on_reference(channel) and rigids[channel] is None:
            masks[channel] = prepared_label(placement.forward(label), placement, configuration, device)
        else:
            masks[channel] = brought_label(label, image.geometry, placement.prepared_geometry, rigids[channel], device)
    return masks, tuple(kinds)


def brought_label(
    label: NDArray[np.int16],
    geometry: Geometry,
    target: Geometry,
    rigid: Rigid | None = None,
    device: str | torch.device = "cpu",
) -> NDArray[np.int16]:
    """A label (z, y, x) on another grid, (*target.shape), ``IGNORE`` where it shows nothing of that.

    Each class is interpolated linearly as a mask of its own and the largest wins, the lower index on a tie; strokes are
    taken from the nearest voxel.
    """
    covered = covered_voxels(geometry, target, rigid)
    if _are_strokes(label):
        return np.where(covered, _nearest(label, geometry, target, rigid), IGNORE).astype(np.int16)
    out = np.full(target.shape, IGNORE, dtype=np.int16)
    best = np.zeros(target.shape, dtype=np.float32)
    for value in [*np.unique(label[label != IGNORE]).tolist(), IGNORE]:
        mask = label == value
        if mask.any():
            weight, _ = regrid(mask.astype(np.float32), geometry, target, rigid, order=1, device=device)
            wins = covered & (weight > best)
            out[wins], best[wins] = value, weight[wins]
    return out


def _are_strokes(label: NDArray[np.int16]) -> bool:
    return float((label != IGNORE).mean()) < STROKES_BELOW


def _nearest(label: NDArray[np.int16], geometry: Geometry, target: Geometry, rigid: Rigid | None) -> NDArray[np.int16]:
    from scipy.ndimage import affine_transform

    matrix = index_map(geometry, target, rigid)
    found: NDArray[np.int16] = affine_transform(
        label, matrix[:3, :3], matrix[:3, 3], target.shape, order=0, mode="constant", cval=IGNORE
    )
    return found
