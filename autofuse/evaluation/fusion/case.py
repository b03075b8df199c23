"""One case as it is judged: its sources on one grid and one scale, the fused image, and the trivial fusions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autofuse.alignment.regrid import regrid
from autofuse.dataset.grids import TOLERATED_GAP, describe, differences, grid_gap
from autofuse.dataset.raw import load_case
from autofuse.dataset.types import Case, Dataset
from autofuse.evaluation.fusion.greys import Unit, Window, body_of, robust_window, to_unit
from autofuse.evaluation.fusion.trivial import COPY, trivial_fusions
from autofuse.evaluation.fusion.types import FUSED
from autofuse.fingerprint.crop import nonzero_box
from autofuse.foundation.errors import DataError
from autofuse.images.geometry import Geometry
from autofuse.scribbles.drawing import slicing_axis

Windows = Mapping[str, Window]
"""Declared windows by modality, and that of the fused images under ``FUSED``; others are found from the voxels."""


@dataclass(frozen=True)
class Sources:
    """The sources of one case on its reference grid.

    Attributes:
        images: by modality, (z, y, x) in [0, 1].
        body: where any of them shows something.
        slice_axis: across which slices are cut: the one with the coarsest spacing.
        warnings: what was odd but could be used.
    """

    images: dict[str, Unit]
    body: NDArray[np.bool_]
    geometry: Geometry
    slice_axis: int
    warnings: tuple[str, ...] = ()

    @property
    def box(self) -> tuple[slice, ...]:
        """The smallest box that holds the body; it alone is scored."""
        return nonzero_box([self.body])


def load_sources(dataset: Dataset, case: Case, windows: Windows) -> Sources:
    """The sources of a case, each in [0, 1] by its declared window or by its percentiles in the body.

    An image on another grid is brought onto the reference grid by its header, in one interpolation; it is not
    registered. Where it sees nothing it is 0.

    Raises:
        DataError: if an image cannot be read, or sees nothing of the reference grid.
    """
    raw = load_case(dataset, case, with_label=False)
    warnings = list(raw.warnings)
    seen: dict[str, NDArray[Any]] = {}
    for channel, modality in enumerate(dataset.modalities):
        image = raw.images[channel]
        if image is None:
            continue
        seen[modality.name] = image.voxels
        if not raw.on_reference(channel):
            voxels, covered = regrid(image.voxels, image.geometry, raw.geometry)
            seen[modality.name] = np.where(covered, voxels, np.float32(np.nan))
            warnings.append(
                f"{modality.name} has a grid of its own: brought onto the reference grid by its header, not registered"
            )
    body = np.logical_or.reduce([body_of(voxels) for voxels in seen.values()])
    images: dict[str, Unit] = {
        name: to_unit(voxels, windows.get(name) or robust_window(voxels, body)) for name, voxels in seen.items()
    }
    return Sources(images, body, raw.geometry, slicing_axis(raw.geometry), tuple(warnings))


def read_fused(path: Path, case: str, grid: Geometry) -> NDArray[Any]:
    """The voxels of a fused image (z, y, x), on the case's reference grid.

    Raises:
        DataError: naming case and file, if it cannot be read, has several components, or lies on another grid.
    """
    from autofuse.images import read_image

    try:
        image = read_image(path)
    except DataError as error:
        error.case = error.case or case
        raise
    if image.voxels.ndim != 3:
        raise DataError(
            "A fused image has one value a voxel.",
            case=case,
            file=path,
            found=f"{image.voxels.shape[0]} components",
            remedy="Save one single-channel image per case.",
        )
    if image.geometry.shape != grid.shape or grid_gap(image.geometry, grid) > TOLERATED_GAP:
        raise DataError(
            f"The fused image lies on another grid than its case: {differences(image.geometry, grid)} differ.",
            case=case,
            file=path,
            found=describe(image.geometry),
            expected=f"{describe(grid)}, the grid of the case's label or first image",
            remedy="Write the fused image on that grid.",
        )
    return image.voxels


def rows_of(sources: Sources, fused: NDArray[Any] | None, windows: Windows) -> dict[str, Unit]:
    """Every image that is scored by the name of its row, (z, y, x) in [0, 1]: the fused one first, then trivial ones.

    Every row is brought to [0, 1] as the sources were: by its own percentiles in the body. Where a window is declared
    for the fused image, it has that one, and trivial fusions keep the scale of the sources that they are made of.
    """
    declared = windows.get(FUSED)
    rows: dict[str, Unit] = {}
    if fused is not None:
        rows[FUSED] = to_unit(fused, declared or robust_window(fused, sources.body))
    for name, image in trivial_fusions(sources.images, sources.slice_axis).items():
        made = declared is None and not name.startswith(COPY)
        rows[name] = to_unit(image, robust_window(image, sources.body)) if made else image
    return rows
