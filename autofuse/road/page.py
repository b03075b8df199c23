"""The report: one HTML page on a data set, its plan, its runs and their scores. Only reads, but for the page itself."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from autofuse.foundation.console import log, progress, say
from autofuse.foundation.errors import AutofuseError, DataError, UsageError
from autofuse.foundation.values import Value
from autofuse.foundation.workspace import Workspace
from autofuse.road.places import dataset_folder, workspace_of

if TYPE_CHECKING:
    from autofuse.report.page import Section
    from autofuse.road.page_sources import Sources

PAGE_FILE = "report.html"
"""In the workspace's report folder."""


class WrittenPage(Value):
    """The page of a report.

    Attributes:
        path: absolute; sections: their titles, in order.
        left_out: what is not in the page, and why.
    """

    path: str
    size_bytes: int
    sections: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    seconds: float


def report(
    dataset: str | Path,
    *,
    workspace: str | Path | None = None,
    run: str | None = None,
    out: str | Path | None = None,
    anonymous: bool = False,
    pictures: bool = True,
) -> WrittenPage:
    """Where the page was written, and what is in it; it tells as much as the workspace holds by now.

    Args:
        run: whose held-out cases are shown and told first (the newest finished run if None).
        out: file of the page; None for the workspace's report folder.
        anonymous: number cases and subjects instead of naming them.
        pictures: show voxels; without, only numbers and drawings.

    Raises:
        DataError: if the data set was never measured.
        ModelError: if what was measured is damaged, or there is no such run.
        UsageError: if ``out`` is a folder.
    """
    place = workspace_of(dataset, workspace)
    if not place.fingerprint.exists():
        folder = dataset_folder(dataset)
        raise DataError(
            "This data set was never measured: there is nothing to report.",
            file=place.fingerprint,
            remedy=f"autofuse fingerprint {folder}, or autofuse run {folder}",
        )
    target = _target(place, out)
    return write_page(place, dataset, target, run=run, anonymous=anonymous, pictures=pictures)


def write_page(
    place: Workspace,
    dataset: str | Path,
    target: Path,
    *,
    run: str | None = None,
    anonymous: bool = False,
    pictures: bool = True,
) -> WrittenPage:
    """The same for a workspace that was measured."""
    from autofuse.foundation.files import write_bytes
    from autofuse.report.page import Page, render
    from autofuse.road.page_sources import gather_sources

    started = time.monotonic()
    sources = gather_sources(place, dataset, run=run, anonymous=anonymous, pictures=pictures)
    sections = _sections(sources)
    page = Page(
        title=f"{sources.name}: report",
        subtitle=f"Made by autofuse on {_now()}. {_kept_in_the_house(anonymous)}",
        facts=sources.facts(),
        warnings=tuple(sources.warnings),
        sections=tuple(sections),
        ending="This file holds all of its pictures, loads nothing from a network, and can be printed.",
    )
    content = render(page).encode()
    write_bytes(target, content)
    return WrittenPage(
        path=str(target),
        size_bytes=len(content),
        sections=tuple(section.title for section in sections),
        left_out=tuple(sources.left_out),
        seconds=round(time.monotonic() - started, 2),
    )


def add_page(place: Workspace, dataset: str | Path, run: str) -> WrittenPage | None:
    """The page at the end of a run; None, and a word in the log, if it fails: it must not cost the run."""
    try:
        made = write_page(place, dataset, place.report / PAGE_FILE, run=run)
    except Exception as error:
        log().warning("The report was not written: %s", error, exc_info=True)
        say(f"The report was not written ({error}); `autofuse report` tries again.")
        return None
    say(f"The report: {made.path}")
    return made


def _target(place: Workspace, out: str | Path | None) -> Path:
    if out is None:
        return place.report / PAGE_FILE
    target = Path(os.path.abspath(out))  # noqa: PTH100  (as everywhere: links keep their names)
    if target.is_dir():
        raise UsageError(
            "The report is one file, and this is a folder.", found=str(out), expected="a name ending .html"
        )
    return target


def _sections(sources: Sources) -> list[Section]:
    """All parts, one after the other; a part that fails says so in its place."""
    from autofuse.road import page_parts as parts
    from autofuse.road.page_fused import fused

    made: list[Section] = []
    todo: tuple[tuple[str, Callable[[Sources], Section | None]], ...] = (
        ("The data", parts.data),
        ("What was decided, and why", parts.plan),
        ("Training", parts.training),
        ("Scores", parts.scores),
        ("Best, median and worst case", parts.cases),
        ("Fused images", fused),
        ("Calibration", parts.calibration),
        ("Ensemble", parts.ensemble),
        ("Where it comes from", parts.provenance),
    )
    with progress("Writing the report", len(todo)) as advance:
        for title, make in todo:
            section = _tried(title, make, sources)
            if section is not None:
                made.append(section)
            advance(1, title)
    return made


def _tried(title: str, make: Callable[[Sources], Section | None], sources: Sources) -> Section | None:
    from autofuse.report.page import Section, Words

    try:
        return make(sources)
    except (AutofuseError, OSError, ValueError, KeyError, IndexError) as error:
        log().warning("The part %r of the report failed: %s", title, error, exc_info=True)
        words = "This part could not be made" + ("." if sources.aliases.hide else f": {sources.said(str(error))}")
        return Section(make.__name__, title, (Words(words, warns=True),))


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _kept_in_the_house(anonymous: bool) -> str:
    if anonymous:
        return "Cases and subjects are numbered; pictures of voxels are still those of patients."
    return "It names cases: keep it where the images may be."
