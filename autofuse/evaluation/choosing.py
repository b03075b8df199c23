"""Which runs predict together: greedy choice with replacement, and the simplest that is not clearly worse.

Greedy choice (Caruana et al., Ensemble selection from libraries of models, 2004): begin with the best run; again and
again add the one (it may be in already) that makes the mean of probabilities score best. The weight of a run is how
often it was taken. What comes out depends on scores alone; no image is read here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from autofuse.evaluation.jury import Jury, Values, Within, is_clear, mean_credit
from autofuse.evaluation.paired import PairedInterval

MOST_MEMBERS = 10
"""Turns of the greedy choice."""

Counts = tuple[int, ...]
"""Per run how often it is taken."""
Scoring = Callable[[Counts], Values]
"""Scores a case, of the ensemble that takes each run so often."""


@dataclass(frozen=True)
class MemberChoice:
    """What was chosen.

    Attributes:
        chosen: of ``looked_at``; best: the one with the highest mean.
        looked_at: single runs, then the ensembles that the greedy choice went through, each once.
    """

    chosen: Counts
    best: Counts
    looked_at: tuple[Counts, ...]


@dataclass(frozen=True)
class NestedChoice:
    """Scores a case by what the subjects of other parts chose; ``single``: by the run that alone was best there."""

    chosen: Values
    single: Values
    gain: PairedInterval | None


def choose_members(score: Scoring, runs: int, jury: Jury, within: Within, most: int = MOST_MEMBERS) -> MemberChoice:
    """The simplest ensemble that the best one does not clearly beat, by the cases in ``within``.

    Simpler is what has fewer different runs; of equally simple ones the better is taken. Clearly: the lower bound of
    the paired bootstrap interval is above 0. With too few subjects, the best single run.
    """
    looked_at = tuple(dict.fromkeys([*singles(runs), *(reduced(step) for step in greedy(score, runs, within, most))]))
    means = {counts: mean_credit(score(counts), within) for counts in looked_at}
    best = min(looked_at, key=lambda counts: (-means[counts], *_size(counts)))
    if jury.enough(within):
        rivals = [item for item in looked_at if not is_clear(jury.gain(score(item), score(best), within))]
    else:
        rivals = list(singles(runs))
    chosen = min(rivals, key=lambda counts: (_size(counts)[0], -means[counts], _size(counts)[1]))
    return MemberChoice(chosen, best, looked_at)


def greedy(score: Scoring, runs: int, within: Within, most: int = MOST_MEMBERS) -> list[Counts]:
    """The ensembles that the greedy choice goes through, from one member to ``most``; of equal ones the first run."""
    path = [max(singles(runs), key=lambda counts: mean_credit(score(counts), within))]
    while len(path) < most and runs > 1:
        grown = [_sum(path[-1], single) for single in singles(runs)]
        path.append(max(grown, key=lambda counts: mean_credit(score(reduced(counts)), within)))
    return path


def nested_choice(score: Scoring, runs: int, jury: Jury, within: Within, most: int = MOST_MEMBERS) -> NestedChoice:
    """What choosing is worth on subjects that had no part in it."""

    def chosen(others: Within) -> Values:
        return score(choose_members(score, runs, jury, others, most).chosen)

    def alone(others: Within) -> Values:
        return score(best_single(score, runs, others))

    together, single = jury.nested(within, chosen), jury.nested(within, alone)
    return NestedChoice(together, single, jury.gain(single, together, within))


def best_single(score: Scoring, runs: int, within: Within) -> Counts:
    """The run that alone is best; of equal ones the first."""
    return max(singles(runs), key=lambda counts: mean_credit(score(counts), within))


def singles(runs: int) -> tuple[Counts, ...]:
    """Each run alone."""
    return tuple(tuple(int(place == number) for place in range(runs)) for number in range(runs))


def reduced(counts: Counts) -> Counts:
    """The same weights in the smallest whole numbers."""
    divisor = math.gcd(*counts)
    return tuple(count // divisor for count in counts)


def shares(counts: Counts) -> Sequence[float]:
    """Weights that add up to 1."""
    whole = np.asarray(counts, dtype=np.float64)
    return [float(share) for share in whole / whole.sum()]


def _sum(first: Counts, second: Counts) -> Counts:
    return tuple(a + b for a, b in zip(first, second, strict=True))


def _size(counts: Counts) -> tuple[int, int]:
    """How many different runs, and how many in all."""
    return sum(count > 0 for count in counts), sum(counts)
