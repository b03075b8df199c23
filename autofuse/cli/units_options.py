"""The options of runs that are divided into work units, and of the verbs that deal with units."""

from __future__ import annotations

import re
from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError
from typing import TYPE_CHECKING

from autofuse.cli import quantities
from autofuse.cli import shared_options as shared
from autofuse.cli.cluster_options import add_clusters

if TYPE_CHECKING:
    from argparse import _ArgumentGroup

EXECUTORS = ("local", "slurm", "dask")


def add_executor(parser: ArgumentParser) -> None:
    """Who carries out a run, and how it is divided."""
    group = parser.add_argument_group("work units", "any of these options divides the run; see also `autofuse worker`")
    group.add_argument(
        "--executor",
        choices=EXECUTORS,
        help="who carries the units out: local, processes on this machine; slurm, jobs of a SLURM cluster; dask, a "
        "Dask cluster (default: local, if the run is divided)",
    )
    add_jobs(group)
    add_division(group)
    add_clusters(parser)


def add_jobs(group: _ArgumentGroup) -> None:
    """How many units at once on this machine."""
    group.add_argument(
        "--jobs",
        type=quantities.count,
        metavar="N",
        help="units at once on this machine; each gets its part of the processors (default: one a GPU, or 1)",
    )


def add_division(group: _ArgumentGroup) -> None:
    """What is trained, for how long, and how the work is divided."""
    group.add_argument(
        "--trainers",
        type=quantities.names,
        metavar="A,B",
        help="train each of these registered trainers; `select` chooses among them",
    )
    group.add_argument(
        "--fold-minutes",
        type=quantities.minutes,
        metavar="N",
        help="time for training one fold (--minutes is for a whole run in one process)",
    )
    group.add_argument(
        "--cases-per-unit",
        type=quantities.count,
        metavar="N",
        help="cases that one unit prepares or predicts (default: 50)",
    )


def add_worker(parser: ArgumentParser) -> None:
    """Which units a worker takes; and the options of `autofuse run` that say what there is to do."""
    shared.case_work(parser)
    group = parser.add_argument_group("which units")
    group.add_argument(
        "--shard",
        type=shard,
        metavar="I/N",
        help="take only units of the I-th of N shares, 1/N to N/N, and leave the rest to other workers (default: any)",
    )
    group.add_argument("--retry", action="store_true", help="try again what failed before")
    group.add_argument(
        "--patience",
        type=quantities.minutes,
        metavar="N",
        help="minutes to wait for other shares while nobody is at work (default: 1440)",
    )
    add_jobs(group)
    asked = parser.add_argument_group("what there is to do, as for `autofuse run` (default: what was asked for before)")
    asked.add_argument("-f", "--folds", type=quantities.folds, default=(0,), metavar="K,…", help="folds to train")
    add_division(asked)
    shared.method(parser)
    shared.dials(parser, SUPPRESS)
    shared.device(parser)


def add_unit(parser: ArgumentParser) -> None:
    """Which unit."""
    shared.case_work(parser)
    parser.add_argument("unit", metavar="UNIT", help="name of the unit, as `autofuse status` shows it")
    parser.add_argument("--again", action="store_true", help="do it even where it is done; outputs that fit are kept")
    parser.add_argument(
        "--patience",
        type=quantities.not_negative,
        default=0.0,
        metavar="N",
        help="minutes to wait until what it stands on is seen to be done, and nobody to be at it (default: 0)",
    )
    parser.add_argument("--parent", type=quantities.whole, metavar="PID", help=SUPPRESS)


def add_status(parser: ArgumentParser) -> None:
    """Whose units."""
    shared.dataset(parser)
    shared.workspace(parser)
    parser.add_argument(
        "--only",
        choices=("running", "failed", "ready", "waiting", "done"),
        help="show units that stand so (default: all, with those that are done or wait counted where they are many)",
    )


def shard(text: str) -> tuple[int, int]:
    """The share meant by ``text``: "2/4" is the second of four."""
    match = re.fullmatch(r"\s*([0-9]{1,6})/([0-9]{1,6})\s*", text)
    number, of = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= number <= of:
        raise ArgumentTypeError(f"{text!r} is not a share; write it like 1/4, 2/4, 3/4 or 4/4")
    return number, of
