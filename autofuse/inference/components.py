"""Connected components of a mask, and the steps of post-processing that work on them.

Components are of voxels that touch by face, edge or corner (26 neighbours, 8 in a slice); a hole is background that no
path over faces leads out of. What is taken from a region falls to the smallest region around it, else to background;
holes take from the same two.

Axes: z, y, x, slowest first; index maps hold class indices (position in (0, *raw_values)).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autofuse.dataset.label_codes import region_indices, region_membership
from autofuse.dataset.types import Labels
from autofuse.inference.recipe import StructureSteps

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Structure:
    """One class or region as index maps show it.

    Attributes:
        member: (K + 1,) bool, the class indices that belong to it.
        paints: the index of what is added to it; gives_to: the index of what is taken from it.
    """

    name: str
    member: NDArray[np.bool_]
    paints: int
    gives_to: int


def structures(labels: Labels) -> tuple[Structure, ...]:
    """The classes or regions of ``labels``, in their order."""
    members = region_membership(labels)
    painted = region_indices(labels) if labels.has_regions else [int(np.flatnonzero(row)[0]) for row in members]
    return tuple(
        Structure(item.name, members[number], painted[number], _around(members, painted, number))
        for number, item in enumerate(labels.classes)
    )


def _around(members: NDArray[np.bool_], painted: Sequence[int], number: int) -> int:
    """The index that the smallest region around region ``number`` paints outside of it; 0 without one."""
    own = members[number]
    around = [
        (int(row.sum()), index)
        for row, index in zip(members, painted, strict=True)
        if (row & own).sum() == own.sum() < row.sum() and not own[index]
    ]
    return min(around)[1] if around else 0


def components(mask: Mask) -> tuple[NDArray[np.integer[Any]], NDArray[np.int64]]:
    """Number of the component per voxel (0 outside), and voxels per number (position 0 counts the outside)."""
    import cc3d

    numbered, count = cc3d.connected_components(np.ascontiguousarray(mask), connectivity=26, return_N=True)
    return numbered, np.bincount(numbered.ravel(), minlength=count + 1)


def kept_components(sizes: NDArray[np.int64], voxel_mm3: float, steps: StructureSteps) -> NDArray[np.bool_]:
    """Per component number (position 0: the outside, never kept) whether ``steps`` keep it; of equal ones the first."""
    kept: NDArray[np.bool_] = sizes * voxel_mm3 >= steps.least_mm3
    kept[0] = False
    if steps.largest_only and len(sizes) > 1:
        largest = int(sizes[1:].argmax()) + 1
        kept &= np.arange(len(sizes)) == largest
    return kept


def holes(mask: Mask) -> Mask:
    """Voxels that the mask encloses; along an axis of a single voxel nothing leads out."""
    import cc3d

    flat = [size == 1 for size in mask.shape]
    outside = np.pad(~mask, [(0, 0) if single else (1, 1) for single in flat], constant_values=True)
    numbered = cc3d.connected_components(outside, connectivity=6)
    # The padding is one component, and its corner belongs to it; an image of a single voxel has no padding.
    open_ones = numbered[(0,) * mask.ndim]
    inner = tuple(slice(None) if single else slice(1, -1) for single in flat)
    enclosed: Mask = ((numbered != open_ones) & outside)[inner]
    return enclosed


def postprocess(
    indices: NDArray[np.int16], labels: Labels, spacing_mm: Sequence[float], steps: Sequence[StructureSteps]
) -> None:
    """Carry out ``steps`` on an index map (z, y, x), in place, one structure after another: components, then holes.

    Raises:
        KeyError: if a step names no class or region of ``labels``.
    """
    known = {item.name: item for item in structures(labels)}
    voxel_mm3 = float(np.prod(spacing_mm))
    for step in steps:
        if step.acts:
            _carry_out(indices, known[step.structure], voxel_mm3, step)


def _carry_out(indices: NDArray[np.int16], structure: Structure, voxel_mm3: float, step: StructureSteps) -> None:
    from scipy.ndimage import find_objects

    mask = structure.member[indices]
    boxes = find_objects(mask.view(np.uint8))
    if not boxes:
        return
    mask, part = mask[boxes[0]], indices[boxes[0]]
    if step.largest_only or step.least_mm3 > 0:
        numbered, sizes = components(mask)
        kept = kept_components(sizes, voxel_mm3, step)[numbered]
        part[mask & ~kept] = structure.gives_to
        mask = kept
    if step.fill_holes:
        part[holes(mask) & np.isin(part, (0, structure.gives_to))] = structure.paints
