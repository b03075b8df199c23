"""The part of the report on the ensemble: which models are averaged, with which weights, and what speaks for it."""

from __future__ import annotations

from dataclasses import dataclass

from autofuse.foundation.plain_table import PlainTable
from autofuse.report.page import Block, Heading, Numbers, Section, Words


@dataclass(frozen=True)
class EnsembleChoice:
    """A choice as it is to be told.

    Attributes:
        words: sentences: what was chosen, and on which cases.
        members: a row per member, such as its run, folds and weight.
        evidence: further tables, such as candidates with their scores, and post-processing by class.
    """

    words: tuple[str, ...]
    members: PlainTable
    evidence: tuple[PlainTable, ...] = ()


def ensemble_section(choice: EnsembleChoice) -> Section:
    """The choice, its members and its evidence."""
    blocks: list[Block] = [Words(sentence) for sentence in choice.words]
    blocks.append(Numbers(choice.members))
    if choice.evidence:
        blocks.append(Heading("What speaks for it"))
        blocks += [Numbers(table) for table in choice.evidence]
    return Section("ensemble", "Ensemble", tuple(blocks))
