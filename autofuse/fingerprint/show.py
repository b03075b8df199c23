"""A fingerprint for people: what is unusual in words, then modalities, grids, alignment, annotation and classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from autofuse.fingerprint.apart import summaries
from autofuse.fingerprint.oddities import oddities
from autofuse.fingerprint.types import CaseFacts, Fingerprint
from autofuse.foundation.plain_table import PlainTable

if TYPE_CHECKING:
    from rich.console import Group

_PATTERNS_AT_MOST = 12


def to_rich(fingerprint: Fingerprint) -> Group:
    """A headline, what is unusual, and tables; those that would say nothing are left out."""
    from rich.console import Group
    from rich.text import Text

    parts: list[Any] = [Text(_headline(fingerprint), style="bold"), Text(annotation(fingerprint.cases)), Text()]
    parts += [_unusual(fingerprint), Text()]
    return Group(*parts, *(table.to_rich() for table in tables(fingerprint)))


def tables(fingerprint: Fingerprint) -> tuple[PlainTable, ...]:
    """What was measured in numbers; tables that would say nothing are left out."""
    found = [_presence(fingerprint)] if len(fingerprint.patterns) > 1 else []
    found.append(_modalities(fingerprint))
    if any(case.pairs for case in fingerprint.cases):
        found.append(_pairs(fingerprint))
    found.append(_grids(fingerprint.cases))
    if any(grid is not None and not grid.same for case in fingerprint.cases for grid in case.grids):
        found.append(_own_grids(fingerprint))
    return (*found, _classes(fingerprint))


def _headline(fingerprint: Fingerprint) -> str:
    subjects = len({case.subject for case in fingerprint.cases})
    return (
        f"{fingerprint.dataset}: {len(fingerprint.cases)} cases of {subjects} subjects, "
        f"{len(fingerprint.modalities)} modalities (fingerprint {fingerprint.digest()[:8]})"
    )


def _unusual(fingerprint: Fingerprint) -> Any:
    from rich.text import Text

    found = oddities(fingerprint)
    if not found:
        return Text("Nothing unusual.", style="green")
    return Text("\n".join(["Unusual:", *(f"  • {sentence}" for sentence in found)]), style="yellow")


def annotation(cases: Sequence[CaseFacts]) -> str:
    """How many cases are labelled densely, sparsely, or not at all."""
    counts = Counter(str(case.annotation) for case in cases)
    names = {"dense": "densely labelled", "sparse": "sparsely labelled", "none": "unlabelled"}
    text = ", ".join(f"{counts[kind]} {name}" for kind, name in names.items() if counts[kind])
    sparse = [case.labelled_fraction for case in cases if case.annotation == "sparse"]
    return text + (f" (median {median(sparse):.2%} of their voxels)" if sparse else "")


def _presence(fingerprint: Fingerprint) -> PlainTable:
    rows = [
        (str(count), *("●" if there else "·" for there in present))
        for present, count in fingerprint.patterns[:_PATTERNS_AT_MOST]
    ]
    more = fingerprint.patterns[_PATTERNS_AT_MOST:]
    if more:
        rows.append((f"{sum(count for _, count in more)} in {len(more)} other ways",))
    return PlainTable("Modalities that cases have", ("cases", *fingerprint.modalities), tuple(rows))


def _modalities(fingerprint: Fingerprint) -> PlainTable:
    rows = []
    own = fingerprint.labelled_per_modality
    for channel, (name, rate, facts) in enumerate(
        zip(fingerprint.modalities, fingerprint.missing_rates, fingerprint.intensities, strict=True)
    ):
        numbers = (facts.percentile_00_5, facts.median, facts.percentile_99_5)
        spread = f"{facts.mean:.4g} ± {facts.std:.4g}"
        masks = (f"{own[channel]}",) if own else ()
        rows.append((name, f"{rate:.0%}", spread, *(f"{value:.4g}" for value in numbers), f"{facts.voxels:,}", *masks))
    title = "Modalities (intensities inside labelled foreground)"
    columns = ("name", "missing", "mean ± std", "0.5 %", "median", "99.5 %", "voxels")
    return PlainTable(title, (*columns, "cases with own masks") if own else columns, tuple(rows))


def _pairs(fingerprint: Fingerprint) -> PlainTable:
    columns = ("pair", "cases", "reliable", "median mm", "90 % below mm", "verdict", "registered mm", "redundancy")
    names = fingerprint.modalities
    rows = []
    for item in summaries(fingerprint.cases):
        left = [
            trial.after_mm
            for trial in fingerprint.registrations
            if (trial.fixed, trial.moving) == (item.fixed, item.moving)
        ]
        rows.append(
            (
                f"{names[item.fixed]} - {names[item.moving]}",
                str(item.cases),
                str(item.reliable),
                _distance(item.median_mm, item.resolution_mm) if item.reliable else "-",
                _distance(item.p90_mm, item.resolution_mm) if item.reliable else "-",
                item.verdict,
                f"{median(left):.1f} ({len(left)} cases)" if left else "-",
                f"{item.redundancy:.0%}",
            )
        )
    return PlainTable("How far modalities lie apart", columns, tuple(rows))


def _distance(mm: float, resolution_mm: float) -> str:
    return f"{mm:.1f}" if mm >= resolution_mm else f"below {resolution_mm:.1f}"


def _grids(cases: Sequence[CaseFacts]) -> PlainTable:
    measured: tuple[tuple[str, list[tuple[float, float, float]]], ...] = (
        ("shape", [case.shape for case in cases]),
        ("cropped shape", [case.cropped_shape for case in cases]),
        ("spacing mm", [case.spacing_mm for case in cases]),
    )
    rows: list[tuple[str, ...]] = []
    for name, values in measured:
        axes = list(zip(*values, strict=True))
        rows.append((name, *(_by([pick(axis) for axis in axes]) for pick in (min, median, max))))
    kept = [case.crop_fraction for case in cases]
    rows.append(("kept by the crop", *(f"{pick(kept):.0%}" for pick in (min, median, max))))
    title = "Grids of the reference modality (z, y, x)"
    return PlainTable(title, ("", "smallest", "median", "largest"), tuple(rows))


def _own_grids(fingerprint: Fingerprint) -> PlainTable:
    columns = ("name", "own grid in", "median shape", "median spacing mm", "sees (median)", "sees (least)")
    rows = []
    for channel, name in enumerate(fingerprint.modalities):
        grids = [grid for case in fingerprint.cases if case.grids and (grid := case.grids[channel]) is not None]
        if not grids:
            continue
        shapes, steps = (list(zip(*values, strict=True)) for values in _columns(grids))
        seen = [grid.overlap for grid in grids]
        rows.append(
            (
                name + (" (reference)" if channel == fingerprint.reference else ""),
                f"{sum(not grid.same for grid in grids)} of {len(grids)}",
                _by([median(axis) for axis in shapes]),
                _by([median(axis) for axis in steps]),
                f"{median(seen):.0%}",
                f"{min(seen):.0%}",
            )
        )
    return PlainTable(
        "Grids of each modality, and how much of the reference field of view it sees", columns, tuple(rows)
    )


def _columns(grids: Sequence[Any]) -> tuple[list[tuple[float, ...]], list[tuple[float, ...]]]:
    return [grid.shape for grid in grids], [grid.spacing_mm for grid in grids]


def _classes(fingerprint: Fingerprint) -> PlainTable:
    labelled = [case for case in fingerprint.cases if case.annotation != "none"]
    sparse = any(case.annotation == "sparse" for case in labelled)
    columns = ("name", "cases", "absent in", "volume ml", "components", "their ml", "share of the image")
    rows = []
    for index, item in enumerate(fingerprint.classes):
        sizes = [case.class_component_ml[index] for case in labelled if case.class_component_ml]
        shown = [size for size in sizes if size[2] > 0]
        pieces = f"{median(s[0] for s in shown):.2g} to {median(s[2] for s in shown):.2g}" if shown else "-"
        covers = [case.class_cover[index] for case in labelled if case.class_cover and case.class_cover[index] > 0]
        rows.append(
            (
                item.name,
                str(item.cases),
                str(len(labelled) - item.cases),
                f"{item.volume_ml_median:.4g}",
                f"{item.components_median:g}",
                pieces,
                f"{item.volume_fraction_mean:.3%}",
                *((f"{median(covers):.0%}" if covers else "-",) if sparse else ()),
            )
        )
    kind = "Regions" if fingerprint.has_regions else "Classes"
    title = f"{kind} (medians over the cases that have them)"
    return PlainTable(title, (*columns, *(("strokes cover",) if sparse else ())), tuple(rows))


def _by(values: Sequence[float]) -> str:
    return " x ".join(f"{value:.4g}" for value in values)
