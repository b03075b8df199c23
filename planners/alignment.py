"""How far the modalities of a case lie apart, over a data set, and whether a rigid transform mends it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from pydantic import JsonValue

from autofuse.fingerprint.types import CaseFacts, Fingerprint, PairFacts
from autofuse.plan.types import Triple
from autofuse_planners.thresholds import Thresholds


@dataclass(frozen=True)
class Alignment:
    """Displacements over the cases of a data set.

    Attributes:
        limit_mm: up to this, modalities can be laid on each other; worth_mm: from this on, registration is worth it.
        measured, reliable: cases in which modalities were compared, and in which the result can be believed.
        median_mm, p90_mm: over reliable cases, of the pair that lies furthest apart; None where too few are reliable.
        by_pair: the same for every pair, for the record.
        tried, mended: cases that were registered as a trial, and those that this brought to ``goal_mm``.
        residual_mm: 90th percentile over tried cases of what registration left; None where none was tried.
        share_wanted: of tried cases, that must be mended.
    """

    limit_mm: float
    worth_mm: float
    measured: int
    reliable: int
    median_mm: float | None
    p90_mm: float | None
    by_pair: dict[str, JsonValue]
    tried: int
    mended: int
    residual_mm: float | None
    share_wanted: float

    @property
    def displaced(self) -> bool:
        """Whether modalities lie apart; what cannot be told counts as aligned."""
        return self.p90_mm is not None and self.p90_mm > self.limit_mm

    @property
    def goal_mm(self) -> float:
        """What registration has to reach: the limit, or where they lie within it, better than that."""
        return self.limit_mm if self.displaced else self.worth_mm

    @property
    def mends(self) -> bool:
        """Whether they lie apart, if only a little, and a rigid transform brings nearly every case together."""
        return self.in_question and self.tried > 0 and self.mended >= self.share_wanted * self.tried

    @property
    def unmended(self) -> bool:
        """Whether they lie apart and stay so."""
        return self.displaced and not self.mends

    @property
    def in_question(self) -> bool:
        """Whether registration was tried or would have been: they lie apart, if only a little."""
        return self.p90_mm is not None and self.p90_mm > self.worth_mm

    def distance(self) -> str:
        """How far apart, in words."""
        if not self.measured:
            return "displacement was not measured, so they are taken as aligned"
        if self.p90_mm is None:
            return (
                f"only {self.reliable} of {self.measured} cases could be compared reliably, which tells neither "
                "aligned from displaced; taken as aligned"
            )
        apart = f"they lie {self.p90_mm:.1f} mm apart at the 90th percentile of {self.reliable} cases, and "
        if self.in_question and not self.displaced:
            return apart + f"from {self.worth_mm:.1f} mm on registration is tried, though {self.limit_mm:.1f} would do"
        return apart + f"up to {self.limit_mm:.1f} mm is aligned"

    def trial(self) -> str:
        """What rigid registration did, in words."""
        if not self.tried:
            return "registration was not tried on any case"
        return f"rigid registration brought {self.mended} of {self.tried} tried cases below {self.goal_mm:.1f} mm"

    def told(self) -> str:
        """Distance and, where it was in question, trial."""
        return f"{self.distance()}; {self.trial()}" if self.in_question else self.distance()

    def evidence(self) -> dict[str, JsonValue]:
        """The numbers, for the record."""
        return {
            "displacement_by_pair": self.by_pair,
            "displacement_median_mm": _rounded(self.median_mm),
            "displacement_p90_mm": _rounded(self.p90_mm),
            "limit_mm": _rounded(self.limit_mm),
            "registered_from_mm": _rounded(self.worth_mm),
            "cases_compared": self.measured,
            "cases_compared_reliably": self.reliable,
            "registration_tried": self.tried,
            "registration_mended": self.mended,
            "share_mended": round(self.mended / self.tried, 3) if self.tried else None,
            "residual_p90_mm": _rounded(self.residual_mm),
        }


def measure_alignment(fingerprint: Fingerprint, target_spacing_mm: Triple, rules: Thresholds) -> Alignment:
    """What the fingerprint says about displacement, against limits of one target voxel, or those of ``rules``.

    A voxel's size is the edge of a cube of its volume. A distance below what could be measured counts as none.
    """
    voxel = prod(target_spacing_mm) ** (1 / 3)
    limit, worth = max(voxel, rules.aligned_mm), max(voxel, rules.worth_registering_mm)
    worst = [max(_distance(pair) for pair in pairs) for case in fingerprint.cases if (pairs := _reliable(case))]
    measured = sum(bool(case.pairs) for case in fingerprint.cases)
    enough = bool(worst) and len(worst) >= rules.reliable_share * measured
    left = _left_by_case(fingerprint)
    p90 = _percentile(worst, rules.displacement_percentile) if enough else None
    goal = worth if p90 is not None and p90 <= limit else limit
    return Alignment(
        limit_mm=limit,
        worth_mm=worth,
        measured=measured,
        reliable=len(worst),
        median_mm=_percentile(worst, 50) if enough else None,
        p90_mm=p90,
        by_pair=_by_pair(fingerprint, rules),
        tried=len(left),
        mended=sum(distance <= goal for distance in left),
        residual_mm=_percentile(left, rules.displacement_percentile) if left else None,
        share_wanted=rules.registration_share,
    )


def _reliable(case: CaseFacts) -> list[PairFacts]:
    return [pair for pair in case.pairs if pair.reliable]


def _distance(pair: PairFacts) -> float:
    return pair.distance_mm if pair.distance_mm >= pair.resolution_mm else 0.0


def _left_by_case(fingerprint: Fingerprint) -> list[float]:
    """Per tried case, the largest distance that registration left."""
    left: dict[str, float] = defaultdict(float)
    for item in fingerprint.registrations:
        left[item.case] = max(left[item.case], item.after_mm)
    return list(left.values())


def _by_pair(fingerprint: Fingerprint, rules: Thresholds) -> dict[str, JsonValue]:
    pairs: dict[tuple[int, int], list[PairFacts]] = defaultdict(list)
    for case in fingerprint.cases:
        for pair in case.pairs:
            pairs[pair.fixed, pair.moving].append(pair)
    names = fingerprint.modalities
    return {
        f"{names[fixed]} and {names[moving]}": _summary(found, rules)
        for (fixed, moving), found in sorted(pairs.items())
    }


def _summary(pairs: Sequence[PairFacts], rules: Thresholds) -> JsonValue:
    trusted = [pair for pair in pairs if pair.reliable]
    if not trusted:
        return {"cases": len(pairs), "reliable": 0}
    distances = [pair.distance_mm for pair in trusted]
    return {
        "cases": len(pairs),
        "reliable": len(trusted),
        "median_mm": _rounded(_percentile(distances, 50)),
        "p90_mm": _rounded(_percentile(distances, rules.displacement_percentile)),
        "below_resolution": sum(pair.distance_mm < pair.resolution_mm for pair in trusted),
    }


def _percentile(values: Iterable[float], at: float) -> float:
    return float(np.percentile(np.array(list(values)), at))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
