"""What the cases say together about how far their modalities lie apart, pair by pair."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from autofuse.fingerprint.types import CaseFacts, PairFacts

ALIGNED_MM = 2.0
"""Modalities within this, or within one voxel if that is larger, are aligned."""
WORTH_REGISTERING_MM = 1.25
"""Further apart than this, and than one voxel, registration is tried. Aligned brains of two data sets measure 0.4 to
0.8 mm; on a phantom with voxels of 1.5 mm, 2 mm cost 0.07 mean Dice and registration leaves about 0.2 mm."""
PERCENTILE = 90.0
"""Of the displacements over cases, which is held against it."""
RELIABLE_SHARE = 0.2
"""Of the compared cases, that must be reliable before they say anything."""
FAR_BELOW, FEWEST_CASES = 0.75, 4
"""A case whose agreement above chance is less than this share of the median of so many cases stands out. Measured:
images of two phantoms 0.58 to 0.70 of those of one, of two brains 0.24 to 0.57."""

Verdict = Literal["aligned", "apart", "cannot be told"]


@dataclass(frozen=True)
class PairSummary:
    """Two modalities over all cases that have both.

    Attributes:
        fixed, moving: channels.
        cases, reliable: compared, and of these believed.
        median_mm, p90_mm: displacement over reliable cases; 0 without any.
        redundancy: median agreement above chance: 0 where one says nothing about the other, 1 where it says all.
        resolution_mm: median voxel that was measured at.
    """

    fixed: int
    moving: int
    cases: int
    reliable: int
    median_mm: float
    p90_mm: float
    redundancy: float
    resolution_mm: float
    verdict: Verdict


def aligned_within_mm(cases: Sequence[CaseFacts]) -> float:
    """Displacements up to this count as none: ``ALIGNED_MM``, or the edge of a cube of the median voxel's volume."""
    return max(_voxel_mm(cases), ALIGNED_MM)


def worth_registering_mm(cases: Sequence[CaseFacts]) -> float:
    """From this displacement on registration is tried: ``WORTH_REGISTERING_MM``, or a voxel as above."""
    return max(_voxel_mm(cases), WORTH_REGISTERING_MM)


def _voxel_mm(cases: Sequence[CaseFacts]) -> float:
    return math.cbrt(float(np.median([np.prod(case.spacing_mm) for case in cases])))


def reliable_pairs(case: CaseFacts) -> list[PairFacts]:
    """The pairs of a case whose displacement can be believed."""
    return [pair for pair in case.pairs if pair.reliable]


def percentile(values: Sequence[float]) -> float:
    """The displacement that decides over all cases."""
    return float(np.percentile(np.asarray(values), PERCENTILE))


def summaries(cases: Sequence[CaseFacts]) -> tuple[PairSummary, ...]:
    """One per pair of modalities, in the order of the channels."""
    limit_mm = aligned_within_mm(cases)
    return tuple(_summary(key, list(pairs.values()), limit_mm) for key, pairs in sorted(_by_pair(cases).items()))


def little_agreement(cases: Sequence[CaseFacts]) -> tuple[tuple[str, PairFacts, float], ...]:
    """Cases in which two modalities agree far less than in the others: id, what was measured, the usual agreement
    above chance."""
    found = []
    for _, pairs in sorted(_by_pair(cases).items()):
        usual = float(np.median([pair.agreement - 1 for pair in pairs.values()]))
        mostly = 2 * sum(pair.reliable for pair in pairs.values()) > len(pairs)
        for case, pair in pairs.items():
            low = pair.agreement - 1 < FAR_BELOW * usual
            if len(pairs) >= FEWEST_CASES and mostly and (low or not pair.reliable):
                found.append((case, pair, usual))
    return tuple(found)


def _by_pair(cases: Sequence[CaseFacts]) -> dict[tuple[int, int], dict[str, PairFacts]]:
    """Per pair of channels, by case."""
    found: dict[tuple[int, int], dict[str, PairFacts]] = defaultdict(dict)
    for case in cases:
        for pair in case.pairs:
            found[pair.fixed, pair.moving][case.id] = pair
    return found


def _summary(key: tuple[int, int], pairs: Sequence[PairFacts], limit_mm: float) -> PairSummary:
    distances = [pair.distance_mm for pair in pairs if pair.reliable]
    p90_mm = percentile(distances) if distances else 0.0
    verdict: Verdict = "aligned" if p90_mm <= limit_mm else "apart"
    if not distances or len(distances) < RELIABLE_SHARE * len(pairs):
        verdict = "cannot be told"
    return PairSummary(
        fixed=key[0],
        moving=key[1],
        cases=len(pairs),
        reliable=len(distances),
        median_mm=float(np.median(distances)) if distances else 0.0,
        p90_mm=p90_mm,
        redundancy=float(np.median([pair.agreement - 1 for pair in pairs])),
        resolution_mm=float(np.median([pair.resolution_mm for pair in pairs])),
        verdict=verdict,
    )
