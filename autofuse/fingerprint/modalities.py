"""The modalities of one case against each other: grids, fields of view, and how far they lie apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from autofuse.alignment.displacement import Displacement, measure_displacement
from autofuse.alignment.field_of_view import index_map, overlap
from autofuse.dataset.grids import same_grid
from autofuse.fingerprint.types import GridFacts, PairFacts

if TYPE_CHECKING:
    from autofuse.dataset.raw import RawCase
    from autofuse.images.image import Image


def grids_of(raw: RawCase) -> tuple[GridFacts | None, ...]:
    """Per modality its own grid, and how much of the reference grid it sees."""
    return tuple(None if image is None else _grid(raw, channel, image) for channel, image in enumerate(raw.images))


def pairs_of(raw: RawCase) -> tuple[PairFacts, ...]:
    """The reference modality with each other one that is there."""
    if raw.reference is None or (fixed := raw.images[raw.reference]) is None:
        return ()
    return tuple(
        pair_facts(raw.reference, channel, measured(fixed, image))
        for channel, image in enumerate(raw.images)
        if image is not None and channel != raw.reference
    )


def measured(fixed: Image, moving: Image) -> Displacement:
    """How far two images lie apart as they are stored."""
    return measure_displacement(fixed.voxels, fixed.geometry, moving.voxels, moving.geometry)


def pair_facts(fixed: int, moving: int, found: Displacement) -> PairFacts:
    """What is kept of a measured displacement."""
    return PairFacts(
        fixed=fixed,
        moving=moving,
        displacement_mm=found.displacement_mm,
        distance_mm=found.distance_mm,
        agreement=found.agreement,
        agreement_unmoved=found.agreement_unmoved,
        resolution_mm=found.resolution_mm,
        reliable=found.reliable,
    )


def foreground_of(raw: RawCase, channel: int, image: Image) -> NDArray[np.bool_] | None:
    """Where the label has foreground, or the modality's own where it has one, on the image's own grid (nearest voxel);
    None without a label."""
    if raw.labels:
        own = raw.labels[channel]
        return None if own is None else own > 0
    if raw.label is None:
        return None
    marked = raw.label > 0
    if same_grid(image.geometry, raw.geometry):
        return marked
    from scipy.ndimage import affine_transform

    matrix = index_map(raw.geometry, image.geometry)
    there = affine_transform(
        marked.astype(np.uint8), matrix[:3, :3], matrix[:3, 3], image.geometry.shape, order=0, mode="grid-constant"
    )
    return np.asarray(there, bool)


def _grid(raw: RawCase, channel: int, image: Image) -> GridFacts:
    same = raw.on_reference(channel)
    share = 1.0 if same else overlap(image.geometry, raw.geometry)
    return GridFacts(
        shape=image.geometry.shape, spacing_mm=image.geometry.spacing_mm, same=same, overlap=round(share, 6)
    )
