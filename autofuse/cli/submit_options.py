"""The options of `autofuse submit`."""

from __future__ import annotations

from argparse import ArgumentParser

from autofuse.cli import quantities


def add_submit_options(parser: ArgumentParser) -> None:
    """Which target, of what, where to; and how a container is rehearsed."""
    parser.add_argument(
        "--target", metavar="NAME", required=True, help="grand-challenge, brats, flare, folder, or a registered one"
    )
    parser.add_argument("-i", "--images", metavar="DIR", help="folder of images (default: the data set's imagesTs)")
    parser.add_argument("--masks", metavar="DIR", help="submit these masks as they are, instead of predicting")
    parser.add_argument("-o", "--out", metavar="PLACE", help="file or folder (default: submissions/ in the workspace)")
    parser.add_argument("--run", metavar="NAME", help="which run's model (default: the newest)")
    parser.add_argument(
        "-f", "--folds", type=quantities.folds, metavar="K,…", help="folds to average (default: all that are finished)"
    )
    parser.add_argument("--name", metavar="NAME", help="of the model in a container (default: the data set's name)")
    parser.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="NAME=VALUE", help="an option of the target"
    )
    container = parser.add_argument_group("containers")
    container.add_argument(
        "--interface",
        action="append",
        default=[],
        metavar="MODALITY=PATH",
        help="folder that an image comes in, such as T1=/input/images/t1-mri; T1?=… where a case may lack it; may be "
        "repeated (default: /input/images/ and the modality's name)",
    )
    when = container.add_mutually_exclusive_group()
    when.add_argument(
        "--rehearse",
        dest="rehearse",
        action="store_const",
        const="only",
        default="after",
        help="only rehearse the container that is there, with whatever was changed in it",
    )
    when.add_argument(
        "--no-rehearse", dest="rehearse", action="store_const", const="never", help="make the container, do not try it"
    )
    container.add_argument("--cases", type=quantities.count, default=1, metavar="N", help="to rehearse on (default: 1)")
    container.add_argument(
        "--limit-minutes",
        type=quantities.minutes,
        default=60.0,
        metavar="N",
        help="that one start may take (default: 60, Grand Challenge's)",
    )
    container.add_argument(
        "--limit-memory",
        type=quantities.memory_gib,
        default=quantities.memory_gib("15GB"),
        metavar="AMOUNT",
        help="that one start may take (default: 15GB, what Grand Challenge suggests)",
    )
