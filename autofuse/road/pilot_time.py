"""How a pilot's time is divided: who fits, which cases judge, and how many steps each candidate trains.

Every candidate gets the same time, not the same steps: what replaces the default has to be better for the time that
will be there, and a costlier network has to earn its cost. The time is turned into steps by predicted speed before
anything starts, so that nothing depends on how busy the machine is meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autofuse.plan.types import Budget, Plan
from autofuse.road.candidates import Candidate
from autofuse.road.groundwork import Ground
from autofuse.road.pilot_record import Jury, LeftOut, PilotRules
from autofuse.road.timetable import case_overhead_s, prediction_s


@dataclass(frozen=True)
class Share:
    """What one candidate gets. ``step_s`` is a step's predicted time, ``seconds`` that of all it does."""

    candidate: Candidate
    steps: int
    step_s: float
    seconds: float


@dataclass(frozen=True)
class Division:
    """How the pilot's time is divided; ``nothing`` says why nobody is tried."""

    shares: tuple[Share, ...]
    juries: tuple[Jury, ...]
    left_out: tuple[LeftOut, ...]
    nothing: str | None = None


def measured_budget(plan: Plan) -> Budget:
    """The plan's budget with the speed of the machine; measured now where there was no time dial."""
    budget = plan.budget
    if budget.flops_per_s is not None and budget.elements_per_s is not None:
        return budget
    from autofuse.plan.budget import measure_speed

    flops_per_s, elements_per_s = measure_speed(budget.device, budget.precision)
    return budget.model_copy(update={"flops_per_s": flops_per_s, "elements_per_s": elements_per_s})


def step_seconds(candidate: Candidate, budget: Budget) -> float:
    """Predicted seconds of one training step: of the network, for every batch that the trainer asks for, and for its
    teachers, which take as many steps each."""
    from autofuse.networks.cost import network_cost
    from autofuse.plan.speed import seconds_per_step
    from autofuse.training.run import make_trainer

    configuration, plan = candidate.configuration, candidate.plan
    planned = configuration.seconds_per_step
    if planned is None:
        cost = network_cost(configuration.network, len(plan.modalities), plan.labels.outputs, configuration.patch)
        planned = seconds_per_step(cost, configuration.batch, budget)
    assert planned is not None, "a measured budget holds a speed"
    trainer = make_trainer(plan.trainer.name, plan.trainer.fields)
    teaching = trainer.teaching()
    trainings = 1 if teaching is None else teaching.trainings
    return planned * trainings * max(1.0, sum(stream.share for stream in trainer.streams()))


def juries_of(ground: Ground, rules: PilotRules) -> tuple[Jury, ...]:
    """The first folds that together hold enough labelled subjects out; none if all of them do not."""
    labelled = {case.id: case.subject for case in ground.dataset.cases if case.labelled}
    juries: list[Jury] = []
    taken: dict[str, str] = {}
    for fold, (_, held_out) in enumerate(ground.splits.folds):
        cases = tuple(case for case in sorted(held_out) if case in labelled and case not in taken)
        if cases:
            juries.append(Jury(fold=fold, cases=cases))
            taken |= {case: labelled[case] for case in cases}
        if len(set(taken.values())) >= rules.least_subjects:
            return tuple(juries)
    return ()


