"""From a trained model and a case to masks on the native grid: tiles, ensembles, memory, folders of cases."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autofuse.inference.case import predict_case
    from autofuse.inference.folder import predict_cases, require_predicted
    from autofuse.inference.prediction import Prediction, PredictOptions
    from autofuse.inference.simple import predict
    from autofuse.inference.validate import make_validator

_HOMES = {
    "PredictOptions": "prediction",
    "Prediction": "prediction",
    "make_validator": "validate",
    "predict": "simple",
    "predict_case": "case",
    "predict_cases": "folder",
    "require_predicted": "folder",
}

__all__ = [
    "PredictOptions",
    "Prediction",
    "make_validator",
    "predict",
    "predict_case",
    "predict_cases",
    "require_predicted",
]


def __getattr__(name: str) -> Any:
    # Looked up when first used: torch takes seconds to import, and `autofuse --help` must not wait for it.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"autofuse.inference.{_HOMES[name]}"), name)
