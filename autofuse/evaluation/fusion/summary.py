"""Scores of fused images over cases: means, leads over the best trivial fusion, and flags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autofuse.evaluation.fusion.types import DICE, FUSED, METRICS, CaseDice, CaseFusion, Flag, Lead
from autofuse.evaluation.paired import paired_bootstrap
from autofuse.evaluation.summary import statistic
from autofuse.evaluation.types import Statistic

Values = Mapping[str, Mapping[str, Mapping[str, float]]]
"""By row, by metric, by case; only what is defined."""


def tabulate(cases: Sequence[CaseFusion], dice: Sequence[CaseDice] = ()) -> Values:
    """The scores that are defined, by row, metric and case; rows in the order of the first cases."""
    table: dict[str, dict[str, dict[str, float]]] = {}
    for case in cases:
        for row, score in case.rows.items():
            metrics = table.setdefault(row, {name: {} for name in (*METRICS, DICE)})
            for name in METRICS:
                value = getattr(score, name)
                if value is not None:
                    metrics[name][case.case] = value
    for item in dice:
        for row, value in item.dice.items():
            if value is not None and row in table:
                table[row][DICE][item.case] = value
    return table


def row_statistics(values: Values, subjects: Mapping[str, str]) -> dict[str, dict[str, Statistic]]:
    """Per row and metric: mean, median, spread and interval of the mean over the cases where it is defined.

    Intervals are drawn by subjects.
    """
    return {
        row: {name: statistic(by_case, subjects) for name, by_case in metrics.items()}
        for row, metrics in values.items()
    }


def leads_of(values: Values, subjects: Mapping[str, str]) -> tuple[Lead, ...]:
    """Per metric, the fused images against the trivial fusion with the best mean on the same cases.

    The rival is chosen on these very cases, which favours it a little. The interval is of the mean over cases of
    (fused - rival), drawn by subjects.
    """
    if FUSED not in values:
        return ()
    leads = []
    for metric in (*METRICS, DICE):
        fused = values[FUSED][metric]
        gains = {
            row: {case: fused[case] - metrics[metric][case] for case in sorted(fused.keys() & metrics[metric].keys())}
            for row, metrics in values.items()
            if row != FUSED
        }
        defined = {row: gain for row, gain in gains.items() if gain}
        if defined:
            # Where a modality is absent from some cases, its copy is compared on the others only.
            rival = min(defined, key=lambda row: sum(defined[row].values()) / len(defined[row]))
            leads.append(Lead(metric=metric, rival=rival, gain=paired_bootstrap(defined[rival], subjects)))
    return tuple(leads)


def flags_of(cases: Sequence[CaseFusion]) -> tuple[Flag, ...]:
    """The entropies that cannot be right, or show more than the sources do."""
    return tuple(
        Flag(case=case.case, row=row, reason=score.doubt)
        for case in cases
        for row, score in case.rows.items()
        if score.doubt is not None
    )
