"""Folds for cross-validation that never separate the cases of one subject."""

from __future__ import annotations

import numpy as np

from autofuse.dataset.types import Case, Dataset, Splits
from autofuse.foundation.errors import DataError

SEED = 12345
"""nnU-Net's seed; with it, and subjects that have one case each, the folds are nnU-Net's."""


def make_splits(dataset: Dataset, folds: int = 5, seed: int = SEED) -> Splits:
    """The data set's fixed folds, or ``folds`` folds over the subjects that have a labelled case (fewer if there are
    fewer subjects). Every labelled case is held out exactly once. Unlabelled cases train in every fold that does not
    hold their subject out. With a single subject there is one fold that holds nothing out.

    Raises:
        DataError: if no case has a label.
    """
    if dataset.fixed_splits:
        rule = f"{len(dataset.fixed_splits)} folds given by the data set; subjects: {dataset.subject_rule}"
        return Splits(folds=dataset.fixed_splits, rule=rule)
    labelled = [case for case in dataset.cases if case.labelled]
    subjects = sorted({case.subject for case in labelled})
    if not subjects:
        raise DataError(
            "No training case has a label.", file=dataset.root, remedy="Put labels into labelsTr (<case>.nii.gz)."
        )
    if len(subjects) == 1:
        everything = tuple(sorted(case.id for case in dataset.cases))
        return Splits(folds=((everything, ()),), rule="one labelled subject only: it trains, nothing is held out")
    count = max(2, min(folds, len(subjects)))
    parts = [_fold(dataset.cases, held_out) for held_out in _deal(subjects, count, seed)]
    rule = f"{count} folds over {len(subjects)} subjects, shuffled with seed {seed}; {dataset.subject_rule}"
    return Splits(folds=tuple(parts), rule=rule)


def _deal(subjects: list[str], count: int, seed: int) -> list[set[str]]:
    """Subjects held out per fold, as scikit-learn's KFold(shuffle=True) deals them: nnU-Net's rule."""
    order = np.arange(len(subjects))
    np.random.RandomState(seed).shuffle(order)
    return [{subjects[index] for index in part} for part in np.array_split(order, count)]


def _fold(cases: tuple[Case, ...], held_out: set[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    train = sorted(case.id for case in cases if case.subject not in held_out)
    held = sorted(case.id for case in cases if case.subject in held_out and case.labelled)
    return tuple(train), tuple(held)
