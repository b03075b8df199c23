"""``check_planner``: does a planner keep the rules that every later step relies on?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod

from autofuse.dataset.types import Labels
from autofuse.fingerprint.types import Fingerprint
from autofuse.foundation.errors import AutofuseError
from autofuse.foundation.registry import TRAINERS, registered
from autofuse.networks import network_cost
from autofuse.plan.types import Budget, Configuration, Plan, Planner
from autofuse.testing.conformance import Check, CheckResult, ConformanceError, run_checks
from autofuse.testing.fingerprints import example_fingerprints

BUDGETS = (
    Budget(memory_gib=2.0),
    Budget(memory_gib=4.0, minutes=20.0, flops_per_s=1e11, elements_per_s=1e9, precision="bf16", threads=2),
    Budget(memory_gib=24.0, device="cuda", precision="fp16"),
)
"""A small machine, one in a hurry, a GPU."""
TIME_TOLERANCE = 1.02
"""Planned steps may take this much of the time dial, for rounding."""


@dataclass(frozen=True)
class PlanTrial:
    """A planner asked about one data set under one budget.

    Attributes:
        planners: a new planner each time it is called.
        plan: what the first of them decided.
    """

    planners: Callable[[], Planner]
    fingerprint: Fingerprint
    labels: Labels
    budget: Budget
    plan: Plan

    def channels(self, configuration: Configuration) -> tuple[int, int]:
        """Input channels of a configuration's network, and how many of them are a cascade's masks."""
        prior = len(self.labels.classes) if configuration.previous else 0
        return len(self.fingerprint.modalities) + prior, prior


def check_planner(
    planner: type[Planner] | Callable[[], Planner],
    fingerprints: Sequence[tuple[Fingerprint, Labels]] | None = None,
    budgets: Sequence[Budget] = BUDGETS,
) -> tuple[CheckResult, ...]:
    """The results of every check, all passed; trains nothing, reads nothing from disk.

    Args:
        planner: the registered class, or a function that gives a new planner.
        fingerprints: data sets to plan for; None for ``testing.fingerprints.example_fingerprints``.
        budgets: dials to plan under.

    Raises:
        ConformanceError: if a check fails, listing every defect of every check.
    """
    results: list[CheckResult] = []
    for fingerprint, labels in example_fingerprints() if fingerprints is None else fingerprints:
        for budget in budgets:
            setting = f"{fingerprint.dataset}, {budget.memory_gib:g} GiB, {budget.minutes or 'any'} minutes"
            try:
                plan = planner().plan(fingerprint, labels, budget)
            except Exception as error:
                defect = f"raised {type(error).__name__}: {error}"
                results.append(CheckResult("plans", setting, (defect,)))
                continue
            results += run_checks(PLAN_CHECKS, PlanTrial(planner, fingerprint, labels, budget, plan), setting)
    if not all(result.passed for result in results):
        raise ConformanceError(getattr(planner, "__name__", "The planner"), results)
    return tuple(results)


def is_deterministic(trial: PlanTrial) -> Iterator[str]:
    """The same fingerprint and budget give the same plan, byte for byte, and it survives JSON."""
    again = trial.planners().plan(trial.fingerprint, trial.labels, trial.budget)
    if again.to_json() != trial.plan.to_json():
        yield "a second plan differs; read nothing but fingerprint, labels and budget, and iterate over sorted things"
    if Plan.model_validate_json(trial.plan.model_dump_json()) != trial.plan:
        yield "the plan does not come back from JSON as it was"


def belongs_to_its_inputs(trial: PlanTrial) -> Iterator[str]:
    """The plan names what it was made from, and everything that it refers to exists."""
    plan, names = trial.plan, [item.name for item in trial.plan.configurations]
    if plan.fingerprint_digest != trial.fingerprint.digest():
        yield "fingerprint_digest must be fingerprint.digest()"
    if (plan.modalities, plan.labels, plan.budget) != (trial.fingerprint.modalities, trial.labels, trial.budget):
        yield "modalities, labels and budget must be those that were given"
    if len(plan.normalisation) != len(plan.modalities):
        yield f"{len(plan.normalisation)} normalisations for {len(plan.modalities)} modalities"
    if sorted(plan.transpose) != [0, 1, 2]:
        yield f"transpose {plan.transpose} must hold 0, 1 and 2"
    if plan.configuration not in names or len(set(names)) < len(names):
        yield f"configuration {plan.configuration!r} must be one of {names}, each named once"
    for item in plan.configurations:
        if item.previous is not None and item.previous not in names:
            yield f"{item.name} continues {item.previous!r}, which the plan does not have"
    if plan.trainer.name not in registered(TRAINERS):
        yield f"no trainer is registered as {plan.trainer.name!r}"


def networks_fit_their_patches(trial: PlanTrial) -> Iterator[str]:
    """Every configuration's network exists, and its strides divide the patch."""
    for item in trial.plan.configurations:
        channels, prior = trial.channels(item)
        if len(item.patch) != item.dimensions:
            yield f"{item.name}: patch {item.patch} must have {item.dimensions} axes"
            continue
        try:
            network_cost(item.network, channels, trial.labels.outputs, item.patch, prior_channels=prior)
        except AutofuseError as error:
            yield f"{item.name}: {error}"
            continue
        reduction = tuple(prod(steps) for steps in zip(*item.network.strides, strict=True))
        if any(size % step for size, step in zip(item.patch, reduction, strict=True)):
            yield f"{item.name}: patch {item.patch} must be a multiple of {reduction}, the product of its strides"
        lowest = tuple(size // step for size, step in zip(item.patch, reduction, strict=True))
        if prod(lowest) == 1 and len(item.network.features) > 1:
            yield f"{item.name}: the lowest stage is a single voxel, which instance norm cannot normalise; pool less"


def stays_within_the_dials(trial: PlanTrial) -> Iterator[str]:
    """Predicted memory within the memory dial, predicted time within the time dial."""
    for item in trial.plan.configurations:
        if not 0 < item.memory_gib <= trial.budget.memory_gib:
            yield f"{item.name}: {item.memory_gib:.2f} GiB planned, {trial.budget.memory_gib:g} GiB allowed"
    chosen = next((item for item in trial.plan.configurations if item.name == trial.plan.configuration), None)
    if chosen is not None and trial.budget.minutes is not None and trial.budget.flops_per_s is not None:
        if chosen.seconds_per_step is None:
            yield f"{chosen.name}: seconds_per_step is missing though speed was measured and a time was given"
        elif trial.plan.steps * chosen.seconds_per_step > 60 * trial.budget.minutes * TIME_TOLERANCE:
            minutes = trial.plan.steps * chosen.seconds_per_step / 60
            yield f"{trial.plan.steps} steps take {minutes:.1f} minutes of {trial.budget.minutes:g}"


def decisions_are_explained(trial: PlanTrial) -> Iterator[str]:
    """Every decision says what was chosen, by which rule, and some say from which numbers."""
    decisions = trial.plan.decisions
    if not decisions:
        yield "decisions is empty; record each decision with its rule and the numbers that it read"
    for item in decisions:
        if not (item.what.strip() and item.chosen.strip() and item.rule.strip()):
            yield f"decision {item.what!r} needs what, chosen and rule"
        if not item.evidence:
            yield f"decision {item.what!r} has no evidence; name the numbers that the rule read"


PLAN_CHECKS: dict[str, Check[PlanTrial]] = {
    check.__name__: check
    for check in (
        is_deterministic,
        belongs_to_its_inputs,
        networks_fit_their_patches,
        stays_within_the_dials,
        decisions_are_explained,
    )
}
