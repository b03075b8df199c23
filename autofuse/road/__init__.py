"""The steps from a folder of images to evaluated segmentations, as functions; each finds finished work and goes on.

from autofuse import road
report = road.run("Dataset104_Hippocampus", minutes=20)
"""

from autofuse.road.aligning import AlignedImage, Alignment, align
from autofuse.road.explanation import Explained, explain
from autofuse.road.inventory import Inventory
from autofuse.road.phantom_run import demo
from autofuse.road.results import Predicted, RunReport
from autofuse.road.runs import TrainedFold
from autofuse.road.scribbling import scribble
from autofuse.road.steps import check, evaluate, fingerprint, info, plan, predict, preprocess, select, train
from autofuse.road.whole import run

__all__ = [
    "AlignedImage",
    "Alignment",
    "Explained",
    "Inventory",
    "Predicted",
    "RunReport",
    "TrainedFold",
    "align",
    "check",
    "demo",
    "evaluate",
    "explain",
    "fingerprint",
    "info",
    "plan",
    "predict",
    "preprocess",
    "run",
    "scribble",
    "select",
    "train",
]
