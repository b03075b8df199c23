"""Work units as tables for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autofuse.training.journal import duration

if TYPE_CHECKING:
    from rich.console import Group
    from rich.text import Text

    from autofuse.units.ledger import Finished
    from autofuse.units.status import Status, UnitStatus

MANY = 12
"""Units of one kind; where more are done, or wait, they are counted in one line."""
_STYLES = {"done": "green", "running": "cyan", "failed": "red", "ready": "yellow", "waiting": "dim"}
_COUNTED = ("done", "waiting", "ready")


def status_table(status: Status, only: str | None = None) -> Group:
    """A row a unit, many alike in one row; below, what failed and the commands that try it again."""
    from rich.console import Group
    from rich.table import Table

    table = Table("unit", "state", "where", "for", "how far", title=counts(status), title_justify="left")
    units = [unit for unit in status.units if only in (None, unit.state)]
    alike: dict[tuple[str, str], list[UnitStatus]] = {}
    for unit in units:
        alike.setdefault((unit.kind, unit.state), []).append(unit)
    for unit in units:
        same = alike[unit.kind, unit.state]
        if only is None and unit.state in _COUNTED and len(same) > MANY:
            if unit is same[0]:
                table.add_row(f"{len(same)} × {unit.kind}", _state(unit), "", "", "")  # noqa: RUF001
            continue
        table.add_row(unit.name, _state(unit), unit.where, _duration(unit), _progress(unit, status.time))
    return Group(table, failures(status))


def failures(status: Status) -> Text:
    """What failed, and the commands that try it again."""
    from rich.text import Text

    text = Text(no_wrap=True, overflow="ignore")
    for unit in status.units:
        if unit.state == "failed":
            when = _ago(unit, status.time)
            text.append(f"{unit.name} failed with exit code {unit.exit_code}, {when}\n", style="bold")
            text.append(f"{unit.problem}\n  again: {unit.again}\n")
            text.append(f"  log: {status.folder}/{unit.log}\n" if unit.log else "")
    text.rstrip()
    return text


def finished(made: Finished) -> Text:
    """How a unit ended."""
    from rich.text import Text

    return Text(f"{made.unit} is done: {len(made.outputs)} files, {made.seconds:.1f} s, {made.place.in_words()}")


def counts(status: Status) -> str:
    """How many units stand how."""
    states = [(name, status.count(name)) for name in ("done", "running", "ready", "waiting", "failed")]
    return f"{len(status.units)} units: " + ", ".join(f"{count} {name}" for name, count in states if count)


def _state(unit: UnitStatus) -> Text:
    from rich.text import Text

    return Text(unit.state, style=_STYLES[unit.state])


def _duration(unit: UnitStatus) -> str:
    return "" if unit.seconds is None else duration(unit.seconds)


def _progress(unit: UnitStatus, now: float) -> str:
    if unit.state == "running":
        counted = f"{unit.label}: {unit.done:g} of {unit.total:g}" if unit.done is not None and unit.total else ""
        return " · ".join(part for part in (counted, unit.told, unit.scheduler) if part)
    if unit.state in ("done", "failed"):
        return _ago(unit, now)
    if unit.scheduler:
        return unit.scheduler
    more = " …" if len(unit.waits_for) > 3 else ""
    return f"stands on {', '.join(unit.waits_for[:3])}{more}" if unit.waits_for else ""


def _ago(unit: UnitStatus, now: float) -> str:
    return "" if unit.ended is None else f"{duration(max(0.0, now - unit.ended))} ago"
