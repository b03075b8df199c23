"""Which modalities can be absent, wholly or in part, and how often training drops one."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import JsonValue

from autofuse.fingerprint.types import CaseFacts, Fingerprint
from autofuse.plan.types import Budget, Decision
from autofuse_planners.thresholds import Thresholds


@dataclass(frozen=True)
class Absence:
    """What can be absent.

    Attributes:
        missing: largest share of cases that lack one modality.
        partial: share of cases in which a modality sees only part of the reference's field of view.
        paired: cases that show two modalities of a common field of view.
        lacking: why a case may lack a modality altogether; () where none does.
        in_part: why a modality may be absent in part of a case; () where each sees the whole field of view.
    """

    missing: float
    partial: float
    paired: int
    lacking: tuple[str, ...]
    in_part: tuple[str, ...]

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why modalities must be able to be absent, wholly or in part; () where they need not."""
        return (*self.lacking, *self.in_part)


def measure_absence(fingerprint: Fingerprint, budget: Budget, rules: Thresholds) -> Absence:
    """What the fingerprint and the user's wishes say about absence."""
    missing = max(fingerprint.missing_rates)
    partial = sum(_sees_in_part(case, rules) for case in fingerprint.cases) / len(fingerprint.cases)
    optional = [name for name, can in zip(fingerprint.modalities, fingerprint.optional, strict=True) if can]
    lacking, in_part = [], []
    if missing > rules.missing_rate:
        lacking.append(f"up to {missing:.0%} of the cases lack one")
    if optional:
        lacking.append(f"{', '.join(optional)} marked as optional")
    if budget.expect_missing:
        lacking.append("asked for with --expect-missing")
    if partial > rules.missing_rate:
        in_part.append(f"in {partial:.0%} of the cases one covers under {rules.full_view:.0%} of the field of view")
    paired = sum(_is_paired(case, rules) for case in fingerprint.cases)
    return Absence(missing, partial, paired, tuple(lacking), tuple(in_part))


def absence_evidence(fingerprint: Fingerprint, absence: Absence) -> dict[str, JsonValue]:
    """The numbers, for the record."""
    return {
        "missing_rates": {
            name: round(rate, 4) for name, rate in zip(fingerprint.modalities, fingerprint.missing_rates, strict=True)
        },
        "optional": list(fingerprint.optional),
        "patterns": {_pattern(fingerprint, present): count for present, count in fingerprint.patterns},
        "cases_with_two_overlapping_modalities": absence.paired,
        "least_overlap": _least_overlaps(fingerprint),
        "cases_seen_in_part": round(absence.partial, 4),
    }


def choose_dropout(
    fingerprint: Fingerprint, absence: Absence, several: bool, rules: Thresholds
) -> tuple[float, Decision]:
    """p = clip(largest missing rate, low, high) where a case can lack a modality; a sample's last one always stays.

    Where modalities are only absent in part, training sees that absence as prediction will, and nothing is dropped.

    Args:
        several: whether the network sees several modalities of a case at once.
    """
    needed = several and bool(absence.lacking)
    dropout = min(max(absence.missing, rules.dropout_low), rules.dropout_high) if needed else 0.0
    low, high = rules.dropout_low, rules.dropout_high
    rule = f"a case can lack a modality: the largest missing rate, between {low:g} and {high:g} (arXiv 2602.20218)"
    return dropout, Decision(
        what="modality dropout",
        chosen=f"{dropout:g}",
        rule=rule if needed else "cases at prediction are taken to have what training cases have",
        evidence={
            "largest_missing_rate": round(absence.missing, 4),
            "modalities": len(fingerprint.modalities),
            "reasons": list(absence.lacking),
        },
    )


def _is_paired(case: CaseFacts, rules: Thresholds) -> bool:
    return sum(case.overlap(index) >= rules.least_overlap for index in range(len(case.present))) >= 2


def _sees_in_part(case: CaseFacts, rules: Thresholds) -> bool:
    return any(case.overlap(index) < rules.full_view for index, there in enumerate(case.present) if there)


def _pattern(fingerprint: Fingerprint, present: tuple[bool, ...]) -> str:
    return " + ".join(name for name, there in zip(fingerprint.modalities, present, strict=True) if there)


def _least_overlaps(fingerprint: Fingerprint) -> dict[str, JsonValue]:
    """Per modality, the smallest share of the reference's field of view that it covers where it is present."""
    return {
        name: round(min((case.overlap(index) for case in fingerprint.cases if case.present[index]), default=0.0), 4)
        for index, name in enumerate(fingerprint.modalities)
    }
