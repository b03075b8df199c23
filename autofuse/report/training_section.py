"""The part of the report on training: an overview of all runs, and the learning curves of their folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autofuse.foundation.plain_table import PlainTable
from autofuse.report.line_chart import Line, line_chart
from autofuse.report.page import Block, Drawing, Drawings, Heading, Numbers, Section, Words, counted
from autofuse.training.state import EpochRecord

MOST_DRAWN = 12
"""Runs whose curves are drawn, the newest first; the others are in the table only."""
MOST_LISTED = 200
"""Folds in the table of runs, those of the newest runs."""
MOST_FOLDS = 16
"""Of one run in one drawing."""


@dataclass(frozen=True)
class FoldHistory:
    """What one fold's journal says.

    Attributes:
        steps: done; planned: of the whole training, as far as that is known.
        finished: whether it is over; best_dice: the best moving average of the validations.
        history: its epochs; lost: lines of the journal that could not be read.
    """

    fold: int
    finished: bool
    steps: int
    planned: int | None
    minutes: float | None
    best_dice: float | None
    history: tuple[EpochRecord, ...]
    lost: int = 0


@dataclass(frozen=True)
class RunHistory:
    """One run with its folds. ``note`` says what is particular, such as that a pilot trained it."""

    name: str
    configuration: str
    trainer: str
    folds: tuple[FoldHistory, ...]
    note: str = ""


def training_section(runs: Sequence[RunHistory], problems: Sequence[str] = ()) -> Section:
    """All runs, the newest last; ``problems`` are of folds that could not be read."""
    blocks: list[Block] = [Words(problem, warns=True) for problem in problems]
    if not runs:
        return Section("training", "Training", (*blocks, Words("Nothing is trained yet.")))
    blocks.append(Numbers(_overview(runs)))
    if len(runs) > MOST_DRAWN:
        blocks.append(Words(f"The curves of the newest {MOST_DRAWN} of {len(runs)} runs are drawn."))
    for run in reversed(runs[-MOST_DRAWN:]):
        blocks += _curves(run)
    return Section("training", "Training", tuple(blocks))


def _overview(runs: Sequence[RunHistory]) -> PlainTable:
    rows = []
    for run in runs:
        for item in run.folds:
            planned = "" if item.planned is None or item.finished else f" of {item.planned}"
            rows.append(
                (
                    run.name,
                    str(item.fold),
                    run.configuration,
                    run.trainer,
                    "finished" if item.finished else "not finished",
                    f"{item.steps}{planned}",
                    "" if item.minutes is None else f"{item.minutes:.1f}",
                    "" if item.best_dice is None else f"{item.best_dice:.3f}",
                    run.note,
                )
            )
    columns = ("run", "fold", "configuration", "trainer", "state", "steps", "minutes", "best Dice", "note")
    note = "Best Dice: the best moving average of the validations while training, on the prepared grid."
    if len(rows) > MOST_LISTED:
        note += f" The newest {MOST_LISTED} of {len(rows)} folds."
    return PlainTable("Runs", columns, tuple(rows[-MOST_LISTED:]), frozenset({0, 2, 3, 4, 8}), note=note)


def _curves(run: RunHistory) -> list[Block]:
    """Loss and Dice of all folds, as far as anything was written down."""
    blocks: list[Block] = [Heading(f"{run.name}{f' ({run.note})' if run.note else ''}")]
    for item in run.folds:
        if item.lost:
            told = f"{counted(item.lost, 'line')} of the journal of fold {item.fold}"
            blocks.append(Words(f"{told} could not be read and {'is' if item.lost == 1 else 'are'} left out.", True))
    folds = run.folds[:MOST_FOLDS]
    if len(folds) < len(run.folds):
        blocks.append(Words(f"The first {MOST_FOLDS} of {len(run.folds)} folds are drawn."))
    loss = [Line(f"fold {item.fold}", _points(item.history, "loss")) for item in folds]
    dice = [
        Line(f"fold {item.fold}", _points(item.history, "dice_smooth"), _points(item.history, "dice")) for item in folds
    ]
    if not any(item.points for item in loss):
        return [*blocks, Words("No epoch is written down yet.")]
    chart = line_chart(loss, across="step", upwards="loss", description=_told(run, loss, "Loss"))
    drawings = [Drawing(chart, "Loss, the mean of each epoch.")]
    if any(item.points or item.beside for item in dice):
        chart = line_chart(dice, across="step", upwards="Dice", description=_told(run, dice, "Dice"), limits=(0.0, 1.0))
        drawings.append(
            Drawing(chart, "Dice of held-out cases on the prepared grid: thin as measured, thick its moving average.")
        )
    return [*blocks, Drawings(tuple(drawings))]


def _points(history: Sequence[EpochRecord], name: str) -> tuple[tuple[float, float], ...]:
    return tuple((record.step, value) for record in history if (value := getattr(record, name)) is not None)


def _told(run: RunHistory, lines: Sequence[Line], what: str) -> str:
    """The curves in words."""
    told = [
        f"{item.name} from {item.points[0][1]:.3g} to {item.points[-1][1]:.3g} at step {item.points[-1][0]:.0f}"
        for item in lines
        if item.points
    ]
    return f"{what} of {run.name}: {'; '.join(told)}."
