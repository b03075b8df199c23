"""Thresholds of regions and steps of post-processing: each tried on held-out cases, taken only where it clearly helps.

For each structure and kind, the setting with the largest mean gain in the structure's Dice is looked for. It is taken
if the gain is clear where, in turn, other subjects chose the setting: then searching through many settings flatters
nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from autofuse.dataset.types import IGNORE
from autofuse.evaluation.choosing import Counts
from autofuse.evaluation.ensemble import StepEvidence
from autofuse.evaluation.held_out import Bench, HeldOutCase
from autofuse.evaluation.jury import Jury, Within, is_clear, mean_credit
from autofuse.inference.components import Structure, components, holes, kept_components, structures
from autofuse.inference.overlap import dice
from autofuse.inference.recipe import Recipe, StructureSteps

LEAST_VOLUMES_MM3 = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0, 30000.0)
"""Minimal volumes that are tried, where they are larger than a voxel and smaller than a quarter of the structure."""
THRESHOLDS = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7)
"""Tried for regions."""

Kind = Literal["components", "holes", "threshold"]
Table = NDArray[np.float64]
"""(cases, settings) Dice of one structure; setting 0 leaves it as it is."""


@dataclass(frozen=True)
class Trial:
    """One kind of step of one structure, on all cases: a name for each setting beside the first, and the scores."""

    structure: str
    kind: Kind
    settings: tuple[str, ...]
    table: Table

    def best(self, within: Within) -> int:
        """The setting with the largest mean Dice on the cases in ``within``; 0 where none helps."""
        means = [mean_credit(self.table[:, number], within) for number in range(self.table.shape[1])]
        return int(np.argmax(means))


@dataclass(frozen=True)
class Refiner:
    """Finds thresholds and steps for an ensemble, by any part of the cases; what was measured once is kept."""

    bench: Bench
    jury: Jury
    _thresholds: dict[Counts, list[Trial]] = field(default_factory=dict, repr=False)
    _steps: dict[tuple[Counts, tuple[float, ...] | None], list[Trial]] = field(default_factory=dict, repr=False)

    def refine(self, counts: Counts, within: Within, *, thresholds: bool) -> tuple[Recipe, list[StepEvidence]]:
        """What clearly helps on the cases in ``within``, and what was tried; ``thresholds``: whether these as well."""
        found: list[StepEvidence] = []
        limits: tuple[float, ...] | None = None
        if thresholds and self.bench.labels.has_regions:
            chosen = [self._decide(trial, within, found) for trial in self._threshold_trials(counts)]
            limits = tuple(_SETTINGS[number] for number in chosen) if any(chosen) else None
        rules = _rules(self.bench.cases, self.bench.labels.raw_values, structures(self.bench.labels))
        steps = []
        for trial in self._step_trials(counts, limits, rules):
            number = self._decide(trial, within, found)
            if number and trial.kind == "components":
                steps.append(rules[trial.structure][number - 1])
            elif number:
                steps.append(StructureSteps(structure=trial.structure, fill_holes=True))
        return Recipe(thresholds=limits, steps=_merged(steps)), found

    def _decide(self, trial: Trial, within: Within, found: list[StepEvidence]) -> int:
        """The setting that is taken, 0 for none; says why in ``found`` where there was anything to gain."""
        number, before = trial.best(within), trial.table[:, 0]
        if number == 0:
            return 0
        after = self.jury.nested(within, lambda others: trial.table[:, trial.best(others)])
        gain = self.jury.gain(before, after, within) if self.jury.enough(within) else None
        chosen = is_clear(gain)
        why = "clear on subjects that did not choose the setting"
        if gain is None:
            why = "too few subjects to say"
        elif not chosen:
            why = "not clear on subjects that did not choose the setting"
        apparent = mean_credit(trial.table[:, number], within) - mean_credit(before, within)
        found.append(
            StepEvidence(
                structure=trial.structure,
                kind=trial.kind,
                setting=trial.settings[number - 1],
                apparent=round(apparent, 6),
                nested=gain,
                chosen=chosen,
                why=why,
            )
        )
        return number if chosen else 0

    def _threshold_trials(self, counts: Counts) -> list[Trial]:
        if counts not in self._thresholds:
            rows = [_threshold_dice(self.bench, case, counts) for case in self.bench.cases]
            tables = np.array(rows, dtype=np.float64)
            names = tuple(f"{value:g}" for value in _SETTINGS[1:])
            self._thresholds[counts] = [
                Trial(item.name, "threshold", names, tables[:, number])
                for number, item in enumerate(self.bench.labels.classes)
            ]
        return self._thresholds[counts]

    def _step_trials(
        self, counts: Counts, limits: tuple[float, ...] | None, rules: dict[str, list[StructureSteps]]
    ) -> list[Trial]:
        key = counts, limits
        if key not in self._steps:
            self._steps[key] = self._measured_steps(counts, limits, rules)
        return self._steps[key]

    def _measured_steps(
        self, counts: Counts, limits: tuple[float, ...] | None, rules: dict[str, list[StructureSteps]]
    ) -> list[Trial]:
        parts = structures(self.bench.labels)
        apart: list[list[list[float]]] = [[] for _ in parts]
        filled: list[list[list[float]]] = [[] for _ in parts]
        for case in self.bench.cases:
            indices = self.bench.box(case, counts, limits)
            for number, structure in enumerate(parts):
                apart[number].append(_component_dice(case, indices, structure, rules[structure.name]))
                filled[number].append(_filled_dice(case, indices, structure))
        trials = []
        for number, structure in enumerate(parts):
            words = tuple(rule.in_words() for rule in rules[structure.name])
            trials.append(Trial(structure.name, "components", words, np.array(apart[number], dtype=np.float64)))
            trials.append(Trial(structure.name, "holes", ("holes filled",), np.array(filled[number], dtype=np.float64)))
        return trials


_SETTINGS = (0.5, *(value for value in THRESHOLDS if value != 0.5))
"""Thresholds in the order of a trial's settings: what is usual first."""


