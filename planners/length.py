"""How many steps one fold is trained."""

from __future__ import annotations

from autofuse.plan.types import Budget, Configuration, Decision
from autofuse_planners.sizing import training_seconds
from autofuse_planners.thresholds import Thresholds


def choose_steps(default: Configuration, budget: Budget, rules: Thresholds) -> tuple[int, Decision]:
    """As many as fit into the minutes at the predicted speed; without a time dial a fixed number."""
    seconds = training_seconds(budget, rules)
    if seconds is not None and default.seconds_per_step:
        steps = min(rules.max_steps, max(1, int(seconds / default.seconds_per_step)))
        return steps, Decision(
            what="steps",
            chosen=str(steps),
            rule=f"{rules.time_share:.0%} of the minutes at the predicted speed, at most {rules.max_steps}",
            evidence={"minutes": budget.minutes, "step_s": default.seconds_per_step},
        )
    cpu = budget.device == "cpu"
    steps = rules.default_steps_cpu if cpu else rules.default_steps
    return steps, Decision(
        what="steps",
        chosen=str(steps),
        rule=f"no time dial on a {'CPU' if cpu else 'GPU'}: the default",
        evidence={"device": budget.device},
        alternatives=("--minutes or --steps sets another length",),
    )
