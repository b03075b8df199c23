"""The options of runs that are divided into work units."""

from __future__ import annotations

from argparse import ArgumentParser

from autofuse.cli import quantities
from autofuse.cli import shared_options as shared


def add_unit(parser: ArgumentParser) -> None:
    """Which unit."""
    shared.case_work(parser)
    parser.add_argument("unit", metavar="UNIT", help="name of the unit, as `autofuse status` shows it")
    parser.add_argument("--again", action="store_true", help="do it even where it is done; outputs that fit are kept")
    parser.add_argument(
        "--patience",
        type=quantities.not_negative,
        default=0.0,
        metavar="SECONDS",
        help="wait so long until what it stands on is seen to be done, and nobody to be at it (default: 0)",
    )
