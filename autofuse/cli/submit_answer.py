"""What `autofuse submit` does and shows, and `autofuse run --submit` at its end."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from autofuse import road
from autofuse.cli import tables
from autofuse.cli.answers import Answer, answer
from autofuse.foundation.errors import PartialError

if TYPE_CHECKING:
    from rich.console import Console


def submit_answer(options: Namespace) -> Answer:
    """A submission, made and shown; exit code 6 where a container failed its rehearsal."""
    from autofuse.training.run import parse_settings

    settings = parse_settings(options.settings)
    if options.interface:
        settings["interface"] = options.interface
    made = road.submit(
        options.dataset,
        options.target,
        images=options.images,
        masks=options.masks,
        out=options.out,
        run=options.run,
        folds=options.folds,
        name=options.name,
        settings=settings,
        rehearse=options.rehearse,
        cases=options.cases,
        limit_minutes=options.limit_minutes,
        limit_memory_gib=options.limit_memory,
        device=options.device,
        workspace=options.workspace,
        workers=options.workers,
    )
    return answer(made, lambda: tables.submitted(made), exit_code=_exit_code(made))


def with_submission(ended: Answer, options: Namespace) -> Answer:
    """The end of a run, with a submission by what was chosen at its end."""
    made = road.submit(
        options.dataset,
        options.submit,
        device=options.device,
        workspace=options.workspace,
        workers=options.workers,
    )

    def show(console: Console) -> None:
        ended.show(console)
        console.print(tables.submitted(made), crop=False)

    content = {"submission": made.model_dump(mode="json")}
    return Answer(lambda: ended.content() | content, show, ended.exit_code or _exit_code(made))


def _exit_code(made: road.Submitted) -> int:
    failed = made.rehearsal is not None and not made.rehearsal.passed
    return PartialError.exit_code if failed else 0
