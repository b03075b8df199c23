"""autofuse: self-configuring segmentation of multi-modal medical images.

    import autofuse
    report = autofuse.run("Dataset104_Hippocampus", minutes=20)

All steps are functions of ``autofuse.road``; those whose names no room of the engine has are here too. Names are looked
up when they are first used, so that importing the package stays cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from autofuse.dataset.opening import open_dataset
    from autofuse.foundation.errors import AutofuseError
    from autofuse.images import read_image, write_image
    from autofuse.phantom.options import PhantomOptions
    from autofuse.phantom.write import write_phantom
    from autofuse.road import RunReport, check, demo, evaluate, info, predict, preprocess, run, scribble, train
    from autofuse.scribbles.options import ScribbleOptions
    from autofuse.training.trainer import Objective, Stream, Trainer

_HOMES = {
    "AutofuseError": "autofuse.foundation.errors",
    "Objective": "autofuse.training.trainer",
    "PhantomOptions": "autofuse.phantom.options",
    "RunReport": "autofuse.road",
    "ScribbleOptions": "autofuse.scribbles.options",
    "Stream": "autofuse.training.trainer",
    "Trainer": "autofuse.training.trainer",
    "check": "autofuse.road",
    "demo": "autofuse.road",
    "evaluate": "autofuse.road",
    "info": "autofuse.road",
    "open_dataset": "autofuse.dataset.opening",
    "predict": "autofuse.road",
    "preprocess": "autofuse.road",
    "read_image": "autofuse.images",
    "run": "autofuse.road",
    "scribble": "autofuse.road",
    "train": "autofuse.road",
    "write_image": "autofuse.images",
    "write_phantom": "autofuse.phantom.write",
}

__all__ = [
    "AutofuseError",
    "Objective",
    "PhantomOptions",
    "RunReport",
    "ScribbleOptions",
    "Stream",
    "Trainer",
    "__version__",
    "check",
    "demo",
    "evaluate",
    "info",
    "open_dataset",
    "predict",
    "preprocess",
    "read_image",
    "run",
    "scribble",
    "train",
    "write_image",
    "write_phantom",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'autofuse' has no attribute {name!r}")
