"""The part of the report on what was decided: the story, the budget, the configurations, every decision, the pilot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from autofuse.foundation.plain_table import PlainTable
from autofuse.plan.explain import budget_line, configuration_table, headline, numbers_of
from autofuse.plan.types import Plan
from autofuse.report.page import Block, Heading, Numbers, Reason, Reasons, Section, Words

STAR = "* is trained unless another one is named."


def plan_section(plan: Plan, story: Sequence[str], trials: PlainTable | None = None) -> Section:
    """What was decided, and why.

    Args:
        story: paragraphs about the plan.
        trials: how challengers did when they were tried, where they were.
    """
    blocks: list[Block] = [Words(paragraph) for paragraph in story]
    blocks += [Words(headline(plan)), Words(budget_line(plan)), Numbers(replace(configuration_table(plan), note=STAR))]
    if trials is not None:
        blocks += [Heading("Challengers that were tried"), Numbers(trials)]
    reasons = tuple(
        Reason(item.what, item.chosen, item.rule, numbers_of(item), item.alternatives) for item in plan.decisions
    )
    return Section("plan", "What was decided, and why", (*blocks, Reasons(reasons)))
