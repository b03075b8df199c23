"""The steps from a folder of images to evaluated segmentations, as functions; each finds finished work and goes on.

from autofuse import road
report = road.run("Dataset104_Hippocampus", minutes=20)
"""

from autofuse.road.aligning import AlignedImage, Alignment, align
from autofuse.road.comparing import compare
from autofuse.road.dicom import CaseRead, SegmentationWritten, from_dicom, to_dicom_seg
from autofuse.road.doctor import Diagnosis, diagnose
from autofuse.road.explanation import Explained, explain
from autofuse.road.exporting import Exported, export_model
from autofuse.road.exporting_onnx import ExportedOnnx, export_onnx
from autofuse.road.fusing import FusedDataset, FusedImages, fuse, fuse_dataset
from autofuse.road.importing import Imported, import_model
from autofuse.road.inventory import Inventory
from autofuse.road.judging_fused import judge_fused
from autofuse.road.page import PAGE_FILE, WrittenPage, report
from autofuse.road.phantom_run import demo
from autofuse.road.results import Predicted, RunReport
from autofuse.road.run_in_units import RunOutcome, run_in_units, units_status, work_on_units
from autofuse.road.run_order import RunOrder
from autofuse.road.runs import TrainedFold
from autofuse.road.scribbling import scribble
from autofuse.road.steps import check, evaluate, fingerprint, info, plan, predict, preprocess, select, train
from autofuse.road.submitting import Submitted, require_submittable, submit
from autofuse.road.whole import run

__all__ = [
    "PAGE_FILE",
    "AlignedImage",
    "Alignment",
    "CaseRead",
    "Diagnosis",
    "Explained",
    "Exported",
    "ExportedOnnx",
    "FusedDataset",
    "FusedImages",
    "Imported",
    "Inventory",
    "Predicted",
    "RunOrder",
    "RunOutcome",
    "RunReport",
    "SegmentationWritten",
    "Submitted",
    "TrainedFold",
    "WrittenPage",
    "align",
    "check",
    "compare",
    "demo",
    "diagnose",
    "evaluate",
    "explain",
    "export_model",
    "export_onnx",
    "fingerprint",
    "from_dicom",
    "fuse",
    "fuse_dataset",
    "import_model",
    "info",
    "judge_fused",
    "plan",
    "predict",
    "preprocess",
    "report",
    "require_submittable",
    "run",
    "run_in_units",
    "scribble",
    "select",
    "submit",
    "to_dicom_seg",
    "train",
    "units_status",
    "work_on_units",
]
