"""The options of each verb, built only when that verb is asked for."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser
from collections.abc import Callable

from autofuse.cli import dicom, quantities
from autofuse.cli import result_options as results
from autofuse.cli import shared_options as shared
from autofuse.cli import units_options as units
from autofuse.cli.doctor_options import doctor_options

DEFAULT_DEMO = "autofuse_demo"


def add_options(parser: ArgumentParser, verb: str) -> None:
    """Give ``parser`` the options of ``verb``."""
    OPTIONS[verb](parser)
    shared.everywhere(parser)


def _check(parser: ArgumentParser) -> None:
    shared.case_work(parser)


def _plan(parser: ArgumentParser) -> None:
    shared.case_work(parser)
    shared.dials(parser, "time for training one fold")
    shared.pilot(parser, "the time of training one fold")
    shared.device(parser)


def _explain(parser: ArgumentParser) -> None:
    shared.case_work(parser)
    shared.device(parser)
    parser.add_argument("--no-pictures", dest="pictures", action="store_false", help="draw nothing: words only")


def _preprocess(parser: ArgumentParser) -> None:
    shared.case_work(parser)
    parser.add_argument(
        "-c", "--configuration", metavar="NAME", help="configuration to prepare for (default: the plan's choice)"
    )
    shared.device(parser)


def _train(parser: ArgumentParser) -> None:
    shared.case_work(parser)
    parser.add_argument(
        "-f", "--fold", type=quantities.whole, default=0, metavar="K", help="which fold is held out (default: 0)"
    )
    shared.method(parser)
    shared.memory(parser)
    parser.add_argument(
        "--minutes", type=quantities.minutes, metavar="N", help="train for this long, whatever the steps"
    )
    shared.device(parser)


def _run(parser: ArgumentParser) -> None:
    shared.case_work(parser)
    shared.dials(parser, "time for the whole command; training gets what the rest leaves")
    parser.add_argument(
        "-f",
        "--folds",
        type=quantities.folds,
        default=(0,),
        metavar="K,…",
        help="folds to train: 0, or 0,1, or all (default: 0)",
    )
    shared.method(parser)
    shared.pilot(parser, "--minutes, or of the time of training one fold")
    units.add_executor(parser)
    parser.add_argument(
        "--submit", metavar="TARGET", help="at the end make a submission, as `autofuse submit --target TARGET` does"
    )
    shared.device(parser)


def _align(parser: ArgumentParser) -> None:
    parser.set_defaults(dataset=None)
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="images of one patient, or one folder of them")
    parser.add_argument("-o", "--out", metavar="DIR", required=True, help="where the aligned images go")
    parser.add_argument(
        "--reference",
        metavar="NAME",
        help="image whose grid is kept: its file's name without the ending (default: the one with the smallest voxels)",
    )
    limits = parser.add_argument_group("what counts as a failure")
    limits.add_argument(
        "--largest-shift", type=quantities.above_zero, default=80.0, metavar="MM", help="in mm (default: 80)"
    )
    limits.add_argument(
        "--largest-rotation", type=quantities.above_zero, default=30.0, metavar="DEG", help="in degrees (default: 30)"
    )


def _scribble(parser: ArgumentParser) -> None:
    shared.dataset(parser)
    parser.set_defaults(workspace=None)
    parser.add_argument("-o", "--out", metavar="FOLDER", required=True, help="where the scribbled copy goes")
    strokes = parser.add_argument_group("the strokes")
    strokes.add_argument(
        "--every", type=quantities.count, default=1, metavar="N", help="draw on every N-th slice (default: 1, on all)"
    )
    strokes.add_argument(
        "--density",
        type=quantities.share,
        default=0.6,
        metavar="SHARE",
        help="share of each stroke that is kept, in one piece (default: 0.6)",
    )
    strokes.add_argument(
        "--no-interior", dest="interior", action="store_false", help="no strokes along the middle of structures"
    )
    strokes.add_argument(
        "--no-boundary", dest="boundary", action="store_false", help="no strokes just inside the edge of structures"
    )
    strokes.add_argument(
        "--no-background", dest="background", action="store_false", help="no strokes where no structure is"
    )
    strokes.add_argument(
        "--axis",
        choices=("z", "y", "x"),
        help="array axis across which slices are cut, z the slowest (default: the one with the coarsest spacing)",
    )
    strokes.add_argument(
        "--seed", type=quantities.whole, default=0, metavar="N", help="of every random draw (default: 0)"
    )
    shared.workers(parser)


def _submit(parser: ArgumentParser) -> None:
    from autofuse.cli.submit_options import add_submit_options

    shared.case_work(parser)
    add_submit_options(parser)
    shared.device(parser)


def _demo(parser: ArgumentParser) -> None:
    parser.add_argument(
        "folder",
        metavar="FOLDER",
        nargs="?",
        default=DEFAULT_DEMO,
        help=f"where everything goes (default: {DEFAULT_DEMO})",
    )
    parser.add_argument("--minutes", type=quantities.minutes, metavar="N", help="time for all of it (default: 3)")
    parser.add_argument("--steps", type=quantities.count, metavar="N", help="steps of training instead of a time")
    phantom = parser.add_argument_group("the phantom")
    phantom.add_argument("--cases", type=quantities.count, default=16, metavar="N", help="training cases (default: 16)")
    phantom.add_argument("--shift", type=float, default=0.0, metavar="MM", help="shift between modalities (default: 0)")
    phantom.add_argument("--scribbles", action="store_true", help="scribbles instead of full masks")
    phantom.add_argument("--unlabelled", type=quantities.whole, default=0, metavar="N", help="cases without a mask")
    phantom.add_argument("--missing", type=float, default=0.0, metavar="RATE", help="share of absent modalities")
    shared.workers(parser)
    shared.device(parser)


def _info(parser: ArgumentParser) -> None:
    shared.dataset(parser, needed=False)
    shared.workspace(parser)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help=SUPPRESS)


OPTIONS: dict[str, Callable[[ArgumentParser], None]] = {
    "check": _check,
    "fingerprint": _check,
    "plan": _plan,
    "explain": _explain,
    "preprocess": _preprocess,
    "train": _train,
    "select": results.select,
    "predict": results.predict,
    "fuse": results.fuse,
    "fuse-dataset": results.fuse_dataset,
    "evaluate": results.evaluate,
    "judge-fused": results.judge_fused,
    "compare": results.compare,
    "run": _run,
    "worker": units.add_worker,
    "status": units.add_status,
    "unit": units.add_unit,
    "report": results.report,
    "align": _align,
    "scribble": _scribble,
    "export": results.export_model,
    "import": results.import_model,
    "submit": _submit,
    "from-dicom": dicom.add_from_dicom,
    "to-dicom-seg": dicom.add_to_dicom_seg,
    "demo": _demo,
    "doctor": doctor_options,
    "info": _info,
}
