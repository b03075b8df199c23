"""What the verbs that deal with work units do, and a run that is divided into them."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, Any

from autofuse.cli import given
from autofuse.cli.answers import Answer, answer
from autofuse.cli.cluster_answer import dry_run_answer, require_fitting, slurm_outcome
from autofuse.cli.units_tables import counts, failures, finished, status_table
from autofuse.foundation.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from autofuse.road.run_in_units import RunOutcome
    from autofuse.road.run_order import RunOrder
    from autofuse.units.executor import Executor


def in_units(options: Namespace) -> bool:
    """Whether the run that is asked for is divided into work units: any option of theirs says so."""
    named = (options.executor, options.jobs, options.trainers, options.fold_minutes, options.cases_per_unit)
    cluster = bool(options.slurm or options.dry_run or options.no_wait or options.scheduler)
    return cluster or any(value is not None for value in named)


def run_outcome(options: Namespace) -> RunOutcome:
    """A run, by the executor that is asked for."""
    from autofuse.road.run_in_units import run_in_units

    require_fitting(options)
    if options.executor == "slurm":
        return slurm_outcome(options, order_of(options))
    return run_in_units(
        options.dataset,
        order_of(options),
        executor_of(options),
        workspace=options.workspace,
        workers=options.workers,
    )


def dry_run(options: Namespace) -> Answer:
    """What a run would submit."""
    require_fitting(options)
    return dry_run_answer(options, order_of(options))


def executor_of(options: Namespace) -> Executor:
    """Who carries out the units."""
    from autofuse.units.local import Local

    if options.executor == "dask":
        from autofuse.units.dask_executor import Dask

        return Dask(options.scheduler, options.jobs)
    return Local(jobs=options.jobs)


def order_of(options: Namespace) -> RunOrder:
    """What is asked for.

    Raises:
        UsageError: if a trainer is named twice over, or a time for all is given.
    """
    from autofuse.road.run_order import CASES_A_UNIT, RunOrder
    from autofuse.training.run import parse_settings

    if options.minutes is not None:
        raise UsageError(
            "A time for the whole command cannot be divided among units that anybody may carry out.",
            found=f"--minutes {options.minutes:g}",
            remedy="Give --fold-minutes, the time for training one fold; or --steps.",
        )
    if options.trainer is not None and options.trainers:
        raise UsageError("Trainers are named twice.", found="--trainer and --trainers", remedy="Leave one of them out.")
    return RunOrder(
        folds=options.folds,
        configuration=options.configuration,
        trainers=options.trainers or ((options.trainer,) if options.trainer else ()),
        settings=parse_settings(options.settings),
        steps=options.steps,
        fold_minutes=options.fold_minutes,
        seed=options.seed,
        precision=options.precision,
        device=options.device,
        gpus=options.gpus,
        **given.memory(options),
        planner=options.planner,
        expect_missing=options.expect_missing,
        want_fused=options.want_fused,
        topology=options.topology,
        pilot=getattr(options, "pilot", False),
        pilot_minutes=getattr(options, "pilot_minutes", None),
        cases_a_unit=options.cases_per_unit or CASES_A_UNIT,
    )


def unfinished(ran: RunOutcome) -> Answer:
    """A run without a report: what failed, and what is left."""
    return Answer(lambda: units_content(ran), lambda console: _show_left(console, ran), ran.outcome.exit_code)


def units_content(ran: RunOutcome) -> dict[str, Any]:
    """What became of the units, for programs."""
    return {
        "workspace": str(ran.workspace.folder),
        "done": list(ran.outcome.done),
        "failed": [unit.model_dump(mode="json") for unit in ran.status.units if unit.state == "failed"],
        "left": list(ran.outcome.left),
    }


def _show_left(console: Console, ran: RunOutcome) -> None:
    console.print(failures(ran.status), soft_wrap=True)
    console.print(counts(ran.status))


def worker_answer(options: Namespace) -> Answer:
    """Units taken until none is left."""
    from autofuse.road.run_in_units import work_on_units
    from autofuse.road.run_order import RunOrder
    from autofuse.units.local import PATIENCE_S, Local

    order = order_of(options)
    patience_s = PATIENCE_S if options.patience is None else 60 * options.patience
    ran = work_on_units(
        options.dataset,
        None if order == RunOrder() else order,
        Local(jobs=options.jobs, share=options.shard, patience_s=patience_s, together=True),
        workspace=options.workspace,
        workers=options.workers,
        retry=options.retry,
    )
    return unfinished(ran)


def status_answer(options: Namespace) -> Answer:
    """Where every unit stands."""
    from autofuse.road.run_in_units import units_status

    status = units_status(options.dataset, workspace=options.workspace)
    if options.only is not None:
        chosen = tuple(unit for unit in status.units if unit.state == options.only)
        return answer(status.model_copy(update={"units": chosen}), lambda: status_table(status, options.only))
    return answer(status, lambda: status_table(status))


def unit_answer(options: Namespace) -> Answer:
    """One unit, done."""
    from autofuse.road.unit_work import do_unit

    if options.parent is not None:
        from autofuse.foundation.worker_process import stop_with_parent

        stop_with_parent(options.parent)
    made = do_unit(
        options.dataset,
        options.unit,
        workspace=options.workspace,
        workers=options.workers,
        again=options.again,
        patience_s=60 * options.patience,
    )
    return answer(made, lambda: finished(made))
