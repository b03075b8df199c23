"""The part of the report on where it all comes from: versions, files with their digests and dates, command lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autofuse.foundation.plain_table import PlainTable
from autofuse.report.page import Block, Commands, Heading, Numbers, Points, Section, Words


@dataclass(frozen=True)
class Artefact:
    """A file of the workspace.

    Attributes:
        path: relative to the workspace's folder; written: when, UTC.
        digest: of its value; empty where it has none.
        by: version of autofuse that made it, where it says so.
    """

    path: str
    written: str
    digest: str = ""
    by: str = ""


def provenance_section(
    versions: Sequence[tuple[str, str]],
    artefacts: Sequence[Artefact],
    commands: Sequence[str],
    left_out: Sequence[str] = (),
) -> Section:
    """Versions of what is installed, the values in the workspace, and commands that make the same again.

    Args:
        left_out: what is not in this report, and why.
    """
    rows = tuple((item.path, item.written, item.digest, item.by) for item in artefacts)
    blocks: list[Block] = [
        Numbers(PlainTable("Installed where this page was made", ("name", "version"), tuple(versions))),
        Numbers(
            PlainTable(
                "Files, relative to the workspace's folder of this data set",
                ("file", "written (UTC)", "digest", "by"),
                rows,
                words=frozenset({0, 3}),
                note="The digest is of the value in the file; by: the versions that began a run.",
            )
        ),
    ]
    if commands:
        blocks += [
            Heading("The same again"),
            Words("From what is written down in the workspace; what the machine decides may differ elsewhere."),
            Commands(tuple(commands)),
        ]
    if left_out:
        blocks += [Heading("Not in this page"), Points(tuple(left_out))]
    return Section("provenance", "Where it comes from", tuple(blocks))
