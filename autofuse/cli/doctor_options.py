"""The options of `autofuse doctor`."""

from __future__ import annotations

from argparse import ArgumentParser

from autofuse.cli import shared_options as shared


def doctor_options(parser: ArgumentParser) -> None:
    """Whose disk is tried, and which device is measured."""
    parser.set_defaults(dataset=None)
    shared.workspace(parser)
    shared.device(parser)
