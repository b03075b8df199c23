"""The part of the report on the data: counts, grids, which images there are, how they lie, what is annotated."""

from __future__ import annotations

from collections.abc import Sequence

from autofuse.fingerprint.apart import reliable_pairs
from autofuse.fingerprint.oddities import oddities
from autofuse.fingerprint.show import annotation, tables
from autofuse.fingerprint.types import Fingerprint
from autofuse.report.embedded import embedded_png
from autofuse.report.matrices import annotation_picture, presence_picture
from autofuse.report.page import Block, Drawing, Drawings, Heading, Numbers, Pictures, Points, Section, Words
from autofuse.report.strip_chart import Strip, described, strip_chart

MOST_PAIRS = 24
"""Of modalities, whose distances are drawn."""


def data_section(
    fingerprint: Fingerprint, story: Sequence[str] = (), shown: Sequence[Pictures] = (), *, pictures: bool = True
) -> Section:
    """What was measured.

    Args:
        story: paragraphs about the data, where a plan tells them.
        shown: slices of some cases, and images laid over each other, where they were drawn.
        pictures: draw presence and annotation.
    """
    blocks: list[Block] = [Words(paragraph) for paragraph in story or (_counted(fingerprint),)]
    blocks += [Words(f"Annotation: {annotation(fingerprint.cases)}."), Heading("What is unusual")]
    found = oddities(fingerprint)
    blocks.append(Points(found) if found else Words("Nothing."))
    blocks.append(Heading("In numbers"))
    blocks += [Numbers(table) for table in tables(fingerprint)]
    blocks += _distances(fingerprint)
    if pictures:
        blocks += _matrices(fingerprint)
    return Section("data", "The data", (*blocks, *shown))


def _counted(fingerprint: Fingerprint) -> str:
    subjects = len({case.subject for case in fingerprint.cases})
    return (
        f"{len(fingerprint.cases)} cases of {subjects} subjects with {len(fingerprint.modalities)} modalities: "
        f"{', '.join(fingerprint.modalities)}."
    )


def _matrices(fingerprint: Fingerprint) -> list[Block]:
    """Which images there are, unless that is all of them, and what is annotated, a row per case."""
    shown = []
    if not _complete(fingerprint):
        shown.append(
            embedded_png(
                presence_picture(fingerprint),
                f"A row per case, a column per modality. Missing: {_missing(fingerprint)}.",
                "Filled as far as the modality covers the reference's field of view.",
            )
        )
    annotated = embedded_png(
        annotation_picture(fingerprint),
        f"A row per case with the kind of its annotation and volumes of classes. {annotation(fingerprint.cases)}.",
        "Dense, sparse or none; the labelled share of the voxels; the volume of each class in ml.",
    )
    note = "Every case has every image, whole." if not shown else ""
    return [Pictures("Case by case", note, (*shown, annotated))]


def _complete(fingerprint: Fingerprint) -> bool:
    """Whether every case has every modality, over all of its field of view."""
    channels = range(len(fingerprint.modalities))
    return all(case.overlap(channel) == 1 for case in fingerprint.cases for channel in channels)


def _missing(fingerprint: Fingerprint) -> str:
    rates = zip(fingerprint.modalities, fingerprint.missing_rates, strict=True)
    return ", ".join(f"{name} in {rate:.0%} of the cases" for name, rate in rates if rate) or "nothing"


def _distances(fingerprint: Fingerprint) -> list[Block]:
    """How far modalities lie apart in each case, where that was measured."""
    names = fingerprint.modalities
    apart: dict[tuple[int, int], list[tuple[str, float]]] = {}
    for case in fingerprint.cases:
        for pair in reliable_pairs(case):
            apart.setdefault((pair.fixed, pair.moving), []).append((case.id, pair.distance_mm))
    if not apart:
        return []
    strips = [
        Strip(f"{names[fixed]} - {names[moving]}", tuple(values))
        for (fixed, moving), values in sorted(apart.items())[:MOST_PAIRS]
    ]
    chart = strip_chart(strips, across="distance, mm", description=described(strips))
    caption = "How far two modalities lie apart: a dot per case, and the box of the middle half of the cases."
    if len(apart) > MOST_PAIRS:
        caption += f" The first {MOST_PAIRS} of {len(apart)} pairs."
    return [Drawings((Drawing(chart, caption),))]
