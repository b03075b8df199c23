"""A plan for people: what was decided, by which rule, from which numbers, and what was passed over."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from autofuse.fingerprint.types import Fingerprint
from autofuse.foundation.plain_table import PlainTable
from autofuse.plan.story import tell
from autofuse.plan.types import Configuration, Decision, Plan

if TYPE_CHECKING:
    from rich.console import Group

_TEXT_WIDTH = 110


def to_json(plan: Plan, fingerprint: Fingerprint | None = None) -> dict[str, Any]:
    """The decisions with all they rest on, and the configurations, as JSON-able content; with the fingerprint also the
    story that leads to them."""
    story = {} if fingerprint is None else {"story": list(tell(plan, fingerprint))}
    return story | {
        "dataset": plan.dataset,
        "planner": plan.planner,
        "plan": plan.digest(),
        "fingerprint": plan.fingerprint_digest,
        "budget": plan.budget.model_dump(mode="json"),
        "configuration": plan.configuration,
        "trainer": plan.trainer.model_dump(mode="json"),
        "challengers": [item.model_dump(mode="json") for item in plan.challengers],
        "reference": plan.modalities[plan.reference],
        "registration": None if plan.registration is None else plan.registration.model_dump(mode="json"),
        "steps": plan.steps,
        "configurations": [item.model_dump(mode="json") for item in plan.configurations],
        "decisions": [item.model_dump(mode="json") for item in plan.decisions],
    }


def to_text(plan: Plan, fingerprint: Fingerprint | None = None, width: int = _TEXT_WIDTH) -> str:
    """The same as ``to_rich``, as plain text of ``width`` columns."""
    from io import StringIO

    from rich.console import Console

    stream = StringIO()
    Console(file=stream, width=width, color_system=None, highlight=False).print(to_rich(plan, fingerprint))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def to_rich(plan: Plan, fingerprint: Fingerprint | None = None) -> Group:
    """The story where there is a fingerprint, a headline, the configurations as a table, and every decision with its
    rule, evidence and alternatives."""
    from rich.console import Group
    from rich.text import Text

    parts: list[Any] = [] if fingerprint is None else [Text(part + "\n") for part in tell(plan, fingerprint)]
    parts += [Text(headline(plan), style="bold"), Text(budget_line(plan)), Text()]
    parts += [configuration_table(plan).to_rich(), Text()]
    for number, decision in enumerate(plan.decisions, start=1):
        parts.append(_decision(number, decision))
    return Group(*parts)


def configuration_table(plan: Plan) -> PlainTable:
    """One row per configuration, the default marked."""
    default = [item.name for item in plan.configurations].index(plan.configuration)
    return PlainTable(
        "Configurations",
        ("name", "spacing mm", "median case", "patch", "batch", "network", "memory", "s / step"),
        tuple(_row(item, number == default) for number, item in enumerate(plan.configurations)),
        words=frozenset({0, 1, 2, 3, 5}),
        marked=frozenset({default}),
    )


def _row(item: Configuration, default: bool) -> tuple[str, ...]:
    network = item.network
    name = item.name + (" *" if default else "") + (f" after {item.previous}" if item.previous else "")
    widths = f"{network.features[0]} to {network.features[-1]}, {len(network.features)} stages, {network.encoder}"
    return (
        name,
        _by(f"{value:.4g}" for value in item.spacing_mm),
        _by(str(value) for value in item.median_shape),
        _by(str(value) for value in item.patch),
        str(item.batch),
        widths,
        f"{item.memory_gib:.2f} GiB",
        "" if item.seconds_per_step is None else f"{item.seconds_per_step:.3g}",
    )


def headline(plan: Plan) -> str:
    """Configuration, trainer and length, and which plan it is."""
    return (
        f"{plan.dataset}: configuration {plan.configuration}, trainer {plan.trainer.name}, {plan.steps} steps "
        f"(planner {plan.planner}, plan {plan.digest()[:8]})"
    )


def budget_line(plan: Plan) -> str:
    """The dials, what the machine was measured to do, and the wishes."""
    budget = plan.budget
    memory = "the GPU's memory" if budget.device == "cuda" else "memory on cpu"
    text = f"Dials: {budget.memory_gib:g} GiB of {memory}, {budget.precision}"
    text += f", {budget.minutes:g} minutes" if budget.minutes is not None else ", no time dial"
    if budget.flops_per_s is not None and budget.elements_per_s is not None:
        text += (
            f"; measured {budget.flops_per_s / 1e9:.3g} GFLOP/s and "
            f"{budget.elements_per_s / 1e6:.3g} million elements/s on {budget.threads} threads"
        )
    text += "; modalities may be absent at prediction" if budget.expect_missing else ""
    text += "; a fused image is asked for" if budget.want_fused else ""
    return text + "."


def _decision(number: int, decision: Decision) -> Group:
    """A heading and, indented, the reason, the numbers, and what was not chosen."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    heading = Text(f"{number:2}. {decision.what}: ", style="bold")
    heading.append(decision.chosen, style="cyan")
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=3)
    grid.add_column(width=8, style="dim")
    grid.add_column(overflow="fold")
    grid.add_row("", "because", Text(decision.rule))
    if decision.evidence:
        grid.add_row("", "numbers", Text(numbers_of(decision)))
    for index, other in enumerate(decision.alternatives):
        grid.add_row("", "not" if index == 0 else "", Text(other))
    return Group(heading, grid, Text())


def numbers_of(decision: Decision) -> str:
    """What the rule read, in words; empty where it read nothing."""
    return "; ".join(f"{key.replace('_', ' ')} {_plain(value)}" for key, value in decision.evidence.items())


def _plain(value: Any) -> str:
    """A value of the evidence without JSON's quotes and brackets."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    if isinstance(value, list):
        numbers = all(isinstance(item, int | float) and not isinstance(item, bool) for item in value)
        return (" x " if numbers else ", ").join(_plain(item) for item in value) if value else "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return "none" if value is None else str(value)


def _by(parts: Iterable[str]) -> str:
    return " x ".join(parts)
