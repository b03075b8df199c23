"""The options of each verb, built only when that verb is asked for."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser, BooleanOptionalAction
from collections.abc import Callable

from autofuse.cli import quantities, sharing_options

DEFAULT_DEMO = "autofuse_demo"


def add_options(parser: ArgumentParser, verb: str) -> None:
    """Give ``parser`` the options of ``verb``."""
    OPTIONS[verb](parser)
    _shared(parser)


def _shared(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("everywhere")
    group.add_argument("--json", action="store_true", help="print one JSON object on stdout, and nothing else there")
    group.add_argument("--quiet", "-q", action="store_true", help="say nothing on the way")
    group.add_argument("--debug", action="store_true", help="print tracebacks too (they always go to log.txt)")


def _dataset(parser: ArgumentParser, *, needed: bool = True) -> None:
    parser.add_argument(
        "dataset",
        metavar="DATASET",
        nargs="?",
        help="folder of the data set: nnU-Net's raw layout, a Decathlon Task folder, or one with a cases.csv"
        + ("" if needed else " (optional)"),
    )
    parser.add_argument("-d", dest="dataset_option", metavar="DATASET", help="the same, as nnU-Net writes it")
    parser.set_defaults(dataset_needed=needed)


def _workspace(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--workspace", metavar="DIR", help="where everything that is made goes (default: ./autofuse_workspace)"
    )


def _workers(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--workers",
        type=quantities.whole,
        metavar="N",
        help="processes for work on cases; 0 for none (default: decided)",
    )


def _device(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute (default: auto)"
    )


def _dials(parser: ArgumentParser, minutes: str) -> None:
    parser.add_argument(
        "--memory", type=quantities.memory_gib, metavar="AMOUNT", help="memory that training may use, such as 8GiB"
    )
    parser.add_argument("--minutes", type=quantities.minutes, metavar="N", help=minutes)
    parser.add_argument("--planner", metavar="NAME", help="who decides: a registered planner (default: default)")
    parser.add_argument(
        "--expect-missing",
        action=BooleanOptionalAction,
        default=None,
        help="plan for cases that lack a modality, though training cases have them all",
    )
    parser.add_argument(
        "--want-fused",
        action=BooleanOptionalAction,
        default=None,
        help="make a fused image that a person can read, where modalities lie on each other",
    )
    parser.add_argument(
        "--topology",
        metavar="NAME",
        help="how modalities meet, whatever the rules say: early, stems, specific_shared, per_modality, image_level, "
        "shared_kernels or late; auto lets the rules decide again",
    )


def _method(parser: ArgumentParser) -> None:
    parser.add_argument("-c", "--configuration", metavar="NAME", help="configuration of the plan (default: its choice)")
    parser.add_argument("-t", "--trainer", metavar="NAME", help="registered trainer (default: the plan's choice)")
    parser.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change a hyper-parameter of the trainer; may be repeated",
    )
    parser.add_argument("--steps", type=quantities.count, metavar="N", help="length of training one fold, in steps")
    parser.add_argument(
        "--seed", type=quantities.whole, default=12345, metavar="N", help="of every random draw (default: 12345)"
    )
    parser.add_argument(
        "--precision",
        choices=("fp32", "bf16", "fp16"),
        help="what the network computes in (default: what suits the device)",
    )


def _pilot(parser: ArgumentParser, whole: str) -> None:
    group = parser.add_argument_group("the arbiter")
    group.add_argument(
        "--pilot",
        action="store_true",
        help="try the plan's challengers briefly; one replaces the default if it is better beyond chance",
    )
    group.add_argument(
        "--pilot-minutes", type=quantities.minutes, metavar="N", help=f"time for that (default: a tenth of {whole})"
    )


def _case_work(parser: ArgumentParser) -> None:
    _dataset(parser)
    _workspace(parser)
    _workers(parser)


def _check(parser: ArgumentParser) -> None:
    _case_work(parser)


def _plan(parser: ArgumentParser) -> None:
    _case_work(parser)
    _dials(parser, "time for training one fold")
    _pilot(parser, "the time of training one fold")
    _device(parser)


def _explain(parser: ArgumentParser) -> None:
    _case_work(parser)
    _device(parser)
    parser.add_argument("--no-pictures", dest="pictures", action="store_false", help="draw nothing: words only")


def _preprocess(parser: ArgumentParser) -> None:
    _case_work(parser)
    parser.add_argument(
        "-c", "--configuration", metavar="NAME", help="configuration to prepare for (default: the plan's choice)"
    )
    _device(parser)


def _train(parser: ArgumentParser) -> None:
    _case_work(parser)
    parser.add_argument(
        "-f", "--fold", type=quantities.whole, default=0, metavar="K", help="which fold is held out (default: 0)"
    )
    _method(parser)
    parser.add_argument(
        "--minutes", type=quantities.minutes, metavar="N", help="train for this long, whatever the steps"
    )
    _device(parser)


def _predict(parser: ArgumentParser) -> None:
    _case_work(parser)
    parser.add_argument("-i", "--images", metavar="DIR", help="folder of images (default: the data set's imagesTs)")
    parser.add_argument("-o", "--out", metavar="DIR", help="where masks go (default: predictions/ in the workspace)")
    parser.add_argument(
        "--run", metavar="NAME", help="which run's model, as `autofuse info` names it (default: the newest)"
    )
    parser.add_argument(
        "-f", "--folds", type=quantities.folds, metavar="K,…", help="folds to average (default: all that are finished)"
    )
    parser.add_argument("--probabilities", action="store_true", help="also write the probabilities of every class")
    parser.add_argument("--save-fused", action="store_true", help="also write the fused images that were segmented")
    parser.add_argument("--no-mirror", dest="mirror", action="store_false", help="no mirroring: faster, a little worse")
    _device(parser)


def _fuse(parser: ArgumentParser) -> None:
    _dataset(parser)
    _workspace(parser)
    parser.add_argument("-i", "--images", metavar="DIR", help="folder of images (default: the data set's imagesTs)")
    parser.add_argument("-o", "--out", metavar="DIR", help="where fused images go (default: fused/ in the workspace)")
    parser.add_argument("--run", metavar="NAME", help="which run's model (default: the newest)")
    parser.add_argument(
        "-f", "--folds", type=quantities.folds, metavar="K,…", help="folds to average (default: all that are finished)"
    )
    _device(parser)


def _fuse_dataset(parser: ArgumentParser) -> None:
    _case_work(parser)
    parser.add_argument("-o", "--out", metavar="FOLDER", required=True, help="where the copy goes")
    parser.add_argument("--run", metavar="NAME", help="which run's models fuse (default: the newest)")
    parser.add_argument("--only-fused", action="store_true", help="leave the data set's own modalities out")
    _device(parser)


def _evaluate(parser: ArgumentParser) -> None:
    _case_work(parser)
    parser.add_argument("-i", "--predictions", metavar="DIR", help="folder of masks (default: a run's held-out cases)")
    parser.add_argument("-r", "--references", metavar="DIR", help="folder of true masks (default: the data set's)")
    parser.add_argument("-o", "--out", metavar="DIR", help="where the tables go (default: scores/ in the workspace)")
    parser.add_argument("--run", metavar="NAME", help="which run to judge (default: the newest)")
    parser.add_argument("--html", action="store_true", help="also write a page that people can read, scores.html")
    _scoring(parser)


def _compare(parser: ArgumentParser) -> None:
    parser.add_argument("dataset", metavar="DATASET", help="folder of the data set")
    parser.add_argument("folders", metavar="FOLDER", nargs="+", help="folders of masks; the first is the baseline")
    _workspace(parser)
    _workers(parser)
    parser.add_argument("-r", "--references", metavar="DIR", help="folder of true masks (default: the data set's)")
    parser.add_argument(
        "-o", "--out", metavar="DIR", help="where the comparison goes (default: scores/ in the workspace)"
    )
    parser.add_argument(
        "--common", action="store_true", help="only cases that every folder has a mask of (default: a lack is worst)"
    )
    parser.add_argument(
        "--names", nargs="+", metavar="NAME", help="what to call the folders, one each (default: by their paths)"
    )
    parser.add_argument(
        "--metrics",
        nargs="+",
        metavar="NAME",
        help="what to compare: dice, nsd, hd95_mm, hd95_max_mm, lesion_dice, lesion_hd95_mm, lesion_f1 (default: dice, "
        "nsd, hd95_mm; with --lesions also lesion_dice, lesion_hd95_mm and lesion_f1)",
    )
    _scoring(parser)


def _scoring(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("what is scored")
    group.add_argument(
        "--regions",
        nargs="+",
        action="extend",
        type=quantities.region,
        metavar="NAME=VALUES",
        help="score these unions of label values instead of the declared classes, such as WT=1,2,3,4 TC=1,3,4 ET=4",
    )
    group.add_argument(
        "--tolerance",
        nargs="+",
        action="extend",
        type=quantities.tolerance,
        metavar="MM",
        help="of NSD, in mm: one number, NAME=MM for one class or region, or both, such as 2 ET=1 (default: 1)",
    )
    group.add_argument(
        "--lesions",
        choices=("plain", "brats-gli", "brats-ssa", "brats-ped", "brats-men", "brats-met"),
        help="also score lesion by lesion: components as they are, or as BraTS 2023 does it in one of its tasks",
    )
    group.add_argument(
        "--lesion-dilation",
        type=quantities.dilation,
        metavar="N",
        help="steps of dilation within which true lesions are one (default: the rule's)",
    )
    group.add_argument(
        "--lesion-volume",
        type=quantities.not_negative,
        metavar="MM3",
        help="true lesions up to this volume in mm³ count for nothing (default: the rule's)",
    )
    group.add_argument(
        "--lesion-distance",
        type=quantities.distance,
        default=SUPPRESS,
        metavar="MM",
        help="HD95 of a lesion that is missed or made up, or image for the image's diagonal (default: the rule's)",
    )


def _judge_fused(parser: ArgumentParser) -> None:
    _case_work(parser)
    parser.add_argument(
        "-i", "--fused", metavar="DIR", help="folder of fused images (default: none, the trivial fusions alone)"
    )
    parser.add_argument(
        "--segmenter",
        metavar="DIR",
        help="run, fold or data set's workspace folder of a model trained on single images; gives every image a Dice",
    )
    parser.add_argument(
        "--window",
        dest="windows",
        type=quantities.window,
        action="append",
        default=[],
        metavar="NAME=LOW,HIGH",
        help="intensities that become black and white, of a modality or of `fused`; may be repeated (default: "
        "percentiles)",
    )
    parser.add_argument("-o", "--out", metavar="DIR", help="where the tables go (default: scores/ in the workspace)")
    _device(parser)


def _run(parser: ArgumentParser) -> None:
    _case_work(parser)
    _dials(parser, "time for the whole command; training gets what the rest leaves")
    parser.add_argument(
        "-f",
        "--folds",
        type=quantities.folds,
        default=(0,),
        metavar="K,…",
        help="folds to train: 0, or 0,1, or all (default: 0)",
    )
    _method(parser)
    _pilot(parser, "--minutes, or of the time of training one fold")
    parser.add_argument(
        "--submit", metavar="TARGET", help="at the end make a submission, as `autofuse submit --target TARGET` does"
    )
    _device(parser)


def _report(parser: ArgumentParser) -> None:
    _dataset(parser)
    _workspace(parser)
    parser.add_argument("--run", metavar="NAME", help="which run is told first (default: the newest that is finished)")
    parser.add_argument("-o", "--out", metavar="FILE", help="the page (default: report/report.html in the workspace)")
    parser.add_argument("--anonymous", action="store_true", help="number cases and subjects instead of naming them")
    parser.add_argument("--no-pictures", dest="pictures", action="store_false", help="show no voxels")


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
    _dataset(parser)
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
    _workers(parser)


def _export(parser: ArgumentParser) -> None:
    _dataset(parser)
    _workspace(parser)
    sharing_options.add_export(parser)


def _submit(parser: ArgumentParser) -> None:
    from autofuse.cli.submit_options import add_submit_options

    _case_work(parser)
    add_submit_options(parser)
    _device(parser)


def _import(parser: ArgumentParser) -> None:
    sharing_options.add_import(parser)
    _workspace(parser)


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
    _workers(parser)
    _device(parser)


def _info(parser: ArgumentParser) -> None:
    _dataset(parser, needed=False)
    _workspace(parser)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help=SUPPRESS)


OPTIONS: dict[str, Callable[[ArgumentParser], None]] = {
    "check": _check,
    "fingerprint": _check,
    "plan": _plan,
    "explain": _explain,
    "preprocess": _preprocess,
    "train": _train,
    "predict": _predict,
    "fuse": _fuse,
    "fuse-dataset": _fuse_dataset,
    "evaluate": _evaluate,
    "judge-fused": _judge_fused,
    "compare": _compare,
    "run": _run,
    "report": _report,
    "align": _align,
    "scribble": _scribble,
    "export": _export,
    "import": _import,
    "submit": _submit,
    "demo": _demo,
    "info": _info,
}
