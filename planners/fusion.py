"""How modalities meet: a table of rules, first match wins; what was passed over is recorded with the reason.

Each row names a topology of ``autofuse.networks``, the condition under which it is chosen, and why. A row whose
condition cannot be read from the fingerprint yet, or whose topology does not exist yet, has no ``chosen_if``: it is
recorded as passed over. To add a topology, give its row a condition.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import JsonValue

from autofuse.fingerprint.types import Fingerprint
from autofuse.plan.types import Decision
from autofuse_planners.thresholds import Thresholds

Condition = Callable[[Fingerprint, Thresholds], bool]


@dataclass(frozen=True)
class Row:
    """One rule: when, what, and why."""

    when: str
    topology: str
    because: str
    chosen_if: Condition | None = None


@dataclass(frozen=True)
class Fusion:
    """How modalities meet, and with which probability training drops one."""

    topology: str
    modality_dropout: float
    decisions: tuple[Decision, ...]


def _one_modality(fingerprint: Fingerprint, rules: Thresholds) -> bool:
    return len(fingerprint.modalities) == 1


def _always(fingerprint: Fingerprint, rules: Thresholds) -> bool:
    return True


TABLE: tuple[Row, ...] = (
    Row("there is one modality", "early", "nothing to fuse: one U-Net", _one_modality),
    Row(
        "no subject has two modalities, or they share no field of view",
        "shared_kernels",
        "shared kernels with modality-specific norms (Dou 2020); not available yet",
    ),
    Row(
        "a modality is missing in some cases, or marked optional",
        "stems",
        "a stem per modality and a gate (arXiv 2604.10702); not available yet, so channels are dropped while training",
    ),
    Row(
        "modalities are displaced beyond a voxel and rigid registration mends it",
        "early after registration",
        "displacement is not measured yet; the data set is taken as aligned",
    ),
    Row(
        "modalities are displaced and registration does not mend it",
        "per_modality",
        "one encoder per modality; displacement is not measured yet",
    ),
    Row(
        "a fused image that a person can read is asked for",
        "image_level",
        "never by itself: concatenation holds more information",
    ),
    Row("modalities are aligned on one grid", "early", "concatenation: best even with imperfect registration", _always),
)


def choose_fusion(fingerprint: Fingerprint, rules: Thresholds, table: tuple[Row, ...] = TABLE) -> Fusion:
    """The topology of the first row whose condition holds, and modality dropout where modalities can be missing."""
    row = next(item for item in table if item.chosen_if is not None and item.chosen_if(fingerprint, rules))
    passed = () if _one_modality(fingerprint, rules) else _passed_over(row, table)
    dropout, dropout_decisions = _modality_dropout(fingerprint, rules)
    topology = Decision(
        what="topology",
        chosen=row.topology,
        rule=f"{row.when}: {row.because}",
        evidence={"modalities": len(fingerprint.modalities), "missing_rates": _rates(fingerprint)},
        alternatives=passed,
    )
    return Fusion(row.topology, dropout, (topology, *dropout_decisions))


def _passed_over(chosen: Row, table: tuple[Row, ...]) -> tuple[str, ...]:
    others = [row for row in table if row is not chosen and row.chosen_if is not _one_modality]
    return tuple(f"{row.topology} (if {row.when}): {row.because}" for row in others)


def _modality_dropout(fingerprint: Fingerprint, rules: Thresholds) -> tuple[float, tuple[Decision, ...]]:
    """p = clip(largest missing rate, low, high), where one can be missing; a sample's last modality always stays."""
    if len(fingerprint.modalities) == 1:
        return 0.0, ()
    worst = max(fingerprint.missing_rates)
    optional = any(fingerprint.optional)
    needed = worst > rules.missing_rate or optional
    dropout = min(max(worst, rules.dropout_low), rules.dropout_high) if needed else 0.0
    decision = Decision(
        what="modality dropout",
        chosen=f"{dropout:g}",
        rule=(
            f"a modality is missing in over {rules.missing_rate:.0%} of the cases, or optional: its rate, between "
            f"{rules.dropout_low:g} and {rules.dropout_high:g} (arXiv 2602.20218)"
            if needed
            else "every case has every modality"
        ),
        evidence={"missing_rates": _rates(fingerprint), "optional": list(fingerprint.optional)},
    )
    return dropout, (decision,)


def _rates(fingerprint: Fingerprint) -> dict[str, JsonValue]:
    return {name: round(rate, 4) for name, rate in zip(fingerprint.modalities, fingerprint.missing_rates, strict=True)}
