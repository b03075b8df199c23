"""Whether a challenger is better than the default beyond chance, and what the plan says about it. Nothing is read."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import JsonValue

from autofuse.evaluation.paired import PairedInterval, paired_bootstrap, paired_differences
from autofuse.plan.types import Decision, Plan
from autofuse.road.candidates import Candidate
from autofuse.road.pilot_record import Pilot, Trial

ARBITER = "arbiter"
"""What the arbiter's decision is called in a plan."""


def is_arbitrated(plan: Plan) -> bool:
    """Whether a pilot has had its say in ``plan``."""
    return any(decision.what == ARBITER for decision in plan.decisions)


def judged(pilot: Pilot) -> Pilot:
    """``pilot`` with each challenger compared with the default case by case, and the winner, if there is one.

    A challenger wins if the lower bound of its gain is above ``least_gain`` and it has learned something at all; of
    several, the one with the highest bound.
    """
    default, *challengers = pilot.trials
    trials = [default]
    for trial in challengers:
        if trial.problem is None:
            trial = trial.model_copy(update={"gain": _gain(pilot, default, trial)})
        trials.append(trial)
    winners = [trial for trial in trials if _is_better(pilot, trial) and _has_learned(pilot, trial)]
    best = max(winners, key=lambda trial: trial.gain.lower if trial.gain else 0.0, default=None)
    return pilot.model_copy(update={"trials": tuple(trials), "winner": None if best is None else best.name})


def arbitrated(pilot: Pilot, nominated: Plan, candidates: Sequence[Candidate]) -> Plan:
    """``nominated``, or the winner's plan, with the arbiter's decision and its numbers on record."""
    plan = nominated
    if pilot.winner is not None:
        winner = next(candidate for candidate in candidates if candidate.name == pilot.winner)
        plan = winner.plan.model_copy(update={"challengers": nominated.challengers})
    return plan.model_copy(update={"decisions": (*plan.decisions, decision_of(pilot))})


def decision_of(pilot: Pilot) -> Decision:
    """The arbiter's decision; it holds nothing that was read off a clock, so that a repetition gives the same plan."""
    default = pilot.trials[0]
    tried = [trial for trial in pilot.trials if trial.problem is None]
    cases = [case for jury in pilot.juries for case in jury.cases]
    evidence: dict[str, JsonValue] = {
        "folds": ", ".join(str(jury.fold) for jury in pilot.juries),
        "held_out_cases": len(cases),
        "subjects": len({pilot.subjects.get(case, case) for case in cases}),
        "steps": {trial.name: trial.steps for trial in tried},
        "mean_dice": {trial.name: _rounded(trial.mean_dice) for trial in tried},
        "gain": {trial.name: gain_words(trial, pilot.confidence) for trial in tried if trial.gain is not None},
    }
    return Decision(
        what=ARBITER,
        chosen=f"{default.name} stays" if pilot.winner is None else f"{pilot.winner} instead of {default.name}",
        rule=(
            "all were trained for the same short time on the same folds with the same seed; a challenger replaces the "
            f"default only if the lower bound of its gain in Dice a case ({pilot.confidence:.0%}, paired bootstrap "
            f"over subjects, {pilot.resamples} resamples) is above {pilot.least_gain:g}, and its mean Dice is at least "
            f"{pilot.least_dice:g}"
        ),
        evidence=evidence,
        alternatives=tuple(_passed_over(pilot)),
    )


def gain_words(trial: Trial, confidence: float) -> str:
    """The trial's gain over the default with its interval, for a person."""
    assert trial.gain is not None
    gain = trial.gain
    return f"{gain.difference:+.3f} ({confidence:.0%} from {gain.lower:+.3f} to {gain.upper:+.3f})"


def verdict(pilot: Pilot, trial: Trial) -> str:
    """What became of one trial, in a few words."""
    default = pilot.trials[0]
    if trial.name == default.name:
        return "default; stays" if pilot.winner is None else "default; is replaced"
    if trial.problem is not None:
        return f"failed: {trial.problem}"
    if trial.name == pilot.winner:
        return "wins"
    if trial.gain is None:
        return "cannot be compared: no case has a score"
    if not _is_better(pilot, trial):
        return "does not win"
    if not _has_learned(pilot, trial):
        return "does not win: it has learned too little to be judged"
    return f"is better than the default, but less surely than {pilot.winner}"


def _is_better(pilot: Pilot, trial: Trial) -> bool:
    return trial.gain is not None and trial.gain.lower > pilot.least_gain


def _has_learned(pilot: Pilot, trial: Trial) -> bool:
    return trial.mean_dice is not None and trial.mean_dice >= pilot.least_dice


def _passed_over(pilot: Pilot) -> list[str]:
    stays = pilot.winner or pilot.trials[0].name
    passed = [f"{trial.name}: {verdict(pilot, trial)}" for trial in pilot.trials if trial.name != stays]
    return [*passed, *(f"{item.name}: not tried: {item.problem}" for item in pilot.left_out)]


def _gain(pilot: Pilot, default: Trial, trial: Trial) -> PairedInterval | None:
    differences = paired_differences(default.scores, trial.scores)
    if not differences:
        return None
    return paired_bootstrap(
        differences, pilot.subjects, resamples=pilot.resamples, confidence=pilot.confidence, seed=pilot.seed
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
