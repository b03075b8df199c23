"""The options of the verbs that use what was trained: predict, fuse, choose, judge, tell, share."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser

from autofuse.cli import quantities, sharing_options
from autofuse.cli import shared_options as shared


def predict(parser: ArgumentParser) -> None:
    """Which images, whose models, and what is written."""
    shared.case_work(parser)
    parser.add_argument("-i", "--images", metavar="DIR", help="folder of images (default: the data set's imagesTs)")
    parser.add_argument("-o", "--out", metavar="DIR", help="where masks go (default: predictions/ in the workspace)")
    parser.add_argument(
        "--run",
        metavar="NAME",
        help="which run's model, as `autofuse info` names it (default: what select has chosen, else the newest)",
    )
    parser.add_argument(
        "-f", "--folds", type=quantities.folds, metavar="K,…", help="folds to average (default: all that are finished)"
    )
    parser.add_argument("--probabilities", action="store_true", help="also write the probabilities of every class")
    parser.add_argument("--save-fused", action="store_true", help="also write the fused images that were segmented")
    parser.add_argument(
        "--uncertainty",
        action="store_true",
        help="also write maps of entropy and mutual information, and volumes with intervals (uncertainty/)",
    )
    parser.add_argument("--no-mirror", dest="mirror", action="store_false", help="no mirroring: faster, a little worse")
    shared.device(parser)


def fuse(parser: ArgumentParser) -> None:
    """Which images, and whose models."""
    shared.dataset(parser)
    shared.workspace(parser)
    parser.add_argument("-i", "--images", metavar="DIR", help="folder of images (default: the data set's imagesTs)")
    parser.add_argument("-o", "--out", metavar="DIR", help="where fused images go (default: fused/ in the workspace)")
    parser.add_argument("--run", metavar="NAME", help="which run's model (default: the newest)")
    parser.add_argument(
        "-f", "--folds", type=quantities.folds, metavar="K,…", help="folds to average (default: all that are finished)"
    )
    shared.device(parser)


def select(parser: ArgumentParser) -> None:
    """Which runs compete, and how."""
    shared.case_work(parser)
    parser.add_argument("--runs", type=quantities.names, metavar="NAME,…", help="runs that may compete (default: all)")
    parser.add_argument(
        "--members",
        type=quantities.count,
        metavar="N",
        help="turns of the greedy choice (default: 10); 1 for the best single run",
    )
    parser.add_argument(
        "--no-mirror",
        dest="mirror",
        action="store_false",
        help="judge, and later predict, without mirroring: faster, a little worse",
    )
    shared.device(parser)


def fuse_dataset(parser: ArgumentParser) -> None:
    """Where the copy goes, and whose models fuse."""
    shared.case_work(parser)
    parser.add_argument("-o", "--out", metavar="FOLDER", required=True, help="where the copy goes")
    parser.add_argument("--run", metavar="NAME", help="which run's models fuse (default: the newest)")
    parser.add_argument("--only-fused", action="store_true", help="leave the data set's own modalities out")
    shared.device(parser)


def evaluate(parser: ArgumentParser) -> None:
    """Which masks, against what, scored how."""
    shared.case_work(parser)
    parser.add_argument("-i", "--predictions", metavar="DIR", help="folder of masks (default: a run's held-out cases)")
    parser.add_argument("-r", "--references", metavar="DIR", help="folder of true masks (default: the data set's)")
    parser.add_argument("-o", "--out", metavar="DIR", help="where the tables go (default: scores/ in the workspace)")
    parser.add_argument("--run", metavar="NAME", help="which run to judge (default: the newest)")
    parser.add_argument("--html", action="store_true", help="also write a page that people can read, scores.html")
    _scoring(parser)


def compare(parser: ArgumentParser) -> None:
    """Which folders of masks, against what, scored how."""
    parser.add_argument("dataset", metavar="DATASET", help="folder of the data set")
    parser.add_argument("folders", metavar="FOLDER", nargs="+", help="folders of masks; the first is the baseline")
    shared.workspace(parser)
    shared.workers(parser)
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


def judge_fused(parser: ArgumentParser) -> None:
    """Which fused images, judged how."""
    shared.case_work(parser)
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
    shared.device(parser)


def report(parser: ArgumentParser) -> None:
    """Which run, and how much is told."""
    shared.dataset(parser)
    shared.workspace(parser)
    parser.add_argument("--run", metavar="NAME", help="which run is told first (default: the newest that is finished)")
    parser.add_argument("-o", "--out", metavar="FILE", help="the page (default: report/report.html in the workspace)")
    parser.add_argument("--anonymous", action="store_true", help="number cases and subjects instead of naming them")
    parser.add_argument("--no-pictures", dest="pictures", action="store_false", help="show no voxels")


def export_model(parser: ArgumentParser) -> None:
    """Which model is given away."""
    shared.dataset(parser)
    shared.workspace(parser)
    sharing_options.add_export(parser)


def import_model(parser: ArgumentParser) -> None:
    """Which bundle is taken in."""
    sharing_options.add_import(parser)
    shared.workspace(parser)
