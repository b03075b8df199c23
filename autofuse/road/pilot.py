"""The arbiter: default and challengers are trained briefly, and a challenger wins only if it is better beyond chance.

from autofuse import road
road.plan("Dataset103_ACDCScribble", minutes=60, pilot=True)
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from autofuse.foundation.console import say
from autofuse.foundation.errors import DataError, ModelError, UsageError
from autofuse.foundation.registry import PLANNERS, load_registered
from autofuse.foundation.workspace import Workspace
from autofuse.plan.types import Plan
from autofuse.road.arbiter import arbitrated, is_arbitrated, judged
from autofuse.road.candidates import Candidate, candidates_of
from autofuse.road.fold import DEFAULT_SEED, Method, train_fold
from autofuse.road.groundwork import Ground, waiting_lock
from autofuse.road.pilot_record import RULES, Jury, LeftOut, Pilot, PilotRules, Trial
from autofuse.road.pilot_time import Division, divide_pilot, measured_budget, step_seconds

if TYPE_CHECKING:
    from autofuse.evaluation.types import Scores
    from autofuse.road.runs import TrainedFold

PILOT_RUNS = "runs/pilot"
"""Folder of the pilot's runs: apart from the others, so that prediction never takes one of them."""


def arbitrate(
    ground: Ground,
    *,
    minutes: float | None = None,
    whole_minutes: float | None = None,
    steps: int | None = None,
    workers: int | None = None,
    rules: PilotRules = RULES,
) -> Ground:
    """``ground`` with the plan that the pilot leaves: the default's or the winner's, with the numbers on record.

    Stopped at any moment and called again, it goes on. A finished pilot is not repeated while data set and plan stay
    what they were, unless other minutes are named.

    Args:
        minutes: of the pilot; None for a share of the whole.
        whole_minutes: of the whole command; None to take the time of training one fold for the whole.
        steps: of training one fold; None for the plan's.
    """
    pilot = load_pilot(ground.workspace)
    if pilot is not None and pilot.arbitrated_digest == ground.plan.digest() and _same_length(pilot, minutes):
        say(f"The pilot is done already. {pilot.verdict}")
        return ground
    with waiting_lock(ground.workspace.folder / PILOT_RUNS):
        nominated = _nominating_plan(ground)
        candidates, unplanned = candidates_of(ground, nominated)
        pilot = _begun(ground, nominated, candidates, minutes)
        if pilot is None:
            pilot = _begin(ground, nominated, candidates, unplanned, minutes, whole_minutes, steps, rules)
            if pilot.nothing is None or not is_arbitrated(ground.plan):  # else an earlier pilot's record stays
                pilot.save(ground.workspace.pilot)
        if pilot.nothing is not None:
            say(pilot.verdict)
            return ground
        if pilot.arbitrated_digest is None:
            pilot = _flown(ground, pilot, candidates, workers)
        plan = arbitrated(pilot, nominated, candidates)
        pilot.model_copy(update={"arbitrated_digest": plan.digest()}).save(ground.workspace.pilot)
    say(pilot.verdict)
    return _settled(ground, plan)


def pilot_seconds(whole_minutes: float | None, minutes: float | None, rules: PilotRules = RULES) -> float:
    """Seconds of a command of ``whole_minutes`` that its pilot may take; 0 where neither time is given."""
    return rules.share * 60 * (whole_minutes or 0.0) if minutes is None else 60 * minutes


def load_pilot(workspace: Workspace) -> Pilot | None:
    """What a pilot wrote down; None where there was none, or its file is damaged."""
    try:
        return Pilot.load(workspace.pilot) if workspace.pilot.exists() else None
    except ModelError as error:
        say(f"{workspace.pilot.name} cannot be used and is made anew: {error.problem}")
        return None


def _same_length(pilot: Pilot, minutes: float | None) -> bool:
    return minutes is None or minutes == pilot.asked_minutes


def _nominating_plan(ground: Ground) -> Plan:
    """The plan before any pilot; where one has spoken already, the planner is asked again, and answers alike."""
    if not is_arbitrated(ground.plan):
        return ground.plan
    planner = load_registered(PLANNERS, ground.plan.planner)()
    plan: Plan = planner.plan(ground.fingerprint, ground.dataset.labels, ground.plan.budget)
    return plan.model_copy(update={"planner": ground.plan.planner})


def _begun(ground: Ground, nominated: Plan, candidates: Sequence[Candidate], minutes: float | None) -> Pilot | None:
    """The pilot that was begun on ``nominated`` with these candidates, whether it is finished or not."""
    pilot = load_pilot(ground.workspace)
    wanted = (nominated.digest(), ground.fingerprint.digest())
    if pilot is None or (pilot.plan_digest, pilot.fingerprint_digest) != wanted or not _same_length(pilot, minutes):
        return None
    plans = {candidate.name: candidate.trained_under.digest() for candidate in candidates}
    if any(plans.get(trial.name) != trial.plan_digest for trial in pilot.trials):
        return None
    # What kept a pilot from starting may be mended by now: there may be more minutes for the whole.
    return None if pilot.nothing is not None else pilot


