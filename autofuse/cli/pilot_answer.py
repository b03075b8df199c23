"""How a pilot went, for people and for programs."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table

    from autofuse.foundation.workspace import Workspace
    from autofuse.road.pilot_record import Pilot

Shown = tuple[Callable[[], "RenderableType"], ...]


def pilot_answer(options: Namespace, place: Workspace) -> tuple[Shown, dict[str, Callable[[], Any]]]:
    """What is printed and what JSON gets of the pilot in ``place``; nothing where the command asked for none."""
    if not (options.pilot or options.pilot_minutes):
        return (), {}
    from autofuse.road.pilot import load_pilot

    pilot = load_pilot(place)
    assert pilot is not None, "a pilot that was asked for is written down"
    return (lambda: pilot_table(pilot),), {"pilot": lambda: pilot.model_dump(mode="json")}


def pilot_table(pilot: Pilot) -> Group:
    """Who was tried and how they did, who was not and why, and who won."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [_trials(pilot)] if pilot.trials else []
    parts += [Text(f"Not tried: {item.name}: {item.problem}") for item in pilot.left_out]
    return Group(*parts, Text(pilot.verdict, style="bold"))


def _trials(pilot: Pilot) -> Table:
    """A row per candidate, the default first."""
    from rich.table import Table

    from autofuse.road.arbiter import verdict

    table = Table(title=f"Pilot, judged on {pilot.judging_cases} held-out cases", title_justify="left")
    for column in ("candidate", "steps", "mean Dice", "gain", f"{pilot.confidence:.0%} interval", "verdict"):
        table.add_column(column, justify="left" if column in ("candidate", "verdict") else "right")
    for trial in pilot.trials:
        gain = bounds = ""
        if trial.gain is not None:
            gain = f"{trial.gain.difference:+.3f}"
            bounds = f"{trial.gain.lower:+.3f} to {trial.gain.upper:+.3f}"
        dice = "" if trial.mean_dice is None else f"{trial.mean_dice:.3f}"
        table.add_row(trial.name, str(trial.steps), dice, gain, bounds, verdict(pilot, trial))
    return table
