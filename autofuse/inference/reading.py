"""Whether a case has what its models need, and the masks that a cascade's earlier stage left for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autofuse.dataset.grids import TOLERATED_GAP, describe, grid_gap
from autofuse.dataset.label_codes import encode_labels
from autofuse.dataset.types import Case, Dataset
from autofuse.foundation.errors import DataError
from autofuse.images.geometry import Geometry
from autofuse.training.model import AnyModel

EACH_ALONE = frozenset({"late", "shared_kernels"})
"""Topologies that take every modality through to logits of its own; others must have met absent ones in training."""


def always_there(dataset: Dataset) -> frozenset[int]:
    """Channels that every training case has and that are not marked optional; all of these where there is none."""
    wanted = (k for k, modality in enumerate(dataset.modalities) if not modality.optional)
    return frozenset(k for k in wanted if all(case.images[k] is not None for case in dataset.cases))


def require_modalities(
    dataset: Dataset, case: Case, models: Sequence[AnyModel], always: frozenset[int] | None = None
) -> None:
    """Nothing, if every modality that the case lacks may be absent: it is marked optional, training cases lack it too,
    or every model's network can cope: it was trained with modalities dropped, or sees each modality alone.

    Args:
        always: as ``always_there`` finds it, for those who ask about many cases.

    Raises:
        DataError: naming the modalities.
    """
    if all(_copes(model) for model in models):
        return
    always = always_there(dataset) if always is None else always
    lacking = [
        modality.name
        for channel, modality in enumerate(dataset.modalities)
        if case.images[channel] is None and channel in always
    ]
    if lacking:
        raise DataError(
            "This case lacks a modality that every training case had.",
            case=case.id,
            found="no " + ", no ".join(lacking),
            expected=", ".join(modality.name for modality in dataset.modalities),
            remedy="Add the image; or plan with `autofuse plan --expect-missing` and train that model: it copes with "
            "any modality that is not there.",
        )


def _copes(model: AnyModel) -> bool:
    network = model.task.configuration.network
    return network.modality_dropout > 0 or network.topology in EACH_ALONE


def read_priors(
    folders: Mapping[str, Path], dataset: Dataset, case: Case, geometry: Geometry
) -> dict[str, NDArray[np.int16]]:
    """By name of the earlier run or configuration, class indices on the native grid of the masks that it wrote.

    Raises:
        DataError: if a mask is missing, damaged or on another grid.
    """
    from autofuse.images import read_label_image

    found = {}
    for name, folder in folders.items():
        path = folder / f"{case.id}{dataset.file_ending}"
        mask = read_label_image(path)
        if mask.geometry.shape != geometry.shape or grid_gap(mask.geometry, geometry) > TOLERATED_GAP:
            raise DataError(
                "The mask of the cascade's first stage lies on another grid than the images.",
                case=case.id,
                file=path,
                found=describe(mask.geometry),
                expected=describe(geometry),
                remedy=f"Predict this case with {name!r} again.",
            )
        found[name] = encode_labels(mask.voxels, dataset.labels)
    return found
