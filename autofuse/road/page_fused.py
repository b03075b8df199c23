"""Fused images in the report: sources, fused image and mask of a few cases, where a run has made any."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autofuse.dataset.types import Case, Dataset
from autofuse.foundation.errors import AutofuseError
from autofuse.road.fusing import FUSED
from autofuse.road.page_parts import MOST_SHOWN
from autofuse.road.page_sources import Sources
from autofuse.road.spreading import evenly

if TYPE_CHECKING:
    from autofuse.report.fused import FusedCase
    from autofuse.report.page import Section


@dataclass(frozen=True)
class _Made:
    """A case, the folder of its mask, and whether that was predicted by a fold that held it out."""

    case: Case
    masks: Path
    held_out: bool


def fused(sources: Sources) -> Section | None:
    """Fused images of held-out cases of the main run, else of test cases; None where there are none."""
    from autofuse.report.cases_section import fused_section

    dataset = sources.dataset
    if not sources.pictures or dataset is None or not sources.main:
        return None
    made = _made(sources, dataset)
    shown: list[FusedCase] = []
    for item in evenly(made, MOST_SHOWN):
        try:
            shown.append(_case(sources, dataset, item))
        except (AutofuseError, OSError, ValueError) as error:
            sources.left_out.append(f"Fused image of {sources.aliases.of(item.case.id)}: {sources.said(str(error))}")
    if not shown:
        return None
    which = "held-out" if made[0].held_out else "test"
    about = (
        f"Images of {len(made)} {which} cases were fused by {sources.main[0].run}. Left to right: the images that were "
        "fused, the fused image, and on it the outline of the mask that was segmented in it, on the slice that shows "
        "most of the mask."
    )
    return fused_section(shown, dataset.labels, about)


def _made(sources: Sources, dataset: Dataset) -> list[_Made]:
    by_id = {case.id: case for case in dataset.cases}
    held_out = [
        _Made(by_id[name], fold.held_out, True) for fold in sources.main for name in fold.plan.held_out if name in by_id
    ]
    folder = sources.place.predictions(sources.main[0].run)
    tests = [_Made(case, folder, False) for case in dataset.test_cases]
    for group in (held_out, tests):
        there = [item for item in group if _path(dataset, item).is_file()]
        if there:
            return there
    return []


def _path(dataset: Dataset, item: _Made) -> Path:
    return item.masks / FUSED / f"{item.case.id}{dataset.file_ending}"


def _case(sources: Sources, dataset: Dataset, item: _Made) -> FusedCase:
    from autofuse.dataset.raw import load_case
    from autofuse.images import read_image
    from autofuse.report.fused import FusedCase
    from autofuse.road.cascade import read_mask
    from autofuse.road.pictures import on_reference_grid

    raw = load_case(dataset, item.case, with_label=False, reference=sources.fingerprint.reference)
    names = [modality.name for modality in dataset.modalities]
    return FusedCase(
        name=sources.aliases.of(item.case.id),
        sources=[(name, on_reference_grid(raw, channel)) for channel, name in enumerate(names)],
        fused=read_image(_path(dataset, item)).voxels,
        mask=read_mask(dataset, item.case, item.masks),
        geometry=raw.geometry,
    )
