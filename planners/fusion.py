"""How modalities meet: a table of rules, first match wins; what was passed over is recorded with the numbers.

Each row names a topology of ``autofuse.networks``, its condition (a function below) and why. Registration is decided
beside the table: modalities that a rigid transform brings together are registered under every topology that lays
voxels on voxels.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import JsonValue

from autofuse.fingerprint.types import Fingerprint
from autofuse.foundation.errors import DataError
from autofuse.plan.types import Budget, Decision, RegistrationPlan, Triple
from autofuse_planners.absence import Absence, absence_evidence, choose_dropout, measure_absence
from autofuse_planners.alignment import Alignment, measure_alignment
from autofuse_planners.table import Finding, Row, first_match
from autofuse_planners.thresholds import Thresholds

EARLY, STEMS, PER_MODALITY, SHARED_KERNELS = "early", "stems", "per_modality", "shared_kernels"
IMAGE_LEVEL = "image_level"
HEAD_FOR_EACH = (PER_MODALITY, SHARED_KERNELS, "late")
"""Topologies that can find a mask for each modality."""


@dataclass(frozen=True)
class Meeting:
    """What the conditions of the table read."""

    fingerprint: Fingerprint
    budget: Budget
    rules: Thresholds
    absence: Absence
    alignment: Alignment


@dataclass(frozen=True)
class Rival:
    """A topology that may do better than the chosen one, and why."""

    topology: str
    because: str


@dataclass(frozen=True)
class Fusion:
    """How modalities meet.

    Attributes:
        modality_dropout: probability with which training drops each modality.
        registration: how they are brought onto each other before; None where they stay as they are.
        jitter_mm: largest shift of one against the others in augmentation: what registration leaves.
        together: whether voxels of different modalities show the same place.
        rivals: topologies near the border between two rules.
    """

    topology: str
    modality_dropout: float
    registration: RegistrationPlan | None
    jitter_mm: float
    together: bool
    rivals: tuple[Rival, ...]
    decisions: tuple[Decision, ...]


def topology_asked_for(meeting: Meeting) -> Finding:
    """Whether somebody, such as the arbiter, asks for one."""
    return Finding(meeting.budget.topology is not None, f"it is {meeting.budget.topology}")


def masks_of_their_own(meeting: Meeting) -> Finding:
    """Whether each modality has a mask of its own, on its own grid."""
    counts = meeting.fingerprint.labelled_per_modality
    named = zip(meeting.fingerprint.modalities, counts, strict=True) if counts else ()
    told = ", ".join(f"{name} in {count} cases" for name, count in named)
    return Finding(bool(counts), f"masks of {told}")


def one_modality(meeting: Meeting) -> Finding:
    """Whether there is nothing to fuse."""
    count = len(meeting.fingerprint.modalities)
    return Finding(count == 1, f"the data set has {count}")


def never_together(meeting: Meeting) -> Finding:
    """Whether no case shows two modalities of one place."""
    paired, cases = meeting.absence.paired, len(meeting.fingerprint.cases)
    return Finding(not paired, f"{paired} of {cases} cases show two modalities of a common field of view")


def can_be_absent(meeting: Meeting) -> Finding:
    """Whether a modality is missing, optional, expected to be missing, or sees only part of the field of view."""
    reasons = meeting.absence.reasons
    why = "every case has all, each sees the whole field of view, none is optional, and none is expected to be missing"
    return Finding(bool(reasons), "; ".join(reasons) or why)


def fused_image_wanted(meeting: Meeting) -> Finding:
    """Whether a fused image is asked for, of modalities that lie on each other or can be brought there."""
    if not meeting.budget.want_fused:
        return Finding(False, "it was not asked for with --want-fused")
    alignment = meeting.alignment
    why = alignment.told()
    return Finding(not alignment.unmended, why)


def aligned(meeting: Meeting) -> Finding:
    """Whether voxels of different modalities show the same place as they are, or as nearly as can be had."""
    alignment = meeting.alignment
    return Finding(not alignment.displaced and not alignment.mends, alignment.told())


def mended_by_registration(meeting: Meeting) -> Finding:
    """Whether they lie apart, and a rigid transform brings them together."""
    return _apart(meeting, meeting.alignment.mends)


def not_mended(meeting: Meeting) -> Finding:
    """Whether they lie apart and stay so."""
    return _apart(meeting, meeting.alignment.unmended)


def _apart(meeting: Meeting, holds: bool) -> Finding:
    alignment = meeting.alignment
    return Finding(holds, alignment.told())


FUSION_TABLE: tuple[Row[Meeting], ...] = (
    Row("there is one modality", EARLY, "nothing to fuse: one U-Net (nnU-Net Revisited)", one_modality),
    Row(
        "no case shows two modalities of one place",
        SHARED_KERNELS,
        "the same kernels for all, norms for each: a network learns from all cases (Dou 2020)",
        never_together,
    ),
    Row(
        "a modality can be absent, in a case or in part of it",
        STEMS,
        "a stem for each and a gate keep the network able to do without (arXiv 2604.10702)",
        can_be_absent,
    ),
    Row(
        "a fused image that a person can read is asked for, and modalities lie on each other",
        IMAGE_LEVEL,
        "images are fused into one before it is segmented; concatenation would hold more information",
        fused_image_wanted,
    ),
    Row("modalities are aligned", EARLY, "concatenation: best where voxels show the same place (autoPET III)", aligned),
    Row(
        "modalities lie apart and rigid registration mends it",
        EARLY,
        "registered while preparing, then concatenated; training shifts them by what registration left",
        mended_by_registration,
    ),
    Row(
        "modalities lie apart and rigid registration does not mend it",
        PER_MODALITY,
        "an encoder for each, fused where features are coarse enough for the displacement not to matter",
        not_mended,
    ),
)


OWN_MASKS = Row(
    "each modality carries a mask of its own",
    PER_MODALITY,
    "a head for each, taught by its own mask where that lies; one mask for all would be wrong for all but one (CMC)",
    masks_of_their_own,
)
"""The row before all others where the fingerprint says so."""


def choose_fusion(
    fingerprint: Fingerprint,
    budget: Budget,
    target_spacing_mm: Triple,
    rules: Thresholds,
    table: tuple[Row[Meeting], ...] = FUSION_TABLE,
) -> Fusion:
    """The topology of the first row that holds, with registration, modality dropout and rivals."""
    alignment = measure_alignment(fingerprint, target_spacing_mm, rules)
    meeting = Meeting(fingerprint, budget, rules, measure_absence(fingerprint, budget, rules), alignment)
    topology = _topology_decision(meeting, table)
    chosen, decisions = topology.chosen, [topology]
    own = bool(fingerprint.labelled_per_modality)
    registration = RegistrationPlan() if chosen != SHARED_KERNELS and alignment.mends and not own else None
    jitter_mm = round(min(alignment.residual_mm or 0.0, alignment.limit_mm), 2) if registration else 0.0
    dropout = 0.0
    if len(fingerprint.modalities) > 1:
        dropout, dropped = choose_dropout(fingerprint, meeting.absence, chosen != SHARED_KERNELS, rules)
        decisions += [_registration_decision(meeting, registration, jitter_mm), dropped]
    if budget.want_fused:
        decisions.append(_fused_image_decision(meeting, chosen))
    apart = alignment.displaced if own else alignment.unmended
    together = chosen != SHARED_KERNELS and not apart
    return Fusion(chosen, dropout, registration, jitter_mm, together, _rivals(meeting, chosen), tuple(decisions))


def _topology_decision(meeting: Meeting, table: tuple[Row[Meeting], ...]) -> Decision:
    """The topology that is asked for, else that of the first row that holds.

    Raises:
        DataError: if a fused image is asked for by its topology, of modalities that lie apart; or a topology that finds
            one mask only, of modalities that carry their own.
    """
    fingerprint, budget = meeting.fingerprint, meeting.budget
    if fingerprint.labelled_per_modality:
        table = (OWN_MASKS, *table)
    if budget.topology is not None:
        _require_one_place(meeting, budget.topology)
        _require_heads(meeting, budget.topology)
        asked = Row("a topology is asked for", budget.topology, "whatever the rules would choose", topology_asked_for)
        table = (asked, *table)
    verdict = first_match(table, meeting)
    evidence: dict[str, JsonValue] = {"modalities": len(fingerprint.modalities)}
    alternatives = verdict.passed_over
    if len(fingerprint.modalities) > 1:
        evidence |= absence_evidence(fingerprint, meeting.absence) | meeting.alignment.evidence()
        evidence |= {"expect_missing": budget.expect_missing, "want_fused": budget.want_fused}
        if fingerprint.labelled_per_modality:
            named = zip(fingerprint.modalities, fingerprint.labelled_per_modality, strict=True)
            evidence["cases_with_a_mask_of_its_own"] = dict(named)
    else:
        alternatives = ()
    return Decision(
        what="topology", chosen=verdict.row.chosen, rule=verdict.rule, evidence=evidence, alternatives=alternatives
    )


def _require_one_place(meeting: Meeting, topology: str) -> None:
    alignment = meeting.alignment
    if topology != IMAGE_LEVEL or not (alignment.unmended or never_together(meeting).holds):
        return
    apart = "no case shows two modalities of one place" if not alignment.unmended else alignment.told()
    raise DataError(
        "One image cannot be fused of modalities that do not lie on each other: it would show everything twice.",
        found=apart,
        expected=f"voxels of all modalities that show the same place, to {alignment.limit_mm:.1f} mm",
        remedy="Let the rules choose with --topology auto, or register the images first: see `autofuse align`.",
    )


def _require_heads(meeting: Meeting, topology: str) -> None:
    finding = masks_of_their_own(meeting)
    if finding.holds and topology not in HEAD_FOR_EACH:
        raise DataError(
            "A network with one head cannot find a mask for each modality.",
            found=f"topology {topology}; {finding.why}",
            expected=", ".join(HEAD_FOR_EACH),
            remedy="Let the rules choose with --topology auto, or give the data set one label a case.",
        )


def _registration_decision(meeting: Meeting, registration: RegistrationPlan | None, jitter_mm: float) -> Decision:
    alignment, names = meeting.alignment, meeting.fingerprint.modalities
    evidence = alignment.evidence()
    evidence.pop("displacement_by_pair")
    if registration is None:
        own = bool(meeting.fingerprint.labelled_per_modality)
        reason = "each modality has its own mask where it lies, so nothing has to be moved; "
        return Decision(
            what="registration",
            chosen="none",
            rule=(reason if own else "") + alignment.told(),
            evidence=evidence,
            alternatives=() if alignment.in_question else ("rigid: there is nothing to mend",),
        )
    return Decision(
        what="registration",
        chosen=f"rigid, onto {names[meeting.fingerprint.reference]}, while preparing",
        rule=(
            f"{alignment.distance()}; {alignment.trial()}, and {alignment.share_wanted:.0%} are asked for. "
            f"Training shifts modalities by up to {jitter_mm:g} mm, which is what was left"
        ),
        evidence=evidence | {"jitter_mm": jitter_mm},
        alternatives=("none: voxels laid on each other would show different places",),
    )


def _fused_image_decision(meeting: Meeting, chosen: str) -> Decision:
    """Whether the wish for a fused image is granted; refused with what speaks against it."""
    alignment, absence = meeting.alignment, meeting.absence
    evidence = alignment.evidence() | {"modalities": len(meeting.fingerprint.modalities)}
    if chosen == IMAGE_LEVEL:
        rule = f"it was asked for, and {alignment.distance()}"
        return Decision(what="fused image", chosen="made before segmentation", rule=rule, evidence=evidence)
    if len(meeting.fingerprint.modalities) == 1:
        reason = "there is only one modality"
    elif chosen == SHARED_KERNELS:
        reason = "no case shows two modalities of one place"
    elif meeting.budget.topology is not None:
        reason = f"so was the topology {chosen}"
    elif meeting.fingerprint.labelled_per_modality:
        reason = "each modality carries a mask of its own, and one image would have one mask"
    elif absence.reasons:
        reason = "a modality can be absent: " + "; ".join(absence.reasons)
    else:
        reason = f"{alignment.distance()}; {alignment.trial()}, and a fused image of them would show everything twice"
    return Decision(what="fused image", chosen="refused", rule=f"it was asked for, but {reason}", evidence=evidence)


def _rivals(meeting: Meeting, chosen: str) -> tuple[Rival, ...]:
    """Topologies of the neighbouring rule, where the numbers lie near the border."""
    alignment, absence, rules = meeting.alignment, meeting.absence, meeting.rules
    distance = alignment.residual_mm if alignment.mends else alignment.p90_mm
    text = f"{distance or 0.0:.1f} mm apart is near the limit of {alignment.limit_mm:.1f} mm"
    if meeting.fingerprint.labelled_per_modality:
        return ()
    near = distance is not None and 1 / rules.near_limit < distance / alignment.limit_mm <= rules.near_limit
    if near and chosen in (EARLY, PER_MODALITY):
        return (Rival(PER_MODALITY if chosen == EARLY else EARLY, text),)
    if chosen != STEMS:
        return ()
    rivals = []
    wished = any(meeting.fingerprint.optional) or meeting.budget.expect_missing
    if not wished and rules.missing_rate < absence.missing <= rules.rarely_missing:
        rivals.append(Rival(EARLY, f"only {absence.missing:.1%} of the cases lack a modality"))
    if alignment.unmended:
        rivals.append(Rival(PER_MODALITY, f"{alignment.distance()}; {alignment.trial()}"))
    return tuple(rivals)
