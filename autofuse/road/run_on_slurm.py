"""The whole road on a SLURM cluster: units as jobs, and a run that finds the jobs of an earlier command again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autofuse.foundation.console import say
from autofuse.foundation.errors import ModelError, ResourceError
from autofuse.foundation.machine import visible_gpus
from autofuse.foundation.workspace import Workspace
from autofuse.road.places import workspace_of
from autofuse.road.run_graph import GROUND, KINDS, TRAIN, make_graph, plan_there, settle_graph
from autofuse.road.run_in_units import LOOKED_AT_AGAIN, RunOutcome, job_of, run_in_units
from autofuse.road.run_order import RunOrder
from autofuse.road.steps import Folder, open_both
from autofuse.units.ledger import Ledger
from autofuse.units.slurm.executor import Slurm, queued_units, write_scripts
from autofuse.units.slurm.queue import Element, require_slurm
from autofuse.units.slurm.settings import Settings, read_settings
from autofuse.units.slurm.submission import Submission


def run_on_slurm(
    dataset: Folder,
    order: RunOrder,
    asked: Sequence[str],
    *,
    wait: bool = True,
    workspace: Folder | None = None,
    workers: int | None = None,
) -> RunOutcome:
    """The road by SLURM; units whose jobs an earlier command has submitted are waited for, not submitted again.

    Args:
        asked: settings of SLURM, each KEY=VALUE or KIND.KEY=VALUE.
        wait: until all jobs have ended.

    Raises:
        UsageError: if SLURM is not here, or a setting cannot be meant.
        ResourceError: if SLURM refuses the jobs, or jobs of another order are in its queue.
    """
    settings = read_settings(asked, KINDS)
    require_slurm()
    queued = queued_units(Ledger(workspace_of(dataset, workspace).folder))
    if queued:
        _require_same(dataset, workspace, order, queued)
    _advise(order, workspace_of(dataset, workspace), settings)
    # What is in the queue stands on what is done: none of that is looked at again while it runs.
    # Else the ground is looked at once more, as a job; the rest need not wait for that in the queue.
    executor = Slurm(settings, wait, again=() if queued else (GROUND,))
    kinds = None if queued else [kind for kind in LOOKED_AT_AGAIN if kind != GROUND]
    return run_in_units(dataset, order, executor, workspace=workspace, workers=workers, look_again=kinds)


def write_slurm_scripts(
    dataset: Folder, order: RunOrder, asked: Sequence[str], workspace: Folder | None, workers: int | None
) -> Submission:
    """The scripts that ``run_on_slurm`` would submit; SLURM need not be here."""
    settings = read_settings(asked, KINDS)
    opened, place = open_both(dataset, workspace)
    graph = settle_graph(order, opened, place)
    _advise(order, place, settings)
    return write_scripts(job_of(opened, place, graph, workers), settings)


def _require_same(dataset: Folder, workspace: Folder | None, order: RunOrder, queued: Mapping[str, Element]) -> None:
    """Nothing, if the jobs in the queue are for this order.

    Raises:
        ResourceError: if they are for another one.
    """
    opened, place = open_both(dataset, workspace)
    try:
        before = Ledger(place.folder).graph()
    except ModelError:
        return
    if before.order != make_graph(order, opened, plan_there(place)).order:
        jobs = sorted({element.array for element in queued.values()}, key=int)
        raise ResourceError(
            "Jobs for units of another order are in SLURM's queue.",
            file=Ledger(place.folder).graph_file,
            found=f"{len(queued)} units, {next(iter(queued))} among them",
            remedy=f"Give the options that they were submitted with, or wait, or cancel them: scancel {' '.join(jobs)}",
        )


def _advise(order: RunOrder, place: Workspace, settings: Settings) -> None:
    """Say what SLURM will not be asked for, because nobody knows it yet."""
    asked = settings.of_kind(TRAIN)
    if order.device == "auto" and plan_there(place) is None and not visible_gpus() and not {"gres", "gpus"} & {*asked}:
        say("No GPU is asked for: there is none on this machine. `--device cuda` plans for those of the cluster.")
    if plan_there(place) is None and "mem" not in asked:
        say("What units will take is not known before there is a plan: SLURM's defaults count, or --slurm mem=AMOUNT.")