def _rules(
    cases: Sequence[HeldOutCase], raw_values: Sequence[int], parts: Sequence[Structure]
) -> dict[str, list[StructureSteps]]:
    """Per structure the rules about components that are worth trying, the mildest first."""
    voxel_mm3 = max((float(np.prod(case.spacing_mm)) for case in cases), default=1.0)
    found = {}
    for structure in parts:
        volumes = [_reference_mm3(case, structure, len(raw_values) + 1) for case in cases]
        present = [volume for volume in volumes if volume > 0]
        most = float(np.median(present)) / 4 if present else 0.0
        least = [volume for volume in LEAST_VOLUMES_MM3 if voxel_mm3 < volume <= most]
        found[structure.name] = [StructureSteps(structure=structure.name, least_mm3=volume) for volume in least]
        found[structure.name].append(StructureSteps(structure=structure.name, largest_only=True))
    return found


def _reference_mm3(case: HeldOutCase, structure: Structure, indices: int) -> float:
    counted = np.bincount(case.truth[case.truth != IGNORE].ravel(), minlength=indices) + case.beyond
    return float(counted[structure.member].sum() * np.prod(case.spacing_mm))


def _component_dice(
    case: HeldOutCase, indices: NDArray[np.int16], structure: Structure, rules: Sequence[StructureSteps]
) -> list[float]:
    """Dice of the structure as it is, then by each rule."""
    numbered, sizes = components(structure.member[indices])
    known, wanted = case.truth != IGNORE, _wanted(case, structure)
    hits = np.bincount(numbered[wanted], minlength=len(sizes))
    seen = np.bincount(numbered[known], minlength=len(sizes))
    total = int(wanted.sum() + case.beyond[structure.member].sum())
    voxel_mm3 = float(np.prod(case.spacing_mm))
    row = []
    for rule in (StructureSteps(structure=structure.name), *rules):
        kept = kept_components(sizes, voxel_mm3, rule)
        tp = int(hits[kept].sum())
        row.append(_dice(tp, int(seen[kept].sum()) - tp, total - tp))
    return row


def _filled_dice(case: HeldOutCase, indices: NDArray[np.int16], structure: Structure) -> list[float]:
    """Dice of the structure as it is, and with its holes filled."""
    mask = structure.member[indices]
    added = holes(mask) & np.isin(indices, (0, structure.gives_to)) if mask.any() else mask
    known, wanted = case.truth != IGNORE, _wanted(case, structure)
    total = int(wanted.sum() + case.beyond[structure.member].sum())
    row = []
    for whole in (mask, mask | added):
        tp = int((whole & wanted).sum())
        row.append(_dice(tp, int((whole & known).sum()) - tp, total - tp))
    return row


def _threshold_dice(bench: Bench, case: HeldOutCase, counts: Counts) -> list[list[float]]:
    """Per region, its Dice at each setting."""
    mean = bench.mean(case, counts)
    truth = case.truth.ravel()[case.places]
    rows = []
    for region, structure in enumerate(structures(bench.labels)):
        everywhere = _wanted(case, structure)
        total = int(everywhere.sum() + case.beyond[structure.member].sum())
        wanted, known = everywhere.ravel()[case.places], truth != IGNORE
        row = []
        for limit in _SETTINGS:
            found = mean[region] > limit
            tp = int((found & wanted).sum())
            row.append(_dice(tp, int((found & known).sum()) - tp, total - tp))
        rows.append(row)
    return rows


def _wanted(case: HeldOutCase, structure: Structure) -> NDArray[np.bool_]:
    """(z, y, x) where the reference has the structure."""
    wanted: NDArray[np.bool_] = structure.member[np.maximum(case.truth, 0)] & (case.truth != IGNORE)
    return wanted


def _dice(tp: int, fp: int, fn: int) -> float:
    value = dice(tp, fp, fn)
    return np.nan if value is None else value


def _merged(steps: Sequence[StructureSteps]) -> tuple[StructureSteps, ...]:
    """One entry a structure, in the order of their first steps."""
    found: dict[str, StructureSteps] = {}
    for step in steps:
        before = found.get(step.structure)
        found[step.structure] = step if before is None else before.model_copy(update={"fill_holes": True})
    return tuple(found.values())
