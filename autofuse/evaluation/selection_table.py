"""What was chosen, as tables for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autofuse.evaluation.ensemble import Ensemble, Evidence, PathStep
from autofuse.evaluation.paired import PairedInterval

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table


def selection_tables(ensemble: Ensemble) -> Group:
    """Who competed and what was chosen, what was tried of post-processing, and what choosing is worth."""
    from rich.console import Group

    evidence = ensemble.evidence
    if evidence is None:
        return Group(f"{ensemble.in_words()}; without evidence")
    parts: list[RenderableType] = [_members(ensemble, evidence)]
    if evidence.steps:
        parts.append(_steps(evidence))
    parts += _lines(evidence)
    return Group(*parts)


def _members(ensemble: Ensemble, evidence: Evidence) -> Table:
    from rich.table import Table

    count = len(evidence.cases)
    title = f"Dice of {count} held-out case{'' if count == 1 else 's'}, {evidence.subjects} subjects"
    table = Table(title=title, title_justify="left")
    table.add_column("runs", overflow="fold")
    for heading in ("Dice", "behind the best", "95 % interval", ""):
        table.add_column(heading, justify="right")
    chosen = {member.run: member.weight for member in ensemble.members}
    for step in sorted(evidence.path, key=lambda item: -item.dice):
        gap = step.behind_best
        table.add_row(
            _named(step),
            f"{step.dice:.4f}",
            "–" if gap is None else f"{gap.difference:.4f}",  # noqa: RUF001
            _interval(gap),
            "chosen" if step.counts == chosen else "",
        )
    return table


def _steps(evidence: Evidence) -> Table:
    from rich.table import Table

    table = Table(title="Post-processing: gain in Dice of the structure", title_justify="left")
    table.add_column("structure")
    table.add_column("what")
    for heading in ("gain", "on other subjects", "95 % interval", ""):
        table.add_column(heading, justify="right")
    for step in evidence.steps:
        setting = f"threshold {step.setting}" if step.kind == "threshold" else step.setting
        nested = "–" if step.nested is None else f"{step.nested.difference:+.4f}"  # noqa: RUF001
        chosen = "chosen" if step.chosen else step.why
        table.add_row(step.structure, setting, f"{step.apparent:+.4f}", nested, _interval(step.nested), chosen)
    return table


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