def _begin(
    ground: Ground,
    nominated: Plan,
    candidates: Sequence[Candidate],
    unplanned: Sequence[LeftOut],
    minutes: float | None,
    whole_minutes: float | None,
    steps: int | None,
    rules: PilotRules,
) -> Pilot:
    """The pilot as it will be: who takes part, on which cases, for how many steps."""
    most_steps = nominated.steps if steps is None else steps
    if len(candidates) < 2:
        why = "no challenger can be planned" if unplanned else "the plan names no challenger"
        division, allowed_s = Division((), (), (), why), 60 * (minutes or 0.0)
    else:
        budget = measured_budget(nominated)
        step_s = {candidate.name: step_seconds(candidate, budget) for candidate in candidates}
        training_s = most_steps * step_s[candidates[0].name]
        if steps is None and budget.minutes is not None:
            training_s = 60 * budget.minutes
        allowed_s = pilot_seconds(training_s / 60 if whole_minutes is None else whole_minutes, minutes, rules)
        division = divide_pilot(ground, candidates, step_s, allowed_s, most_steps, rules)
    pilot = Pilot(
        plan_digest=nominated.digest(),
        fingerprint_digest=ground.fingerprint.digest(),
        asked_minutes=minutes,
        minutes=allowed_s / 60,
        seconds=round(sum(share.seconds for share in division.shares), 2),
        seed=DEFAULT_SEED,
        juries=division.juries,
        subjects={case.id: case.subject for case in ground.dataset.cases if case.subject != case.id},
        trials=tuple(
            Trial(
                name=share.candidate.name,
                trainer=share.candidate.plan.trainer,
                topology=share.candidate.topology,
                because=share.candidate.because,
                plan_digest=share.candidate.trained_under.digest(),
                configuration=share.candidate.configuration.name,
                seconds_per_step=share.step_s,
                steps=share.steps,
                seconds=share.seconds,
            )
            for share in division.shares
        ),
        left_out=(*unplanned, *division.left_out),
        resamples=rules.resamples,
        confidence=rules.confidence,
        least_gain=rules.least_gain,
        least_dice=rules.least_dice,
        nothing=division.nothing,
    )
    for item in pilot.left_out:
        say(f"Pilot without {item.name}: {item.problem}")
    return pilot


def _flown(ground: Ground, pilot: Pilot, candidates: Sequence[Candidate], workers: int | None) -> Pilot:
    """``pilot`` with every trial made and judged.

    Raises:
        AutofuseError: whatever the default meets; a challenger that fails is named and does not win.
    """
    say(
        f"Pilot: {len(pilot.trials)} candidates for about {pilot.seconds / 60:.1f} minutes together, judged on "
        f"{pilot.judging_cases} held-out cases."
    )
    started = time.monotonic()
    by_name = {candidate.name: candidate for candidate in candidates}
    trials = []
    for trial in pilot.trials:
        try:
            trials.append(_tried(ground, pilot, trial, by_name[trial.name], workers))
        except (DataError, ModelError, UsageError) as error:
            if not trials:
                raise  # without the default there is nothing to be better than
            say(f"{trial.name} cannot be tried: {error.problem}")
            trials.append(trial.model_copy(update={"problem": error.problem}))
    say(f"The pilot took {(time.monotonic() - started) / 60:.1f} minutes now; {pilot.seconds / 60:.1f} were predicted.")
    return judged(pilot.model_copy(update={"trials": tuple(trials)}))


def _tried(ground: Ground, pilot: Pilot, trial: Trial, candidate: Candidate, workers: int | None) -> Trial:
    """``trial`` with its scores: trained on every fold for as many steps as were fixed, then judged."""
    under = replace(ground, plan=candidate.trained_under, workspace=replace(ground.workspace, runs_folder=PILOT_RUNS))
    method = Method(
        configuration=trial.configuration,
        trainer=trial.trainer.name,
        settings=trial.trainer.fields,
        steps=trial.steps,
        seed=pilot.seed,
    )
    runs: list[str] = []
    scores: dict[str, float | None] = {}
    seconds = 0.0
    for jury in pilot.juries:
        say(f"Pilot of {trial.name}:")
        fold = train_fold(under, method, jury.fold, workers=workers)
        assert fold.finished is not None
        runs.append(fold.folder.relative_to(ground.workspace.folder).as_posix())
        seconds += fold.finished.seconds
        scores |= {case.case: case.mean_dice for case in _scored(ground, fold, jury, workers).cases}
    known = [score for score in scores.values() if score is not None]
    changes = {
        "runs": tuple(runs),
        "scores": scores,
        "mean_dice": sum(known) / len(known) if known else None,
        "training_seconds": round(seconds, 2),
    }
    return trial.model_copy(update=changes)


def _scored(ground: Ground, fold: TrainedFold, jury: Jury, workers: int | None) -> Scores:
    """Scores of the jury's cases by the fold's last checkpoint, against labels that training takes for true.

    Other voxels count for nothing. A dense truth that is kept for judging results is not looked at: what decides how to
    train must not know it.
    """
    from autofuse.evaluation.folder import evaluate_folder, require_complete
    from autofuse.road.judging import taught_references
    from autofuse.road.prediction import predict_into

    dataset = ground.dataset
    cases = [case for case in dataset.cases if case.id in set(jury.cases)]
    predict_into(
        dataset, [fold], cases, fold.held_out, mirror=False, device=ground.device, workers=workers, strict=True
    )
    references = taught_references(dataset, cases, ground.plan, fold.held_out.with_name("taught"))
    scores = evaluate_folder(
        fold.held_out, references, dataset.labels, fold.held_out_scores, surfaces=False, workers=workers
    )
    require_complete(scores)
    return scores


def _settled(ground: Ground, plan: Plan) -> Ground:
    """``ground`` with ``plan``, which is written down as the workspace's.

    Raises:
        ModelError: if somebody has put another plan there meanwhile.
    """
    if plan == ground.plan:
        return ground
    with waiting_lock(ground.workspace.folder):
        there = Plan.load(ground.workspace.plan)
        if there.digest() not in (plan.digest(), ground.plan.digest()):
            raise ModelError(
                "The plan was made anew while the pilot was under way, so the pilot's outcome does not belong to it.",
                file=ground.workspace.plan,
                remedy="Give the same command again.",
            )
        plan.save(ground.workspace.plan)
    return replace(ground, plan=plan)
