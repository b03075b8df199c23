"""What runs on clusters do and show."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from autofuse.cli.answers import Answer
from autofuse.foundation.errors import UsageError

if TYPE_CHECKING:
    from autofuse.road.run_in_units import RunOutcome
    from autofuse.road.run_order import RunOrder

_ONLY_WITH = {"slurm": ("slurm", "dry_run", "no_wait"), "dask": ("scheduler",)}


def require_fitting(options: Namespace) -> None:
    """Nothing, if options of a cluster are given together with the executor that they are for.

    Raises:
        UsageError: if they are not.
    """
    for executor, names in _ONLY_WITH.items():
        given = [f"--{name.replace('_', '-')}" for name in names if getattr(options, name)]
        if given and options.executor != executor:
            raise UsageError(
                f"{given[0]} is for --executor {executor}.",
                found=f"{given[0]}, and --executor {options.executor or 'is not given'}",
                remedy=f"Add --executor {executor}, or leave out {' and '.join(given)}.",
            )


def slurm_outcome(options: Namespace, order: RunOrder) -> RunOutcome:
    """A run whose units are jobs of SLURM."""
    from autofuse.road.run_on_slurm import run_on_slurm

    return run_on_slurm(
        options.dataset,
        order,
        options.slurm,
        wait=not options.no_wait,
        workspace=options.workspace,
        workers=options.workers,
    )


def dry_run_answer(options: Namespace, order: RunOrder) -> Answer:
    """The scripts that would be submitted."""
    from autofuse.road.run_on_slurm import write_slurm_scripts

    made = write_slurm_scripts(options.dataset, order, options.slurm, options.workspace, options.workers)
    files = sorted(path.name for path in made.folder.iterdir() if path.is_file())
    text = f"Nothing was submitted. To submit all of it: {made.submit_file}"
    return Answer(
        lambda: {"folder": str(made.folder), "files": files, "submit": str(made.submit_file)},
        lambda console: console.print("\n".join([*files, text]), markup=False, soft_wrap=True),
    )
