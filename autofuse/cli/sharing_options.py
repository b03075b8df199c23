"""The options of the verbs that share models."""

from __future__ import annotations

from argparse import ArgumentParser

from autofuse.cli import quantities


def add_export(parser: ArgumentParser) -> None:
    """Which model is given away, as what, and where to."""
    parser.add_argument(
        "--run", metavar="NAME", help="which run's model (default: the ensemble that was chosen, else the newest run)"
    )
    parser.add_argument(
        "-f", "--folds", type=quantities.folds, metavar="K,…", help="folds to share (default: all of that model)"
    )
    parser.add_argument(
        "-o", "--out", metavar="FILE", help="the bundle, or with --onnx a folder (default: shared/ in the workspace)"
    )
    parser.add_argument(
        "--name", metavar="NAME", help="of the model; the data set's name then goes nowhere (default: that name)"
    )
    parser.add_argument("--licence", metavar="TEXT", help="under which others may use it; stands in the model card")
    parser.add_argument(
        "--onnx",
        action="store_true",
        help="ONNX networks instead of a bundle, compared with torch, and contract.json: what to do before and after",
    )


def add_import(parser: ArgumentParser) -> None:
    """Which bundle is taken in, and under which name."""
    parser.add_argument("bundle", metavar="BUNDLE", help="a file that `autofuse export` made")
    parser.add_argument("--name", metavar="NAME", help="for the model here (default: the name that it brings)")
    parser.set_defaults(dataset=None)
