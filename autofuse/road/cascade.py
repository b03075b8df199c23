"""The masks of a cascade's earlier stage, made for every training case and kept beside the prepared images.

A held-out case's masks come from the fold that held it out. A training case's should too; where that fold of the
earlier stage is not trained, they come from the fold that is being trained, which has seen the case: its masks are then
better than those of a new case will be, and the second stage trusts them a little too much. Training all folds of the
first stage before avoids that. Masks that are there are never made anew, so that a resumed run sees the same ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from autofuse.dataset.types import Case, Dataset
from autofuse.foundation.console import say
from autofuse.foundation.errors import ModelError
from autofuse.plan.types import Configuration
from autofuse.road.groundwork import Ground, waiting_lock
from autofuse.road.runs import TrainedFold, read_fold
from autofuse.training.run import prior_key

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from autofuse.preprocessing.store import Store

FOR_NEXT_STAGE = "for_next_stage"
"""Folder, in a fold of the earlier stage, with its masks of cases that it did not hold out."""


def keep_priors(
    ground: Ground, first: TrainedFold, configuration: Configuration, store: Store, workers: int | None
) -> None:
    """Predict every training case with the earlier stage and keep the masks in the store of ``configuration``.

    Raises:
        AutofuseError: if a case cannot be predicted.
    """
    key = prior_key(first.run, first.fold)
    missing = [case for case in ground.dataset.cases if not _has_prior(store, case, key)]
    if not missing:
        return
    say(f"Predicting {len(missing)} training cases with {first.run} for the next stage.")
    makers = _makers(ground, first)
    for fold in {fold.fold: fold for fold in makers.values()}.values():
        cases = [case for case in missing if makers[case.id].fold == fold.fold]
        folder = _predict(ground, fold, cases, workers)
        for case in cases:
            _keep(store, case, read_mask(ground.dataset, case, folder), configuration, key)


def read_mask(dataset: Dataset, case: Case, folder: Path) -> NDArray[np.int16]:
    """Class indices (z, y, x) of a predicted mask on its native grid.

    Raises:
        DataError: if the mask is missing or damaged.
    """
    from autofuse.dataset.label_codes import encode_labels
    from autofuse.images import read_label_image

    return encode_labels(read_label_image(folder / f"{case.id}{dataset.file_ending}").voxels, dataset.labels)


def _makers(ground: Ground, first: TrainedFold) -> dict[str, TrainedFold]:
    """Per training case the fold of the earlier stage whose model predicts it."""
    makers = {case.id: first for case in ground.dataset.cases}
    for number, (_, held_out) in enumerate(ground.splits.folds):
        try:
            fold = read_fold(ground.workspace.run(first.run, number))
        except ModelError:
            continue
        if fold.finished is not None:
            makers |= dict.fromkeys(held_out, fold)
    return makers


def _predict(ground: Ground, fold: TrainedFold, cases: Sequence[Case], workers: int | None) -> Path:
    from autofuse.road.prediction import predict_into

    folder = fold.folder / FOR_NEXT_STAGE
    with waiting_lock(folder):  # second stages of several folds may want masks of the same fold at once
        predict_into(
            ground.dataset, [fold], cases, folder, device=ground.device, workers=workers, mirror=True, strict=True
        )
    return folder


def _has_prior(store: Store, case: Case, key: str) -> bool:
    return (store.case_folder(case.id) / f"prior-{key}.json").exists()


def _keep(store: Store, case: Case, native: NDArray[np.int16], configuration: Configuration, key: str) -> None:
    from autofuse.inference.prior import prior_indices

    indices = prior_indices(native, configuration, store.open(case.id).placement)
    store.write_prior(case.id, key, indices, configuration.dimensions)
