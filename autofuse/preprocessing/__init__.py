"""Cases made ready for networks: cropped, resampled, normalised, stored so that patches can be read alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autofuse.preprocessing.all_cases import prepare_dataset
    from autofuse.preprocessing.placement import Placement
    from autofuse.preprocessing.prepare import PreparedCase, prepare_case
    from autofuse.preprocessing.resample import resample_image, resample_labels, resample_nearest
    from autofuse.preprocessing.store import Store, StoredCase

__all__ = [
    "Placement",
    "PreparedCase",
    "Store",
    "StoredCase",
    "prepare_case",
    "prepare_dataset",
    "resample_image",
    "resample_labels",
    "resample_nearest",
]

_HOMES = {
    "all_cases": ("prepare_dataset",),
    "placement": ("Placement",),
    "prepare": ("PreparedCase", "prepare_case"),
    "resample": ("resample_image", "resample_labels", "resample_nearest"),
    "store": ("Store", "StoredCase"),
}


def __getattr__(name: str) -> Any:
    # torch is imported when something is asked for, not when the package is.
    from importlib import import_module

    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(name)
