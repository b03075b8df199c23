"""What a check found: facts and problems as a value, and as tables for a person."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from autofuse.dataset.problems import Problem
from autofuse.foundation.values import StoredValue, Value

if TYPE_CHECKING:
    from rich.console import RenderableType

SHOWN_PLACES = 12
"""Places listed per kind of problem for a person; ``--json`` has all."""


class Range(Value):
    """Minimum, median and maximum over cases."""

    minimum: float
    median: float
    maximum: float

    def text(self, digits: int = 3) -> str:
        """The range with the median in brackets; one number where all are the same."""
        low, middle, high = (f"{value:.{digits}g}" for value in (self.minimum, self.median, self.maximum))
        return low if low == high else f"{low} … {high} ({middle})"


class ModalityFacts(Value):
    """How many training and test cases have one modality, and in how many of them it lies on a grid of its own.

    Attributes:
        labelled: training cases in which it has a label of its own; None where one label is for all modalities.
    """

    name: str
    optional: bool
    cases: int
    test_cases: int
    own_grids: int = 0
    labelled: int | None = None

    @property
    def grids_in_words(self) -> str:
        """Such as "FLAIR lies on a grid of its own in 12 of 12 cases"; empty where it lies on the reference grid."""
        if not self.own_grids:
            return ""
        return f"{self.name} lies on a grid of its own in {self.own_grids} of {self.cases + self.test_cases} cases"


class LabelFacts(Value):
    """In how many labelled training cases a class or region occurs, and how large it is where it does."""

    name: str
    raw_values: tuple[int, ...]
    cases: int
    volume_ml: Range | None


class DatasetFacts(Value):
    """A data set in numbers.

    Attributes:
        labelled: training cases with a label, sparse or dense; sparse: those of them with ignored voxels.
        judged: cases with dense truth for judging only (labelsTr_dense, labelsTs).
        labelled_fraction: labelled voxels / all voxels, over the labelled cases.
        shape, spacing_mm: per axis, slowest first, over all cases that could be read.
    """

    name: str
    layout: str
    cases: int
    test_cases: int
    labelled: int
    sparse: int
    unlabelled: int
    judged: int
    subjects: int
    subject_rule: str
    labelled_fraction: float | None
    modalities: tuple[ModalityFacts, ...]
    labels: tuple[LabelFacts, ...]
    shape: tuple[Range, ...]
    spacing_mm: tuple[Range, ...]
    folds: str


class CheckReport(StoredValue):
    """Everything that a check found.

    Attributes:
        folder: the data set's.
        facts: None where the data set could not even be described.
        problems: errors first.
    """

    kind: ClassVar[str] = "check"

    folder: str
    facts: DatasetFacts | None
    problems: tuple[Problem, ...]

    @property
    def errors(self) -> tuple[Problem, ...]:
        """Problems that keep the data set from being used."""
        return tuple(problem for problem in self.problems if problem.severity == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """Problems for a person to judge."""
        return tuple(problem for problem in self.problems if problem.severity == "warning")

    @property
    def ok(self) -> bool:
        """Whether the data set can be used."""
        return not self.errors

    def to_rich(self) -> RenderableType:
        """Tables of facts and problems for a terminal."""
        from rich.console import Group

        parts: list[RenderableType] = []
        if self.facts is not None:
            parts += _facts_tables(self.facts)
        parts += _problem_lists(self.problems)
        parts.append(self._verdict())
        return Group(*parts)

    def _verdict(self) -> RenderableType:
        from rich.text import Text

        counts = f"{_count(len(self.errors), 'error')}, {_count(len(self.warnings), 'warning')}"
        if self.ok:
            return Text(f"{self.folder} can be used: {counts}.", style="bold green")
        return Text(f"{self.folder} cannot be used yet: {counts}.", style="bold red")


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def _facts_tables(facts: DatasetFacts) -> list[RenderableType]:
    from rich.table import Table
    from rich.text import Text

    overview = Table(title=Text(facts.name), title_justify="left", show_header=False, box=None, pad_edge=False)
    overview.add_column(style="dim")
    overview.add_column()
    for name, value in _overview(facts):
        overview.add_row(name, Text(value))
    own = any(modality.labelled is not None for modality in facts.modalities)
    headings = ("modality", "cases", "test cases", *(("labels of its own",) if own else ()))
    modalities = Table(*headings, box=None, pad_edge=False, header_style="dim")
    for modality in facts.modalities:
        name = f"{modality.name} (optional)" if modality.optional else modality.name
        labelled = () if modality.labelled is None else (str(modality.labelled),)
        modalities.add_row(Text(name), f"{modality.cases} of {facts.cases}", f"{modality.test_cases}", *labelled)
    labels = Table("label", "value", "cases", "ml where it occurs", box=None, pad_edge=False, header_style="dim")
    for label in facts.labels:
        volume = "none" if label.volume_ml is None else label.volume_ml.text()
        values = ", ".join(map(str, label.raw_values))
        labels.add_row(Text(label.name), values, f"{label.cases} of {facts.labelled}", volume)
    blank = Text("")
    return [overview, blank, modalities, blank, labels, blank]


def _overview(facts: DatasetFacts) -> Iterable[tuple[str, str]]:
    yield "layout", facts.layout
    supervision = f"{facts.labelled} labelled"
    if facts.sparse:
        share = "" if facts.labelled_fraction is None else f", {facts.labelled_fraction:.2%} of their voxels"
        supervision += f" ({facts.sparse} sparsely{share})"
    yield "training cases", f"{facts.cases}: {supervision}, {facts.unlabelled} without label"
    yield "test cases", str(facts.test_cases)
    if facts.judged:
        yield "judged by", f"dense truth of {facts.judged} cases"
    yield "subjects", f"{facts.subjects}; {facts.subject_rule}"
    yield "folds", facts.folds
    if facts.shape:
        yield "shape (z, y, x)", ", ".join(axis.text(4) for axis in facts.shape) + " voxels"
        yield "spacing (z, y, x)", ", ".join(axis.text() for axis in facts.spacing_mm) + " mm"
    grids = "; ".join(text for modality in facts.modalities if (text := modality.grids_in_words))
    if grids:
        yield "grids", grids


def _problem_lists(problems: tuple[Problem, ...]) -> list[RenderableType]:
    """Problems of one kind together: the cause, every place, the remedy."""
    from rich.text import Text

    kinds: dict[tuple[str, str, str], list[Problem]] = {}
    for problem in problems:
        kinds.setdefault((problem.severity, problem.cause, problem.remedy), []).append(problem)
    parts: list[RenderableType] = []
    for (severity, cause, remedy), members in kinds.items():
        head = Text(f"{severity:7} ", style="bold red" if severity == "error" else "bold yellow")
        times = f" ({len(members)} times)" if len(members) > 1 else ""
        parts.append(head.append(cause + times, style="bold"))
        parts += [Text("  " + line) for line in _places(members)]
        parts += [Text(f"  → {remedy}", style="cyan"), Text("")]
    return parts


def _places(members: list[Problem]) -> Iterable[str]:
    for problem in members[:SHOWN_PLACES]:
        fields = ("case", "file", "found", "expected")
        told = [f"{name} {value}" for name in fields if (value := getattr(problem, name)) is not None]
        if told:
            yield " · ".join(told)
    if len(members) > SHOWN_PLACES:
        rest = [problem.case or problem.file or "?" for problem in members[SHOWN_PLACES:]]
        yield f"and {len(rest)} more: " + ", ".join(rest)
