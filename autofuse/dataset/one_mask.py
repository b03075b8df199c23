"""What can be done with one mask a case only is refused where each modality carries a mask of its own."""

from __future__ import annotations

from autofuse.dataset.types import Dataset
from autofuse.foundation.errors import DataError


def require_one_mask(dataset: Dataset, doing: str) -> None:
    """Nothing, if one mask is for all modalities.

    Args:
        doing: what is asked for, as a sentence begins with it.

    Raises:
        DataError: if each modality carries a mask of its own.
    """
    if dataset.labels_per_modality:
        raise DataError(
            f"{doing} takes one mask a case, and each modality of this data set carries a mask of its own.",
            file=dataset.root,
            found="masks of " + ", ".join(modality.name for modality in dataset.modalities),
            expected="one label a case",
            remedy="Make a data set of one modality with its masks for it; training, prediction and scores take all.",
        )
