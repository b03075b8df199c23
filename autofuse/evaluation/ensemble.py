"""What was chosen from the trained runs, and the evidence for it: ``ensemble.json`` of a workspace.

``autofuse select`` writes it; ``autofuse predict`` reads members, weights and recipe. The evidence is for people (and
names cases); a copy without it predicts the same.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from autofuse.evaluation.paired import PairedInterval
from autofuse.evaluation.types import Statistic
from autofuse.foundation.values import StoredValue, Value, short_hash
from autofuse.inference.recipe import Recipe


class MemberFold(Value):
    """One fold of a member.

    Attributes:
        run_digest: of its run.json; weights_crc32: of the weights that predict.
        prior: the fold of a cascade's earlier stage whose masks it is given.
    """

    fold: int = Field(ge=0)
    run_digest: str
    weights_crc32: int
    prior: MemberFold | None = None


class EnsembleMember(Value):
    """One run of the ensemble; its folds share its weight equally.

    Attributes:
        run: its name in the workspace; prior_run: that of a cascade's earlier stage.
        weight: how often the choice took it.
    """

    run: str
    configuration: str
    trainer: str
    weight: int = Field(ge=1)
    folds: tuple[MemberFold, ...] = Field(min_length=1)
    prior_run: str | None = None


class CandidateScore(Value):
    """A run that competed; ``dice``: mean over each held-out case's classes, over cases; ``per_structure``: by name."""

    run: str
    folds: tuple[int, ...]
    dice: Statistic
    per_structure: dict[str, float | None]


class LeftOut(Value):
    """A run that did not compete, and why."""

    run: str
    why: str


class PathStep(Value):
    """An ensemble that was looked at: runs and how often each was taken.

    Attributes:
        dice: on the held-out cases, which also chose it.
        behind_best: how much better the best one is; None where no case has a structure.
    """

    counts: dict[str, int]
    dice: float
    behind_best: PairedInterval | None = None


class NestedEstimate(Value):
    """What choosing is worth on cases that did not choose: in turn, all subjects but one part choose, the part judges.

    Attributes:
        parts: into how many the subjects were divided.
        dice: of what was chosen (members, thresholds, post-processing), on the parts left out.
        best_single: of the run that alone was best on the others; no post-processing.
        ensemble_gain: of averaging, over that; postprocessing_gain: of thresholds and post-processing, over the rest.
        apparent_dice: of the final choice, on the cases that chose it: too good by a little.
    """

    parts: int
    dice: float
    best_single: float
    ensemble_gain: PairedInterval
    postprocessing_gain: PairedInterval
    apparent_dice: float


class StepEvidence(Value):
    """One kind of post-processing (or thresholding) of one structure, tried.

    Attributes:
        kind: what; setting: with which number, in words; the best on all held-out cases.
        apparent: gain in the structure's Dice on the cases that chose the setting.
        nested: the same where in turn the others chose it.
        chosen: whether it is part of the recipe; why: or why not.
    """

    structure: str
    kind: Literal["components", "holes", "threshold"]
    setting: str
    apparent: float
    nested: PairedInterval | None = None
    chosen: bool
    why: str


class Calibration(Value):
    """How well probabilities agree with how often they are right, on voxels where a structure is possible.

    Attributes:
        temperature: fitted by the negative log likelihood; chosen: whether the recipe uses it.
        voxels: that were looked at.
        nll, ece: before and after, each part by the temperature that the others gave; ece: 15 bins.
        nll_gain: a case, nested.
    """

    temperature: float
    chosen: bool
    why: str
    voxels: int
    nll: tuple[float, float]
    ece: tuple[float, float]
    nll_gain: PairedInterval | None = None


class Evidence(Value):
    """Why the ensemble is what it is.

    Attributes:
        cases: held-out cases that every candidate was scored on; subjects: how many those are of.
        rule: in words.
        candidates: runs that competed, best first; left_out: the others.
        path: single runs, and ensembles that the greedy choice went through.
        nested: None where there are too few subjects.
        steps: what was tried of thresholds and post-processing; calibration: of probabilities.
        notes: what was not decided, and why.
    """

    cases: tuple[str, ...]
    subjects: int
    rule: str
    candidates: tuple[CandidateScore, ...]
    left_out: tuple[LeftOut, ...] = ()
    path: tuple[PathStep, ...] = ()
    nested: NestedEstimate | None = None
    steps: tuple[StepEvidence, ...] = ()
    calibration: Calibration | None = None
    notes: tuple[str, ...] = ()


class Ensemble(StoredValue):
    """What predicts new cases: members with weights, and what is done to their mean.

    Attributes:
        labels_digest: of the labels that the members were trained for.
        mirror: whether held-out cases were predicted with mirroring, as new ones should be.
        sources_digest: of everything that the choice was made from; while it stays, nothing is chosen again.
        evidence: None in a copy that is given away.
    """

    kind: ClassVar[str] = "ensemble"

    dataset: str
    labels_digest: str
    members: tuple[EnsembleMember, ...] = Field(min_length=1)
    mirror: bool
    recipe: Recipe
    sources_digest: str
    evidence: Evidence | None = None

    def recipe_digest(self) -> str:
        """Hash of what decides masks and probabilities: everything but the evidence and where it came from."""
        content = self.model_dump(mode="json", exclude={"evidence", "sources_digest"})
        return short_hash(content)

    @property
    def is_plain(self) -> bool:
        """Whether it is one run, and nothing is done to what that predicts."""
        return len(self.members) == 1 and self.recipe == Recipe()

    @property
    def folds(self) -> tuple[int, ...]:
        """Numbers of its members' folds, each once."""
        return tuple(sorted({fold.fold for member in self.members for fold in member.folds}))

    @property
    def name(self) -> str:
        """Of the folder of its masks: the run's own where it is one run and nothing else, else ``ensemble-<hash8>``."""
        return self.members[0].run if self.is_plain else f"ensemble-{self.recipe_digest()}"

    def in_words(self) -> str:
        """Such as "2 x 3d-supervised-1a2b3c4d + 2d-supervised-5e6f7a8b; liver: holes filled"."""
        runs = [f"{item.weight} x {item.run}" if item.weight > 1 else item.run for item in self.members]
        return "; ".join(part for part in (" + ".join(runs), self.recipe.in_words()) if part)
