"""Cases, modalities, labels and the supervision that each case has; importers, checks and splits."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autofuse.dataset.check import check_dataset
    from autofuse.dataset.label_codes import decode_labels, encode_labels, region_membership
    from autofuse.dataset.opening import images_as_dataset, open_dataset, open_images
    from autofuse.dataset.raw import RawCase, load_case, load_truth
    from autofuse.dataset.report import CheckReport
    from autofuse.dataset.splits import make_splits
    from autofuse.dataset.types import IGNORE, Case, Dataset, ImageFile, LabelClass, Labels, Modality, Splits

_HOMES = {
    **dict.fromkeys(("IGNORE", "Case", "Dataset", "ImageFile", "LabelClass", "Labels", "Modality", "Splits"), "types"),
    **dict.fromkeys(("decode_labels", "encode_labels", "region_membership"), "label_codes"),
    **dict.fromkeys(("images_as_dataset", "open_dataset", "open_images"), "opening"),
    **dict.fromkeys(("RawCase", "load_case", "load_truth"), "raw"),
    "CheckReport": "report",
    "check_dataset": "check",
    "make_splits": "splits",
}

__all__ = [
    "IGNORE",
    "Case",
    "CheckReport",
    "Dataset",
    "ImageFile",
    "LabelClass",
    "Labels",
    "Modality",
    "RawCase",
    "Splits",
    "check_dataset",
    "decode_labels",
    "encode_labels",
    "images_as_dataset",
    "load_case",
    "load_truth",
    "make_splits",
    "open_dataset",
    "open_images",
    "region_membership",
]


def __getattr__(name: str) -> Any:
    # Names are looked up when first used, so that importing the room needs neither numpy nor pydantic.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"autofuse.dataset.{_HOMES[name]}"), name)