def divide_pilot(
    ground: Ground,
    candidates: Sequence[Candidate],
    step_s: Mapping[str, float],
    allowed_s: float,
    most_steps: int,
    rules: PilotRules,
) -> Division:
    """Equal time for as many candidates as fit; the last challenger that does not fit is left out first.

    Args:
        candidates: the default first; step_s: predicted time of a step, by name.
        most_steps: of the real training; a pilot is never longer.
    """
    juries = juries_of(ground, rules)
    if not juries:
        return _nobody(f"fewer than {rules.least_subjects} labelled subjects are held out")
    taking_part: list[Candidate] = list(candidates)
    left_out: list[LeftOut] = []
    while len(taking_part) > 1:
        fewer = _fewer_cases(ground, taking_part, step_s, allowed_s, juries, rules)
        shares = _shares(ground, taking_part, step_s, allowed_s, most_steps, fewer, rules)
        short = [share for share in shares if share.steps < min(rules.least_steps, most_steps)]
        if not short:
            return Division(tuple(shares), fewer, tuple(reversed(left_out)))
        shortest = short[-1]
        gone = taking_part[-1] if shortest.candidate is candidates[0] else shortest.candidate
        whom = "the default" if shortest.candidate is candidates[0] else "it"
        problem = (
            f"{allowed_s / 60:.2g} minutes for {len(taking_part)} leave {whom} {max(0, shortest.steps)} steps; "
            f"{rules.least_steps} are the least"
        )
        left_out.append(LeftOut(name=gone.name, problem=problem))
        taking_part.remove(gone)
    return _nobody(f"{allowed_s / 60:.2g} minutes are too short for any challenger", tuple(reversed(left_out)))


def _nobody(why: str, left_out: tuple[LeftOut, ...] = ()) -> Division:
    return Division((), (), left_out, why)


def _fewer_cases(
    ground: Ground,
    candidates: Sequence[Candidate],
    step_s: Mapping[str, float],
    allowed_s: float,
    juries: tuple[Jury, ...],
    rules: PilotRules,
) -> tuple[Jury, ...]:
    """As many of the cases as can be predicted in the time for it, evenly spread; never fewer subjects than needed."""
    each_s = sum(_prediction_s(candidate, step_s[candidate.name], 1) for candidate in candidates)
    every = [(jury.fold, case) for jury in juries for case in jury.cases]
    subjects = {case.id: case.subject for case in ground.dataset.cases}
    count = min(len(every), max(rules.least_subjects, int(rules.prediction_share * allowed_s / each_s)))
    while True:
        chosen = [every[index * len(every) // count] for index in range(count)]
        if len({subjects[case] for _, case in chosen}) >= rules.least_subjects:
            break
        count += 1
    folds = sorted({fold for fold, _ in chosen})
    return tuple(Jury(fold=fold, cases=tuple(case for number, case in chosen if number == fold)) for fold in folds)


def _shares(
    ground: Ground,
    candidates: Sequence[Candidate],
    step_s: Mapping[str, float],
    allowed_s: float,
    most_steps: int,
    juries: tuple[Jury, ...],
    rules: PilotRules,
) -> list[Share]:
    cases = sum(len(jury.cases) for jury in juries)
    other_s = {
        candidate.name: rules.start_s * len(juries)
        + _prediction_s(candidate, step_s[candidate.name], cases)
        + _preparation_s(ground, candidate, candidates[0])
        for candidate in candidates
    }
    training_s = (allowed_s - sum(other_s.values())) / len(candidates)
    shares = []
    for candidate in candidates:
        one_s = step_s[candidate.name] * len(juries) / rules.training_share
        steps = min(most_steps, int(training_s / one_s))
        seconds = other_s[candidate.name] + steps * one_s
        shares.append(Share(candidate, steps, step_s[candidate.name], round(seconds, 2)))
    return shares


def _prediction_s(candidate: Candidate, step_s: float, cases: int) -> float:
    seconds = prediction_s(candidate.plan, candidate.configuration, cases, mirror=False, step_s=step_s)
    assert seconds is not None
    return seconds


def _preparation_s(ground: Ground, candidate: Candidate, default: Candidate) -> float:
    """Seconds of preparing the cases anew, where the candidate sees them otherwise than the default, whose prepared
    cases the real training needs anyway."""
    stores = {item.plan.preparation_digest(item.configuration) for item in (candidate, default)}
    return case_overhead_s(candidate.configuration) * len(ground.dataset.cases) if len(stores) > 1 else 0.0
