"""Whether what lies far from every stroke may be taught as background."""

from __future__ import annotations

from statistics import median

from pydantic import JsonValue

from autofuse.fingerprint.types import CaseFacts, Fingerprint
from autofuse.plan.types import Decision
from autofuse_planners.thresholds import Thresholds

_REACH = (
    "the border of a structure lies between its strokes and the background's, so that it reaches no further from its "
    "strokes than the innermost of them lies from the background's"
)


def choose_far_background(fingerprint: Fingerprint, rules: Thresholds) -> tuple[bool, tuple[Decision, ...]]:
    """Whether voxels out of every stroke's reach are labelled as background, and why; without strokes, no decision.

    It would be wrong where structures lie about that nobody marked. Strokes tell of that by how they lie: where one is
    out of reach of all others, a structure without any may be so too.
    """
    stroked = [case for case in fingerprint.cases if case.annotation == "sparse" and any(case.class_voxels)]
    if not stroked:
        return False, ()
    together = sum(_lie_together(case) for case in stroked)
    chosen = together >= rules.strokes_together * len(stroked)
    evidence: dict[str, JsonValue] = {"cases_with_strokes": len(stroked), "where_strokes_lie_together": together}
    reaches = [case.stroke_reach_mm for case in stroked if case.stroke_reach_mm is not None]
    gaps = [case.stroke_gap_mm for case in stroked if case.stroke_gap_mm is not None]
    if reaches and gaps:
        evidence |= {"median_reach_mm": round(median(reaches), 1), "largest_gap_mm": round(max(gaps), 1)}
    where = f"in {together} of {len(stroked)} cases every stroke lies within that reach of another"
    decision = Decision(
        what="far background",
        chosen="taught" if chosen else "left open",
        rule=f"{_REACH}; {where}, and {rules.strokes_together:.0%} are asked for",
        evidence=evidence,
        alternatives=("left open: networks find structures where nobody drew",) if chosen else (),
    )
    return chosen, (decision,)


def _lie_together(case: CaseFacts) -> bool:
    """Whether every piece of the structures' strokes has another within reach."""
    reach_mm, gap_mm = case.stroke_reach_mm, case.stroke_gap_mm
    return reach_mm is not None and gap_mm is not None and gap_mm <= reach_mm
