"""A fingerprint for people: grids, annotation, modalities and classes in tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from autofuse.fingerprint.types import CaseFacts, Fingerprint

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table


def to_rich(fingerprint: Fingerprint) -> Group:
    """A headline, grids, modalities and classes."""
    from rich.console import Group
    from rich.text import Text

    parts: list[Any] = [Text(_headline(fingerprint), style="bold"), Text(_annotation(fingerprint.cases)), Text()]
    parts += [_grids(fingerprint.cases), _modalities(fingerprint), _classes(fingerprint)]
    return Group(*parts)


def _headline(fingerprint: Fingerprint) -> str:
    subjects = len({case.subject for case in fingerprint.cases})
    return (
        f"{fingerprint.dataset}: {len(fingerprint.cases)} cases of {subjects} subjects, "
        f"{len(fingerprint.modalities)} modalities (fingerprint {fingerprint.digest()[:8]})"
    )


def _annotation(cases: Sequence[CaseFacts]) -> str:
    counts = Counter(str(case.annotation) for case in cases)
    names = {"dense": "densely labelled", "sparse": "sparsely labelled", "none": "unlabelled"}
    text = ", ".join(f"{counts[kind]} {name}" for kind, name in names.items() if counts[kind])
    sparse = [case.labelled_fraction for case in cases if case.annotation == "sparse"]
    return text + (f" (median {median(sparse):.2%} of their voxels)" if sparse else "")


def _grids(cases: Sequence[CaseFacts]) -> Table:
    from rich.table import Table

    table = Table(title="Grids (z, y, x)", title_justify="left")
    for column in ("", "smallest", "median", "largest"):
        table.add_column(column)
    rows: tuple[tuple[str, list[tuple[float, float, float]]], ...] = (
        ("shape", [case.shape for case in cases]),
        ("cropped shape", [case.cropped_shape for case in cases]),
        ("spacing mm", [case.spacing_mm for case in cases]),
    )
    for name, values in rows:
        axes = list(zip(*values, strict=True))
        table.add_row(name, *(_by([pick(axis) for axis in axes]) for pick in (min, median, max)))
    kept = [case.crop_fraction for case in cases]
    table.add_row("kept by the crop", *(f"{pick(kept):.0%}" for pick in (min, median, max)))
    return table


def _modalities(fingerprint: Fingerprint) -> Table:
    from rich.table import Table

    table = Table(title="Modalities (intensities inside labelled foreground)", title_justify="left")
    for column in ("name", "missing", "mean ± std", "0.5 %", "median", "99.5 %", "voxels"):
        table.add_column(column, justify="left" if column == "name" else "right")
    for name, rate, facts in zip(
        fingerprint.modalities, fingerprint.missing_rates, fingerprint.intensities, strict=True
    ):
        numbers = (facts.percentile_00_5, facts.median, facts.percentile_99_5)
        spread = f"{facts.mean:.4g} ± {facts.std:.4g}"
        table.add_row(name, f"{rate:.0%}", spread, *(f"{value:.4g}" for value in numbers), f"{facts.voxels:,}")
    return table


def _classes(fingerprint: Fingerprint) -> Table:
    from rich.table import Table

    kind = "Regions" if fingerprint.has_regions else "Classes"
    table = Table(title=f"{kind} (medians over the cases that have them)", title_justify="left")
    for column in ("name", "cases", "volume ml", "components", "share of the image"):
        table.add_column(column, justify="left" if column == "name" else "right")
    for item in fingerprint.classes:
        share = f"{item.volume_fraction_mean:.3%}"
        table.add_row(item.name, str(item.cases), f"{item.volume_ml_median:.4g}", f"{item.components_median:g}", share)
    return table


def _by(values: Sequence[float]) -> str:
    return " x ".join(f"{value:.4g}" for value in values)
