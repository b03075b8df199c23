"""What is unusual about a data set, in words, the most serious first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from autofuse.fingerprint.apart import PairSummary, aligned_within_mm, little_agreement, reliable_pairs, summaries
from autofuse.fingerprint.types import CaseFacts, Fingerprint

NAMED_AT_MOST = 5
"""Cases that a sentence names."""
NEARLY_THE_SAME = 0.7
"""Redundancy from which two modalities are nearly one image. Sequences of one MR scanner measure 0.3 to 0.45."""
MANY_PIECES = 20
"""Connected components of a class in the median case from which that is pointed out."""
SPACINGS_APART = 3.0
"""Factor between the coarsest and the finest spacing of an axis over cases from which that is pointed out."""


def oddities(fingerprint: Fingerprint) -> tuple[str, ...]:
    """Sentences; none for complete, aligned, densely labelled cases on grids of one kind."""
    return (
        *_strangers(fingerprint),
        *_apart(fingerprint),
        *_missing(fingerprint),
        *_grids(fingerprint),
        *_annotation(fingerprint),
        *_classes(fingerprint),
        *_redundant(fingerprint),
        *_spacings(fingerprint.cases),
    )


def named(cases: Sequence[str]) -> str:
    """A few ids, and how many more."""
    more = len(cases) - NAMED_AT_MOST
    return ", ".join(cases[:NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")


def _strangers(fingerprint: Fingerprint) -> Iterator[str]:
    names = fingerprint.modalities
    for case, pair, usual in little_agreement(fingerprint.cases):
        yield (
            f"{case}: {names[pair.fixed]} and {names[pair.moving]} agree far less than in other cases "
            f"({pair.agreement - 1:.2f}, usually {usual:.2f}). Two different patients, or a damaged image?"
        )


def _apart(fingerprint: Fingerprint) -> Iterator[str]:
    limit_mm = aligned_within_mm(fingerprint.cases)
    strange = {(case, pair.fixed, pair.moving) for case, pair, _ in little_agreement(fingerprint.cases)}
    for item in summaries(fingerprint.cases):
        pair = f"{fingerprint.modalities[item.fixed]} and {fingerprint.modalities[item.moving]}"
        if item.verdict == "cannot be told":
            yield f"{pair} say too little about each other: their displacement cannot be measured."
        elif item.median_mm > limit_mm:
            yield f"{pair} lie {item.median_mm:.1f} mm apart in the median case.{_trial(fingerprint, item, limit_mm)}"
        else:
            far = [
                f"{case.id} ({found.distance_mm:.1f} mm)"
                for case in fingerprint.cases
                for found in reliable_pairs(case)
                if (found.fixed, found.moving) == (item.fixed, item.moving) and found.distance_mm > limit_mm
                if (case.id, found.fixed, found.moving) not in strange
            ]
            if far:
                yield f"{pair} lie apart in {len(far)} of {item.cases} cases: {named(far)}."


def _trial(fingerprint: Fingerprint, pair: PairSummary, limit_mm: float) -> str:
    trials = [item for item in fingerprint.registrations if (item.fixed, item.moving) == (pair.fixed, pair.moving)]
    if not trials:
        return ""
    mended = sum(item.after_mm <= limit_mm for item in trials)
    return f" A rigid transform brings {mended} of {len(trials)} tried cases below {limit_mm:.1f} mm."


def _missing(fingerprint: Fingerprint) -> Iterator[str]:
    count = len(fingerprint.cases)
    if len(fingerprint.modalities) > 1 and all(sum(case.present) == 1 for case in fingerprint.cases):
        yield "No case has two modalities: the data are unpaired."
        return
    for name, rate in zip(fingerprint.modalities, fingerprint.missing_rates, strict=True):
        if rate:
            yield f"{name} is missing in {round(rate * count)} of {count} cases."


def _grids(fingerprint: Fingerprint) -> Iterator[str]:
    for channel, name in enumerate(fingerprint.modalities):
        having = [case for case in fingerprint.cases if case.grids and case.grids[channel] is not None]
        own = [case for case in having if (grid := case.grids[channel]) is not None and not grid.same]
        if own:
            seen = [case.overlap(channel) for case in own]
            yield (
                f"{name} lies on a grid of its own in {len(own)} of {len(having)} cases, "
                f"and sees {median(seen):.0%} of the reference field of view there (least {min(seen):.0%})."
            )


def _annotation(fingerprint: Fingerprint) -> Iterator[str]:
    cases = fingerprint.cases
    unlabelled = [case.id for case in cases if case.annotation == "none"]
    sparse = [case for case in cases if case.annotation == "sparse"]
    if unlabelled:
        yield f"{len(unlabelled)} of {len(cases)} cases have no label."
    if sparse:
        share = median(case.labelled_fraction for case in sparse)
        yield f"{len(sparse)} of {len(cases)} cases are labelled in part only: {share:.2%} of the voxels in the median."
    carriers = {case.mask_modality for case in cases if case.mask_modality is not None and all(case.present)}
    if len(carriers) > 1 and any(grid is not None and not grid.same for case in cases for grid in case.grids):
        names = ", ".join(fingerprint.modalities[channel] for channel in sorted(carriers))
        yield f"Masks lie on the grids of different modalities: {names}."


def _classes(fingerprint: Fingerprint) -> Iterator[str]:
    labelled = [case for case in fingerprint.cases if case.annotation != "none"]
    for index, item in enumerate(fingerprint.classes):
        lacking = [case.id for case in labelled if not case.class_voxels[index]]
        if labelled and len(lacking) == len(labelled):
            yield f"{item.name} occurs in no case."
        elif lacking:
            yield f"{item.name} is absent in {len(lacking)} of {len(labelled)} labelled cases: {named(lacking)}."
        if item.components_median >= MANY_PIECES and any(case.annotation == "dense" for case in labelled):
            yield f"{item.name} lies in {item.components_median:.0f} pieces in the median case."


def _redundant(fingerprint: Fingerprint) -> Iterator[str]:
    for item in summaries(fingerprint.cases):
        if item.redundancy >= NEARLY_THE_SAME:
            pair = f"{fingerprint.modalities[item.fixed]} and {fingerprint.modalities[item.moving]}"
            yield f"{pair} show nearly the same ({item.redundancy:.0%}): is the second worth its cost?"


def _spacings(cases: Sequence[CaseFacts]) -> Iterator[str]:
    for axis, name in enumerate("zyx"):
        steps = [case.spacing_mm[axis] for case in cases]
        if max(steps) > SPACINGS_APART * min(steps):
            yield f"Spacing along {name} runs from {min(steps):.3g} to {max(steps):.3g} mm."
