"""What a pilot is told, and what it writes down: pilot.json in the workspace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pydantic import Field

from autofuse.evaluation.paired import PairedInterval
from autofuse.foundation.values import StoredValue, Value
from autofuse.plan.types import TrainerChoice


@dataclass(frozen=True)
class PilotRules:
    """Every number that a pilot goes by; the defaults are ours.

    Attributes:
        share: of the time for the whole, what the pilot may take.
        least_steps: fewer steps teach nothing; a candidate that would get fewer is left out.
        least_subjects: with fewer held-out subjects nothing can be told, and nothing is trained.
        prediction_share: of the pilot's time, most that predicting held-out cases may take.
        training_share: of a training's time, what its steps get; the rest is for validation and checkpoints.
        start_s: of starting one training and loading its model.
        resamples, confidence: of the paired bootstrap.
        least_gain: a challenger wins only if the lower bound of its gain in mean Dice is above this.
        least_dice: and only with at least this mean Dice; below it nothing has been learned yet, and random masks
            would beat empty ones.
    """

    share: float = 0.10
    least_steps: int = 50
    least_subjects: int = 3
    prediction_share: float = 0.4
    training_share: float = 0.85
    start_s: float = 3.0
    resamples: int = 10_000
    confidence: float = 0.95
    least_gain: float = 0.0
    least_dice: float = 0.1


RULES = PilotRules()


class Trial(Value):
    """One candidate: what it is, how long it trains, and, once it has, how it did.

    Attributes:
        trainer: with all fields that differ from its defaults; because: why it might win (empty for the default).
        plan_digest, configuration: what it is trained on.
        seconds_per_step, seconds: predicted; seconds of the candidate's whole part in the pilot.
        scores: per held-out case the mean Dice of its classes on trusted voxels, native grid; None where mask and
            reference are empty.
        training_seconds: measured.
        gain: against the default, over cases; None for the default itself.
        problem: why it could not be tried to the end.
    """

    name: str
    trainer: TrainerChoice
    topology: str
    because: str = ""
    plan_digest: str
    configuration: str
    seconds_per_step: float = Field(gt=0)
    steps: int = Field(ge=1)
    seconds: float
    runs: tuple[str, ...] = ()
    scores: dict[str, float | None] = Field(default_factory=dict)
    mean_dice: float | None = None
    training_seconds: float | None = None
    gain: PairedInterval | None = None
    problem: str | None = None


class Jury(Value):
    """One fold and those of its held-out cases that judge."""

    fold: int
    cases: tuple[str, ...]


class LeftOut(Value):
    """A challenger that is not tried, and why."""

    name: str
    problem: str


class Pilot(StoredValue):
    """A pilot; written when it begins, so that a resumed one trains as long as it would have, and when it ends.

    Attributes:
        plan_digest, fingerprint_digest: of the plan that nominated the candidates, and what it was made from.
        minutes: that were allowed; asked_minutes: that the command named, None for a share of the whole.
        seconds: predicted for all of it.
        juries: the folds that are trained, and the held-out cases that judge.
        subjects: case id -> subject, where a subject has several of these cases.
        trials: the default first; left_out: challengers without a trial.
        resamples, confidence, least_gain, least_dice: by which the winner was found.
        nothing: why nothing was trained; None if something was.
        winner: name of the challenger that replaces the default; None if it stays.
        arbitrated_digest: of the plan that came of it; None while the pilot is not finished.
    """

    kind: ClassVar[str] = "pilot"

    plan_digest: str
    fingerprint_digest: str
    asked_minutes: float | None
    minutes: float
    seconds: float
    seed: int
    juries: tuple[Jury, ...]
    subjects: dict[str, str]
    trials: tuple[Trial, ...]
    left_out: tuple[LeftOut, ...] = ()
    resamples: int
    confidence: float
    least_gain: float
    least_dice: float
    nothing: str | None = None
    winner: str | None = None
    arbitrated_digest: str | None = None

    @property
    def judging_cases(self) -> int:
        """How many held-out cases judge."""
        return sum(len(jury.cases) for jury in self.juries)

    @property
    def verdict(self) -> str:
        """One sentence: who won, or that nobody did."""
        if self.nothing is not None:
            return f"Nothing was tried: {self.nothing}"
        default = self.trials[0].name
        if self.winner is None:
            return f"No challenger wins: {default} stays."
        return f"{self.winner} wins and replaces {default}."

    def named(self, name: str) -> Trial:
        """The trial called so.

        Raises:
            KeyError: if there is none.
        """
        return {trial.name: trial for trial in self.trials}[name]
