"""What authors of trainers and planners test their work with: the conformance suite, and tiny things to try it on."""

from autofuse.testing.conformance import CheckResult, ConformanceError
from autofuse.testing.examples import example_batch, example_labels, example_task
from autofuse.testing.fingerprints import MadeUpDataset, example_fingerprint, example_fingerprints
from autofuse.testing.planners import check_planner
from autofuse.testing.trainers import SETTINGS, Setting, check_trainer

__all__ = [
    "SETTINGS",
    "CheckResult",
    "ConformanceError",
    "MadeUpDataset",
    "Setting",
    "check_planner",
    "check_trainer",
    "example_batch",
    "example_fingerprint",
    "example_fingerprints",
    "example_labels",
    "example_task",
]
