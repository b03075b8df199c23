"""Pieces of Markdown: tables, and a mean with its interval."""

from __future__ import annotations

from collections.abc import Sequence

from autofuse.evaluation.types import Statistic


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines]


def statistic(value: Statistic) -> str:
    """Mean [95 % interval] (n = cases); "-" where there is none."""
    if value.mean is None:
        return "-"
    interval = "" if value.low is None or value.high is None else f" [{value.low:.3f}, {value.high:.3f}]"
    return f"{value.mean:.3f}{interval} (n = {value.n})"
