"""A plan as a clinician would want it told: what the data are, what is unusual, how images are fused, what teaches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod
from statistics import median

from autofuse.fingerprint.types import CaseFacts, Fingerprint, PairFacts
from autofuse.plan.types import Plan

APART_MM = 2.0
"""Images that lie further apart than this, and than a voxel, are worth a word."""
THICK = 3.0
"""Slices so many times thicker than a pixel is wide are worth a word."""
FEW_CASES = 10
"""With fewer outlined cases, scores are uncertain."""
_WORST_SHARE = 0.9
_WHOLE = 0.99

_TOPOLOGIES = {
    "early": "All images of a case enter one network together, voxel on voxel.",
    "stems": "Each image first passes through a stem of its own, and a gate weighs what is there: an image that is "
    "absent is left out, never taken for zeros.",
    "specific_shared": "Each image has an encoder of its own beside one that all share.",
    "per_modality": "Each image has an encoder of its own, and what they find is merged where voxels are coarse: there "
    "a displacement matters little.",
    "image_level": "A fused image that a person can read is made first, and that is segmented.",
    "shared_kernels": "Each image is read alone by the same filters, with intensities normalised for its kind.",
    "late": "Each image is segmented alone, and the probabilities are merged.",
}
_TRAINERS = {
    "supervised": "The outlines teach the network voxel by voxel.",
    "partial": "Only voxels that somebody labelled teach; the others are neither right nor wrong.",
    "self_training": "A model that learned from the outlines labels the other cases, and learns from where it is sure.",
    "collaboration": "The outlines teach, and on all cases what is found in one image must agree with the others.",
    "cmfnet": "The strokes teach, and what each image shows must agree with the others where nobody drew.",
}


def tell(plan: Plan, fingerprint: Fingerprint) -> tuple[str, ...]:
    """Short paragraphs: the data, what is unusual about them, fusion, supervision, length. Measured numbers only."""
    paragraphs = (_data, _unusual, _fusion, _supervision, _length)
    return tuple(paragraph(plan, fingerprint) for paragraph in paragraphs)


def _data(plan: Plan, fingerprint: Fingerprint) -> str:
    cases, names = fingerprint.cases, fingerprint.modalities
    patients = len({case.subject for case in cases})
    per_case = f"one image each ({names[0]})" if len(names) == 1 else f"up to {len(names)} images each: {_and(names)}"
    shape = _by(median(case.shape[axis] for case in cases) for axis in range(3))
    spacing = _by(median(case.spacing_mm[axis] for case in cases) for axis in range(3))
    sought = [
        f"{item.name} ({item.volume_ml_median:.3g} ml at the median)" if item.cases else item.name
        for item in fingerprint.classes
    ]
    return (
        f"{fingerprint.dataset} holds {_count(len(cases), 'case')} of {_count(patients, 'patient')}, with {per_case}. "
        f"A typical case has {shape} voxels of {spacing} mm. To be found: {_and(sought)}."
    )


def _unusual(plan: Plan, fingerprint: Fingerprint) -> str:
    kinds = (_missing, _grids, _apart, _own_masks, _annotation, _absent_classes, _thick)
    found = [sentence for kind in kinds for sentence in kind(fingerprint)]
    if not found:
        several = len(fingerprint.modalities) > 1
        usual = ["every case has every image, on one grid" if several else "every case has its image"]
        distances = [pair.distance_mm for case in fingerprint.cases for pair in case.pairs if pair.reliable]
        usual += [f"images lie within {max(distances):.1f} mm of each other"] if distances else []
        usual.append("every case is outlined in full")
        return f"Nothing about them is unusual: {_and(usual)}."
    return "Worth knowing: " + " ".join(found)


def _missing(fingerprint: Fingerprint) -> Iterator[str]:
    total = len(fingerprint.cases)
    lacking = [
        f"{name} in {count} of {total} cases"
        for index, name in enumerate(fingerprint.modalities)
        if (count := sum(not case.present[index] for case in fingerprint.cases))
    ]
    if lacking:
        yield f"Images are missing: {_and(lacking)}."


def _grids(fingerprint: Fingerprint) -> Iterator[str]:
    for index, name in enumerate(fingerprint.modalities):
        own = [(case, grid) for case in fingerprint.cases if case.grids and (grid := case.grids[index])]
        own = [(case, grid) for case, grid in own if not grid.same]
        if own:
            spacing = _by(median(grid.spacing_mm[axis] for _, grid in own) for axis in range(3))
            covers = sorted(grid.overlap for _, grid in own)
            yield (
                f"{name} lies on a grid of its own in {_count(len(own), 'case')} (voxels of {spacing} mm along its own "
                f"axes) and shows {median(covers):.0%} of the reference image's field of view"
                + (f", at worst {covers[0]:.0%}." if covers[0] < median(covers) - 0.01 else ".")
            )


def _own_masks(fingerprint: Fingerprint) -> Iterator[str]:
    counts = fingerprint.labelled_per_modality
    if counts:
        told = [f"{name} in {_count(k, 'case')}" for name, k in zip(fingerprint.modalities, counts, strict=True)]
        yield f"Each image has outlines of its own, drawn where it shows things: {_and(told)}."


def _apart(fingerprint: Fingerprint) -> Iterator[str]:
    voxel = median(max(case.spacing_mm) for case in fingerprint.cases)
    for index, name in enumerate(fingerprint.modalities):
        measured = _pairs(fingerprint, lambda pair, moving=index: pair.moving == moving)  # type: ignore[misc]
        ordered = sorted((pair.distance_mm, case.id, pair.fixed) for case, pair in measured)
        if ordered and _worst_tenth(ordered)[0] > max(APART_MM, voxel):
            distance, worst, fixed = ordered[-1]
            middle = median(item[0] for item in ordered)
            yield (
                f"{name} lies {middle:.1f} mm from {fingerprint.modalities[fixed]} at the median, and "
                f"{distance:.1f} mm in the worst case ({worst})."
            )
    doubtful = {case.id for case in fingerprint.cases for pair in case.pairs if not pair.reliable}
    if doubtful:
        yield f"How far the images lie apart could not be told in {_count(len(doubtful), 'case')}."


def _annotation(fingerprint: Fingerprint) -> Iterator[str]:
    total = len(fingerprint.cases)
    sparse = [case.labelled_fraction for case in fingerprint.cases if case.annotation == "sparse"]
    bare = sum(case.annotation == "none" for case in fingerprint.cases)
    if sparse:
        share = median(sparse)
        yield f"{len(sparse)} of {total} cases are labelled in part only: {share:.1%} of the voxels, at the median."
    if bare:
        yield f"{bare} of {total} cases have no outline."
    if total - bare < FEW_CASES:
        yield f"With {_count(total - bare, 'case')} outlined, scores will be uncertain."


def _absent_classes(fingerprint: Fingerprint) -> Iterator[str]:
    labelled = sum(case.annotation != "none" for case in fingerprint.cases)
    rare = [f"{item.name} in {labelled - item.cases}" for item in fingerprint.classes if item.cases < labelled]
    if rare:
        yield f"Not every outlined case shows everything; of {labelled} cases there is no {_and(rare, 'no')}."


def _thick(fingerprint: Fingerprint) -> Iterator[str]:
    thick = [max(case.spacing_mm) / min(case.spacing_mm) for case in fingerprint.cases]
    if median(thick) > THICK and not fingerprint.slices_only:
        yield f"Slices are {median(thick):.1f} times further apart than pixels."


def _fusion(plan: Plan, fingerprint: Fingerprint) -> str:
    if len(plan.modalities) == 1:
        return "There is one image a case, so nothing has to be fused."
    network, reference = plan.named(plan.configuration).network, plan.modalities[plan.reference]
    parts = []
    if plan.registration is not None:
        parts.append(f"Every image is first moved and rotated, not bent, onto {reference}.{_trials(fingerprint)}")
    if any(grid is not None and not grid.same for case in fingerprint.cases for grid in case.grids):
        parts.append(
            f"Images on other grids are resampled onto that of {reference}; where one sees nothing, it counts as "
            "absent."
        )
    parts.append(_TOPOLOGIES.get(network.topology, f"Images are fused by {network.topology}."))
    if network.modality_dropout:
        parts.append(
            f"While training, images are left out at random (with probability {network.modality_dropout:g}), so that "
            "the model can do without them."
        )
    return " ".join([*parts, *_reason(plan, "topology")])


def _trials(fingerprint: Fingerprint) -> str:
    trials = fingerprint.registrations
    if not trials:
        return ""
    before, after = (
        median(values) for values in zip(*((item.before_mm, item.after_mm) for item in trials), strict=True)
    )
    return f" A trial on {_count(len(trials), 'pair')} brought the distance from {before:.1f} to {after:.1f} mm."


def _supervision(plan: Plan, fingerprint: Fingerprint) -> str:
    parts = [_TRAINERS.get(plan.trainer.name, f"The network is taught by the method {plan.trainer.name}.")]
    parts += _reason(plan, "trainer")
    if plan.far_background:
        parts.append("Places out of reach of every stroke teach what background is.")
    for other in plan.challengers:
        how = other.trainer.name + (f" with {other.topology}" if other.topology else "")
        parts.append(f"{how} could do better: {other.because.rstrip('.')}.")
    return " ".join(parts)


def _length(plan: Plan, fingerprint: Fingerprint) -> str:
    chosen = plan.named(plan.configuration)
    shape = chosen.median_shape[-chosen.dimensions :]
    share = min(1.0, prod(min(size, case) / case for size, case in zip(chosen.patch, shape, strict=True)))
    what = "slice" if chosen.dimensions == 2 else "case"
    seen = "the whole" if share > _WHOLE else f"{share:.0%}"
    text = f"Training one fold takes {plan.steps:,} steps"
    if chosen.seconds_per_step is not None:
        text += f", about {_count(max(1, round(plan.steps * chosen.seconds_per_step / 60)), 'minute')} on this machine"
    return (
        f"{text}. Each step shows {_count(chosen.batch, 'piece')} of {_by(chosen.patch)} voxels, {seen} of a typical "
        f"{what}, and needs about {chosen.memory_gib:.1f} GiB of memory."
    )


def _reason(plan: Plan, what: str) -> list[str]:
    """The rule behind a decision, as a sentence."""
    return [f"The reason: {item.rule.rstrip('.')}." for item in plan.decisions if item.what == what]


def _pairs(fingerprint: Fingerprint, wanted: Callable[[PairFacts], bool]) -> list[tuple[CaseFacts, PairFacts]]:
    return [(case, pair) for case in fingerprint.cases for pair in case.pairs if pair.reliable and wanted(pair)]


def _worst_tenth(ordered: Sequence[tuple[float, str, int]]) -> tuple[float, str, int]:
    return ordered[min(len(ordered) - 1, int(_WORST_SHARE * len(ordered)))]


def _count(number: int, noun: str) -> str:
    return f"one {noun}" if number == 1 else f"{number} {noun}s"


def _and(parts: Sequence[str], before_last: str = "") -> str:
    *first, last = parts
    joint = f" and {before_last} " if before_last else " and "
    return joint.join([", ".join(first), last]) if first else last


def _by(values: Iterator[float] | Sequence[float]) -> str:
    return " x ".join(f"{value:.3g}" if value < 1000 else f"{value:.0f}" for value in values)
