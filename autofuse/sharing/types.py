"""What a bundle says of itself: its entries with their hashes, the model, and the data that it was trained on."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from autofuse.evaluation.ensemble import CandidateScore, NestedEstimate
from autofuse.evaluation.types import ClassSummary, Statistic
from autofuse.fingerprint.types import ClassFacts, IntensityFacts
from autofuse.foundation.values import StoredValue, Value

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_+-]*(\.[A-Za-z0-9_+-]+)*$"
"""Of everything that becomes the name of a file or folder: no separator, no leading or trailing or double dot."""

Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=120)]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Range = tuple[float, float, float]
"""The smallest, the median and the largest of something over cases."""


class Entry(Value):
    """One file of a bundle. ``sha256`` is over its bytes."""

    path: Annotated[str, Field(max_length=400)]
    bytes: int = Field(ge=0)
    sha256: Hash


class Manifest(StoredValue):
    """What is in a bundle; stands in it as manifest.json, the one file that it does not list."""

    kind: ClassVar[str] = "bundle"

    name: Name
    autofuse_version: str
    entries: tuple[Entry, ...] = Field(min_length=1)


class Member(Value):
    """One network of a model: a fold of a run.

    Attributes:
        earlier: whether it only makes the masks that another member (a cascade's second stage) takes as input.
        labelled, unlabelled: cases that trained it; held_out: that did not.
    """

    run: Name
    fold: int = Field(ge=0)
    earlier: bool = False
    configuration: str
    trainer: str
    topology: str
    labelled: int = Field(ge=0)
    unlabelled: int = Field(ge=0)
    held_out: int = Field(ge=0)

    @property
    def folder(self) -> str:
        """Where its files stand in a bundle."""
        return f"runs/{self.run}/fold_{self.fold}"


class HeldOutScores(Value):
    """How well the members did on cases that had not trained them; summed up, no case by itself.

    Attributes:
        cases: that were scored; subjects: how many those are of.
        overall, mean_dice, classes, tolerance_mm: as ``autofuse.evaluation.types.Scores`` has them.
    """

    cases: int = Field(ge=1)
    subjects: int = Field(ge=1)
    overall: Statistic
    mean_dice: float | None
    classes: tuple[ClassSummary, ...]
    tolerance_mm: dict[str, float]


class Choice(Value):
    """How the members of an ensemble did on held-out cases, and what choosing them is worth; no case by itself.

    Attributes:
        cases: that were held out; subjects: how many those are of.
        members: each run alone.
        nested: the whole choice on subjects that did not choose; None where those were too few.
    """

    cases: int = Field(ge=1)
    subjects: int = Field(ge=1)
    members: tuple[CandidateScore, ...]
    nested: NestedEstimate | None = None


class SharedModel(StoredValue):
    """A model without its data; stands in a bundle as model.json.

    Attributes:
        licence: under which its owner gives it away, in the owner's words; None where nothing was said.
        modalities, classes: names, in order.
        file_ending: of the masks, and of the images that are looked for.
        run, folds: what `autofuse predict` uses if nothing else is said; of an ensemble its member of most weight.
        members: everything that has weights here.
        ensemble: hash of the ensemble.json that predicts; None where one run does.
        scores: of ``run``; None where no held-out case was scored.
        choice: of an ensemble; None where nothing is known of it.
        autofuse_version, torch_version: that trained it.
    """

    kind: ClassVar[str] = "shared_model"

    name: Name
    licence: Annotated[str, Field(max_length=2000)] | None = None
    modalities: tuple[str, ...] = Field(min_length=1)
    classes: tuple[str, ...] = Field(min_length=1)
    file_ending: str
    run: Name
    folds: tuple[int, ...] = Field(min_length=1)
    members: tuple[Member, ...] = Field(min_length=1)
    ensemble: Hash | None = None
    scores: HeldOutScores | None = None
    choice: Choice | None = None
    autofuse_version: str
    torch_version: str


class DataSummary(StoredValue):
    """The data that a model was trained on, in numbers over all cases; none belongs to a single one.

    Attributes:
        annotation: cases by how they are labelled ("dense", "sparse", "none").
        missing_rates: per modality, the share of cases that lack it.
        patterns: (modalities that cases have, how many cases).
        spacing_mm, shape: along the array axes, slowest first.
        intensities: per modality; classes: per class or region.
    """

    kind: ClassVar[str] = "data_summary"

    cases: int = Field(ge=1)
    subjects: int = Field(ge=1)
    annotation: dict[str, int]
    modalities: tuple[str, ...]
    missing_rates: tuple[float, ...]
    patterns: tuple[tuple[tuple[str, ...], int], ...]
    spacing_mm: tuple[Range, Range, Range]
    shape: tuple[Range, Range, Range]
    intensities: tuple[IntensityFacts, ...]
    classes: tuple[ClassFacts, ...]
