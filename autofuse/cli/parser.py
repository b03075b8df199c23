"""What the user typed, as a namespace; a usage error names the mistake and the help that mends it."""

from __future__ import annotations

import argparse
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from difflib import get_close_matches
from typing import NoReturn

from autofuse.cli.options import add_options
from autofuse.cli.verbs import VERBS, Verb, verb_named
from autofuse.foundation.errors import UsageError

PROGRAM = "autofuse"
_ABOUT = "Self-configuring segmentation of multi-modal medical images."
_ENDING = """exit codes: 0 good · 2 usage · 3 bad data · 4 bad model or plan · 5 disk, memory or lock
            6 some cases failed · 130 / 143 interrupted, state saved · 1 a bug of autofuse

Start with `autofuse demo`, or with `autofuse check DATASET`. `autofuse VERB --help` tells more."""


class _Parser(ArgumentParser):
    """An argument parser whose mistakes become UsageErrors instead of exits."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message[:1].upper() + message[1:] + ".", remedy=f"{self.prog} --help")


def parse(arguments: Sequence[str]) -> Namespace:
    """The verb and its options.

    Raises:
        UsageError: for anything that cannot be meant.
        SystemExit: after printing a help text or the version.
    """
    if not arguments or arguments[0].startswith("-"):
        _top_level().parse_args(arguments)
        raise UsageError("A verb is missing.", expected=_names(), remedy=f"{PROGRAM} --help")
    name, *rest = arguments
    if name not in {verb.name for verb in VERBS}:
        close = get_close_matches(name, [verb.name for verb in VERBS], 1)
        raise UsageError(
            f"There is no verb {name!r}.",
            expected=_names(),
            remedy=f"{PROGRAM} {close[0]} --help" if close else f"{PROGRAM} --help",
        )
    options = verb_parser(verb_named(name)).parse_args(rest)
    options.verb = name
    _settle_dataset(options)
    return options


def verb_parser(verb: Verb) -> ArgumentParser:
    """The parser of one verb."""
    examples = "\n".join(f"  {command}\n      {remark}" for command, remark in verb.examples)
    parser = _Parser(
        prog=f"{PROGRAM} {verb.name}",
        description=verb.description,
        epilog=f"examples:\n{examples}",
        formatter_class=_Wrapped,
        allow_abbrev=False,
    )
    add_options(parser, verb.name)
    return parser


class _Wrapped(RawDescriptionHelpFormatter):
    """Wraps the description, keeps the examples as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith("examples:"):
            return super()._fill_text(text, width, indent)
        return argparse.HelpFormatter._fill_text(self, text, width, indent)


def _top_level() -> ArgumentParser:
    width = max(len(verb.name) for verb in VERBS) + 2
    verbs = "\n".join(f"  {verb.name:<{width}}{verb.summary}" for verb in VERBS)
    parser = _Parser(
        prog=PROGRAM,
        usage=f"{PROGRAM} VERB DATASET [options]",
        description=f"{_ABOUT}\n\nverbs:\n{verbs}",
        epilog=_ENDING,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {_version()}", help="print the version")
    return parser


def _version() -> str:
    from autofuse import __version__

    return __version__


def _names() -> str:
    return ", ".join(verb.name for verb in VERBS)


def _settle_dataset(options: Namespace) -> None:
    if not hasattr(options, "dataset_option"):
        return
    given, option = options.dataset, options.dataset_option
    if given is not None and option is not None and given != option:
        raise UsageError("The data set is named twice, differently.", found=f"{given} and -d {option}")
    options.dataset = given if given is not None else option
    if options.dataset is None and options.dataset_needed:
        raise UsageError(
            "The data set's folder is missing.",
            expected=f"{PROGRAM} {options.verb} DATASET",
            remedy=f"{PROGRAM} {options.verb} --help",
        )
