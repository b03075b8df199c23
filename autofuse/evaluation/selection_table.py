"""What was chosen, as tables for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autofuse.evaluation.ensemble import Ensemble, Evidence, PathStep
from autofuse.evaluation.paired import PairedInterval
from autofuse.foundation.plain_table import PlainTable

if TYPE_CHECKING:
    from rich.console import Group


def selection_tables(ensemble: Ensemble) -> Group:
    """Who competed and what was chosen, what was tried of post-processing, and what choosing is worth."""
    from rich.console import Group
    from rich.text import Text

    tables, lines = selection_told(ensemble)
    return Group(*(table.to_rich() for table in tables), *(Text(line) for line in lines))


def selection_told(ensemble: Ensemble) -> tuple[tuple[PlainTable, ...], tuple[str, ...]]:
    """The same as tables of words, and sentences."""
    evidence = ensemble.evidence
    if evidence is None:
        return (), (f"{ensemble.in_words()}; without evidence",)
    tables = (_members(ensemble, evidence), *((_steps(evidence),) if evidence.steps else ()))
    return tables, tuple(_lines(evidence))


def _members(ensemble: Ensemble, evidence: Evidence) -> PlainTable:
    count = len(evidence.cases)
    title = f"Dice of {count} held-out case{'' if count == 1 else 's'}, {evidence.subjects} subjects"
    rows = []
    chosen = {member.run: member.weight for member in ensemble.members}
    for step in sorted(evidence.path, key=lambda item: -item.dice):
        gap = step.behind_best
        rows.append(
            (
                _named(step),
                f"{step.dice:.4f}",
                "–" if gap is None else f"{gap.difference:.4f}",  # noqa: RUF001
                _interval(gap),
                "chosen" if step.counts == chosen else "",
            )
        )
    return PlainTable(title, ("runs", "Dice", "behind the best", "95 % interval", ""), tuple(rows))


def _steps(evidence: Evidence) -> PlainTable:
    rows = []
    for step in evidence.steps:
        setting = f"threshold {step.setting}" if step.kind == "threshold" else step.setting
        nested = "–" if step.nested is None else f"{step.nested.difference:+.4f}"  # noqa: RUF001
        chosen = "chosen" if step.chosen else step.why
        rows.append((step.structure, setting, f"{step.apparent:+.4f}", nested, _interval(step.nested), chosen))
    columns = ("structure", "what", "gain", "on other subjects", "95 % interval", "")
    title = "Post-processing: gain in Dice of the structure"
    return PlainTable(title, columns, tuple(rows), words=frozenset({0, 1, 5}))


def _lines(evidence: Evidence) -> list[str]:
    lines = []
    nested = evidence.nested
    if nested is not None:
        lines.append(
            f"On subjects that did not choose: Dice {nested.dice:.4f} (best single run {nested.best_single:.4f}); "
            f"averaging {_gain(nested.ensemble_gain)}, post-processing {_gain(nested.postprocessing_gain)}."
        )
    calibration = evidence.calibration
    if calibration is not None:
        lines.append(
            f"Temperature {calibration.temperature:g}{'' if calibration.chosen else ', not used'}: calibration error "
            f"{calibration.ece[0]:.4f} before, {calibration.ece[1]:.4f} after ({calibration.why})."
        )
    lines += list(evidence.notes)
    lines += [f"Left out: {item.run}: {item.why}." for item in evidence.left_out]
    return lines


def _named(step: PathStep) -> str:
    return " + ".join(f"{count} x {run}" if count > 1 else run for run, count in step.counts.items())


def _interval(gap: PairedInterval | None) -> str:
    return "–" if gap is None else f"{gap.lower:+.4f} to {gap.upper:+.4f}"  # noqa: RUF001


def _gain(gain: PairedInterval) -> str:
    return f"{gain.difference:+.4f} ({gain.lower:+.4f} to {gain.upper:+.4f})"
