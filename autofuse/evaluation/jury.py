"""Held-out cases as judges: whole subjects are drawn, divided into parts, and compared in pairs.

Scores are arrays over the jury's cases, NaN where neither reference nor mask has the structure: nothing is right there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autofuse.evaluation.paired import PairedInterval, paired_bootstrap, paired_differences

PARTS = 5
"""Into which subjects are divided for a nested estimate, at most."""
LEAST_SUBJECTS = 5
"""With fewer, nothing is taken for clear: even five of five in favour happen by chance once in 32 times."""

Values = NDArray[np.float64]
Within = NDArray[np.bool_]


@dataclass(frozen=True)
class Jury:
    """The cases that judge; ``subjects`` has one name a case."""

    cases: tuple[str, ...]
    subjects: tuple[str, ...]

    @property
    def everybody(self) -> Within:
        """(cases,) all of them."""
        return np.ones(len(self.cases), dtype=bool)

    def subject_count(self, within: Within) -> int:
        """How many subjects the cases in ``within`` are of."""
        return len({subject for subject, inside in zip(self.subjects, within, strict=True) if inside})

    def enough(self, within: Within) -> bool:
        """Whether there are subjects enough to take a difference for clear."""
        return self.subject_count(within) >= LEAST_SUBJECTS

    def parts(self, within: Within) -> Iterator[tuple[Within, Within]]:
        """(the others, a part) of the cases in ``within``, part by part; subjects in order go round."""
        names = sorted({subject for subject, inside in zip(self.subjects, within, strict=True) if inside})
        count = min(PARTS, len(names))
        place = {name: number % count for number, name in enumerate(names)}
        for number in range(count if count > 1 else 0):
            part = np.array([place.get(subject) == number for subject in self.subjects]) & within
            yield within & ~part, part

    def gain(self, before: Values, after: Values, within: Within) -> PairedInterval | None:
        """How much better ``after`` is, with its interval; None where no case has a score."""
        first, second = ({name: _or_none(v) for name, v in self._named(item, within)} for item in (before, after))
        differences = paired_differences(first, second)
        if not differences:
            return None
        subjects = dict(zip(self.cases, self.subjects, strict=True))
        if len(set(differences.values())) == 1:  # whoever is drawn, the mean is the same
            same = round(next(iter(differences.values())), 6)
            count = len({subjects[case] for case in differences})
            return PairedInterval(cases=len(differences), subjects=count, difference=same, lower=same, upper=same)
        found = paired_bootstrap(differences, subjects)
        numbers = {name: round(getattr(found, name), 6) for name in ("difference", "lower", "upper")}
        return found.model_copy(update=numbers)

    def nested(self, within: Within, choose: Callable[[Within], Values]) -> Values:
        """Scores of each case in ``within`` by what the subjects of the other parts chose; NaN elsewhere.

        Args:
            choose: the scores of all cases by what is best for the given ones.
        """
        found = np.full(len(self.cases), np.nan)
        for others, part in self.parts(within):
            found[part] = choose(others)[part]
        return found

    def _named(self, values: Values, within: Within) -> Sequence[tuple[str, float]]:
        return [(name, v) for name, v, inside in zip(self.cases, values.tolist(), within, strict=True) if inside]


def mean_credit(values: Values, within: Within) -> float:
    """Mean over the cases in ``within``; where there is nothing to find and nothing was found, that counts as 1."""
    return float(np.nan_to_num(values[within], nan=1.0).mean())


def case_means(scores: NDArray[np.float64]) -> Values:
    """(cases,) means over the structures that are in reference or mask, of scores (cases, structures)."""
    defined = ~np.isnan(scores)
    count = defined.sum(axis=1)
    sums = np.where(defined, scores, 0).sum(axis=1)
    means: Values = np.where(count > 0, sums / np.maximum(count, 1), np.nan)
    return means


def is_clear(gain: PairedInterval | None) -> bool:
    """Whether there is a gain, beyond chance."""
    return gain is not None and gain.lower > 0


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value
