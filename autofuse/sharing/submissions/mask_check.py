"""What is wrong with a mask that is to be submitted: its grid, its type, its values."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from autofuse.dataset.grids import SILENT_GAP, describe, differences, grid_gap
from autofuse.dataset.types import Case, Dataset, Labels
from autofuse.foundation.errors import AutofuseError
from autofuse.images import Geometry, read_header, read_label_image


def mask_values(labels: Labels) -> tuple[int, ...]:
    """Every value that a predicted mask may hold, background first."""
    painted = labels.region_values or tuple(item.raw_values[0] for item in labels.classes)
    return tuple(sorted({0, *painted}))


def mask_faults(path: Path, grids: Sequence[Geometry], values: Collection[int], dtypes: Collection[str]) -> list[str]:
    """Faults of the mask in ``path``; empty for one that may be submitted.

    Args:
        grids: of the images that it belongs to; it has to lie on one of them.
        values: that it may hold.
        dtypes: names of the voxel types that are taken ("uint8").
    """
    try:
        stored, mask = read_header(path).dtype.name, read_label_image(path)
    except AutofuseError as error:
        return [f"it cannot be read: {error.problem}"]
    faults = []
    if not any(lies_on(mask.geometry, grid) for grid in grids):
        nearest = grids[0]
        faults.append(
            f"its grid is not that of its image ({differences(mask.geometry, nearest)} differ): "
            f"{describe(mask.geometry)}; expected {describe(nearest)}"
        )
    if stored not in dtypes:
        faults.append(f"its voxels are {stored}; expected {' or '.join(sorted(dtypes))}")
    strange = sorted(set(np.unique(mask.voxels).tolist()) - set(values))
    if strange:
        known = ", ".join(map(str, sorted(values)))
        faults.append(f"it holds the values {', '.join(map(str, strange[:10]))}; expected only {known}")
    return faults


def lies_on(mask: Geometry, image: Geometry) -> bool:
    """Whether two grids are one, but for what a header's single precision rounds."""
    return mask.shape == image.shape and grid_gap(mask, image) <= SILENT_GAP


def case_grids(dataset: Dataset, case: Case, reference: int | None) -> list[Geometry]:
    """Grids of a case's images, that of channel ``reference`` first; only that one, where it is there.

    Raises:
        DataError: if a header cannot be read.
    """
    files = [case.images[reference]] if reference is not None and reference < len(case.images) else []
    present = [image for image in files if image is not None] or [item for item in case.images if item is not None]
    return [read_header(dataset.path(image.path)).geometry for image in present]
