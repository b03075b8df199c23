"""Who wins, what the plan says about it, how time is divided, and who takes part; nothing is trained here."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tiny_planner import STEPS, register_all
from tiny_road import draw

from autofuse.plan.explain import to_text
from autofuse.plan.types import TrainerChoice
from autofuse.road.arbiter import arbitrated, decision_of, is_arbitrated, judged, verdict
from autofuse.road.candidates import candidates_of
from autofuse.road.dials import Asked
from autofuse.road.groundwork import Ground
from autofuse.road.pilot import pilot_seconds
from autofuse.road.pilot_record import Jury, Pilot, PilotRules, Trial
from autofuse.road.pilot_time import divide_pilot, juries_of
from autofuse.road.steps import ground_of
from autofuse.road.timetable import Clock, prediction_s

CASES = ("a", "b", "c", "d")


def _trial(name: str, *scores: float | None, problem: str | None = None) -> Trial:
    known = [score for score in scores if score is not None]
    return Trial(
        name=name,
        trainer=TrainerChoice(name=name),
        topology="early",
        plan_digest="0" * 64,
        configuration="3d",
        seconds_per_step=0.1,
        steps=60,
        seconds=10.0,
        scores=dict(zip(CASES, scores, strict=False)),
        mean_dice=sum(known) / len(known) if known else None,
        problem=problem,
    )


def _pilot(*trials: Trial, subjects: dict[str, str] | None = None) -> Pilot:
    return Pilot(
        plan_digest="0" * 64,
        fingerprint_digest="1" * 64,
        asked_minutes=None,
        minutes=1.0,
        seconds=20.0,
        seed=1,
        juries=(Jury(fold=0, cases=CASES),),
        subjects=subjects or {},
        trials=trials,
        resamples=1000,
        confidence=0.95,
        least_gain=0.0,
        least_dice=0.1,
    )


DEFAULT = _trial("default", 0.5, 0.6, 0.7, 0.8)


def test_better_on_every_case_wins() -> None:
    pilot = judged(_pilot(DEFAULT, _trial("better", 0.55, 0.65, 0.75, 0.85)))
    assert pilot.winner == "better"
    assert pilot.trials[1].gain is not None
    assert pilot.trials[1].gain.lower == pytest.approx(0.05)
    assert pilot.verdict == "better wins and replaces default."


def test_better_on_average_alone_does_not_win() -> None:
    pilot = judged(_pilot(DEFAULT, _trial("lucky", 0.9, 0.62, 0.69, 0.78)))
    gain = pilot.trials[1].gain
    assert gain is not None and gain.difference > 0.09 and gain.lower <= 0
    assert pilot.winner is None
    assert pilot.verdict == "No challenger wins: default stays."


def test_as_good_is_not_better() -> None:
    assert judged(_pilot(DEFAULT, _trial("twin", 0.5, 0.6, 0.7, 0.8))).winner is None


def test_of_several_the_surest_wins() -> None:
    sure, high = _trial("sure", 0.6, 0.7, 0.8, 0.9), _trial("high", 0.52, 0.95, 0.95, 0.95)
    pilot = judged(_pilot(DEFAULT, high, sure, _trial("worse", 0.1, 0.1, 0.1, 0.1)))
    assert pilot.winner == "sure"
    assert verdict(pilot, pilot.named("high")) == "is better than the default, but less surely than sure"
    assert verdict(pilot, pilot.named("worse")) == "does not win"
    assert verdict(pilot, pilot.named("default")) == "default; is replaced"


def test_scans_of_one_subject_are_one_opinion() -> None:
    trial = _trial("better", 0.6, 0.7, 0.8, 0.79)
    assert (
        judged(_pilot(DEFAULT, trial)).trials[1].gain
        != judged(_pilot(DEFAULT, trial, subjects={"b": "a"})).trials[1].gain
    )
    one_person = judged(_pilot(DEFAULT, trial, subjects={"b": "a", "c": "a"}))
    assert one_person.trials[1].gain is not None and one_person.trials[1].gain.subjects == 2
    assert one_person.winner is None


def test_random_masks_do_not_beat_empty_ones() -> None:
    """Early in training masks are empty (Dice 0), and an untrained network overlaps with something."""
    pilot = judged(_pilot(_trial("empty", 0.0, 0.0, 0.0, 0.0), _trial("noise", 0.03, 0.04, 0.05, 0.03)))
    assert pilot.trials[1].gain is not None and pilot.trials[1].gain.lower > 0
    assert pilot.winner is None
    assert "learned too little" in verdict(pilot, pilot.trials[1])


def test_a_challenger_that_fails_does_not_win() -> None:
    pilot = judged(_pilot(DEFAULT, _trial("broken", problem="It asks for unlabelled cases.")))
    assert pilot.winner is None
    assert decision_of(pilot).alternatives == ("broken: failed: It asks for unlabelled cases.",)


@pytest.fixture
def planners(monkeypatch: pytest.MonkeyPatch) -> None:
    register_all(monkeypatch)


def _ground(folder: Path, planner: str, **options: object) -> Ground:
    raw = draw(folder, **({"cases": 12, "test_cases": 0} | options))
    return ground_of(raw, folder / "ws", Asked(planner=planner, device="cpu", memory_gib=0.5), 0)


def test_topology_challengers_get_a_plan_of_their_own(planners: None, tmp_path: Path) -> None:
    ground = _ground(tmp_path, "Topologies")
    found, left_out = candidates_of(ground, ground.plan)
    assert [item.name for item in found] == ["supervised on early", "supervised on stems"]
    assert [item.topology for item in found] == ["early", "stems"]
    assert found[0].trained_under is ground.plan
    assert found[1].trained_under.budget == ground.plan.budget
    assert found[1].trained_under.digest() != ground.plan.digest()
    assert [item.name for item in left_out] == ["supervised on unheard_of", "somebody's"]
    assert "plans early with 1 decoder(s) where unheard_of" in left_out[0].problem
    assert "No trainer is called" in left_out[1].problem


def test_names_tell_what_differs(planners: None, tmp_path: Path) -> None:
    ground = _ground(tmp_path, "LazyDefault")
    found, _ = candidates_of(ground, ground.plan)
    assert [item.name for item in found] == [
        "supervised",
        "supervised momentum=0.5",
        "partial ce_weight=0.1 learning_rate=0.3 momentum=0.9",
    ]
    assert found[1].plan.trainer.fields == {"learning_rate": 0.0, "momentum": 0.5}
    assert {item.trained_under.digest() for item in found} == {ground.plan.digest()}


def test_the_winners_plan_says_why(planners: None, tmp_path: Path) -> None:
    ground = _ground(tmp_path, "Topologies")
    found, _ = candidates_of(ground, ground.plan)
    default, stems = _trial(found[0].name, *DEFAULT.scores.values()), _trial(found[1].name, 0.6, 0.7, 0.8, 0.9)
    pilot = judged(_pilot(default, stems))
    plan = arbitrated(pilot, ground.plan, found)
    assert is_arbitrated(plan) and not is_arbitrated(ground.plan)
    assert plan.named(plan.configuration).network.topology == "stems"
    assert (plan.budget, plan.planner) == (ground.plan.budget, ground.plan.planner)
    told = " ".join(to_text(plan).split())
    assert "arbiter: supervised on stems instead of supervised on early" in told
    assert "supervised on stems +0.100 (95% from +0.100 to +0.100)" in told
    kept = arbitrated(judged(_pilot(default, _trial(stems.name, 0.1, 0.1, 0.1, 0.1))), ground.plan, found)
    assert kept.model_copy(update={"decisions": ground.plan.decisions}) == ground.plan
    assert kept.decisions[-1].chosen == "supervised on early stays"
    assert kept.decisions[-1].alternatives == ("supervised on stems: does not win",)


def test_everybody_gets_the_same_time(planners: None, tmp_path: Path) -> None:
    ground = _ground(tmp_path, "Topologies")
    found, _ = candidates_of(ground, ground.plan)
    rules, step_s = PilotRules(), {found[0].name: 0.1, found[1].name: 0.25}
    division = divide_pilot(ground, found, step_s, 120.0, 10_000, rules)
    steps = [share.steps for share in division.shares]
    assert sum(share.seconds for share in division.shares) <= 120.0
    assert steps[0] * 0.1 == pytest.approx(steps[1] * 0.25, abs=0.25)
    assert all(count >= rules.least_steps for count in steps)
    (jury,) = division.juries
    assert (jury.fold, jury.cases) == (0, ground.splits.folds[0][1])
    predicted = [
        prediction_s(item.plan, item.configuration, 3, mirror=False, step_s=step_s[item.name]) for item in found
    ]
    other = [(seconds or 0.0) + rules.start_s for seconds in predicted]
    assert steps[0] == int((120 - sum(other)) / 2 * rules.training_share / 0.1)
    assert divide_pilot(ground, found, step_s, 12_000.0, STEPS, rules).shares[0].steps == STEPS


def test_who_does_not_fit_is_left_out_and_named(planners: None, tmp_path: Path) -> None:
    ground = _ground(tmp_path, "LazyDefault")
    found, _ = candidates_of(ground, ground.plan)
    quick, slow, third = (item.name for item in found)
    division = divide_pilot(ground, found, {quick: 0.1, slow: 2.0, third: 0.1}, 60.0, 1000, PilotRules())
    assert [share.candidate.name for share in division.shares] == [quick, third]
    assert [item.name for item in division.left_out] == [slow]
    assert "50 are the least" in division.left_out[0].problem
    nobody = divide_pilot(ground, found, {quick: 2.0, slow: 0.1, third: 0.1}, 60.0, 1000, PilotRules())
    assert nobody.shares == () and nobody.nothing is not None and "too short" in nobody.nothing
    assert [item.name for item in nobody.left_out] == [slow, third]


def test_few_held_out_cases_take_more_folds_or_stop_it(planners: None, tmp_path: Path) -> None:
    ground = _ground(tmp_path / "six", "LazyDefault", cases=6)
    juries = juries_of(ground, PilotRules())
    assert [jury.fold for jury in juries] == [0, 1]
    assert sum(len(jury.cases) for jury in juries) == 3
    assert juries_of(ground, PilotRules(least_subjects=6)) != ()
    assert juries_of(ground, PilotRules(least_subjects=7)) == ()
    scans = _ground(tmp_path / "scans", "LazyDefault", cases=6, frames=3)
    assert juries_of(scans, PilotRules()) == ()


def test_little_time_judges_on_fewer_cases(planners: None, tmp_path: Path) -> None:
    ground = _ground(tmp_path, "LazyChallenger", cases=30)
    found, _ = candidates_of(ground, ground.plan)
    step_s = {item.name: 0.01 for item in found}
    many = divide_pilot(ground, found, step_s, 600.0, 1000, PilotRules())
    few = divide_pilot(ground, found, step_s, 30.0, 1000, PilotRules())
    assert [len(division.juries[0].cases) for division in (many, few)] == [6, 3]
    assert set(few.juries[0].cases) < set(many.juries[0].cases)


def test_a_tenth_of_the_whole_is_for_the_pilot() -> None:
    assert pilot_seconds(20.0, None) == pytest.approx(120.0)
    assert pilot_seconds(20.0, 3.0) == 180.0
    assert pilot_seconds(None, None) == 0.0
    clock = Clock(20.0, time.monotonic())
    without, kept = clock.planned_minutes(1), clock.planned_minutes(1, 120.0)
    assert without is not None and kept is not None
    assert without - kept == pytest.approx(1.8, abs=0.06)
