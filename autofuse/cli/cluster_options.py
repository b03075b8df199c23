"""The options of runs whose units a cluster carries out."""

from __future__ import annotations

from argparse import ArgumentParser


def add_clusters(parser: ArgumentParser) -> None:
    """What is asked of SLURM; where Dask is."""
    slurm = parser.add_argument_group("with --executor slurm")
    slurm.add_argument(
        "--slurm",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option of sbatch (partition, account, time, mem ...), for units of one kind as KIND.KEY=VALUE; also "
        "at-once=N, units of an array at once, and setup=FILE, lines that every job begins with; may be repeated",
    )
    slurm.add_argument("--dry-run", action="store_true", help="write the scripts for sbatch, and submit nothing")
    slurm.add_argument("--no-wait", action="store_true", help="come back when the jobs are submitted")
    dask = parser.add_argument_group("with --executor dask")
    dask.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="of the Dask cluster, such as tcp://host:8786 (default: one on this machine, with --jobs workers)",
    )
