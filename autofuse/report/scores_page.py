"""The scores of one folder of masks as one HTML page that needs nothing else."""

from __future__ import annotations

from autofuse.evaluation.table import lesion_table
from autofuse.evaluation.types import Scores
from autofuse.report.page import Numbers, Page, Points, Section, render
from autofuse.report.scores_section import Judged, scores_section


def scores_page(scores: Scores, dataset: str) -> str:
    """The page as HTML text; ``dataset`` is its name."""
    cases = len(scores.cases)
    sections = [scores_section([Judged(f"Scores of {cases} case{'' if cases == 1 else 's'}", scores)])]
    if scores.lesions is not None:
        sections.append(Section("lesions", "Lesion by lesion", (Numbers(lesion_table(scores)),)))
    if scores.regions:
        united = tuple(f"{item.name} = {', '.join(map(str, item.raw_values))}" for item in scores.regions)
        sections.append(Section("regions", "Regions, as unions of label values", (Points(united),)))
    page = Page(
        title=f"Scores on {dataset}",
        subtitle=", ".join(item.name for item in scores.classes),
        facts=(
            ("mean Dice", "-" if scores.mean_dice is None else f"{scores.mean_dice:.3f}"),
            ("cases", str(cases)),
            ("subjects", str(scores.subjects)),
            ("failed", str(len(scores.failed))),
        ),
        sections=tuple(sections),
        warnings=(f"{len(scores.failed)} cases have no score and are in no mean.",) if scores.failed else (),
        ending="Made by autofuse.",
    )
    return render(page)
