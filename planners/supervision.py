"""Which trainer the annotation asks for, and which others may do better: two tables, one default, several challengers.

A row may name a method that is not installed (``Thresholds.available_trainers``). Then a baseline is the default, and
the decision says so.
"""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from autofuse.fingerprint.types import CaseFacts, Fingerprint
from autofuse.foundation.errors import DataError
from autofuse.plan.types import Challenger, Decision, TrainerChoice
from autofuse_planners.table import Finding, Row, Verdict, first_match
from autofuse_planners.thresholds import Thresholds

SUPERVISED, PARTIAL, SELF_TRAINING, COLLABORATION = "supervised", "partial", "self_training", "collaboration"
CMFNET, PSEUDO_LABELS, FUSE4SEG = "cmfnet", "pseudo_labels", "fuse4seg"

TRAININGS = 3
"""Of ``self_training`` with its defaults: two teachers and the student."""

MADE_FOR: dict[str, dict[str, Any]] = {
    CMFNET: {"topology": "specific_shared"},
    PSEUDO_LABELS: {"decoders": 2},
    COLLABORATION: {"topology": "per_modality"},
    FUSE4SEG: {"topology": "image_level"},
}
"""Networks that methods are made for (``topology`` and ``decoders`` of ``Trainer``), which loading them would tell."""


@dataclass(frozen=True)
class Annotated:
    """What the conditions of the tables read.

    Attributes:
        dense, sparse, unlabelled: cases.
        modalities: M; together: whether their voxels show the same place; fused: to one image.
        labelled_share: median share of labelled voxels over sparse cases, None without any.
        cover: the best covered structure's median share of its extent over sparse cases; None where not measured.
        lacking: dense cases in which a class does not occur.
        own_masks: cases in which each modality has a mask of its own; () where one mask is for all.
    """

    dense: int
    sparse: int
    unlabelled: int
    modalities: int
    together: bool
    fused: bool
    labelled_share: float | None
    cover: float | None
    lacking: int
    rules: Thresholds
    own_masks: tuple[int, ...] = ()

    @property
    def labelled(self) -> int:
        """Cases with any label."""
        return self.dense + self.sparse

    @property
    def counts(self) -> str:
        """How many cases of each kind, in words."""
        return f"{self.dense} dense, {self.sparse} sparse, {self.unlabelled} unlabelled cases"


@dataclass(frozen=True)
class Supervision:
    """The default trainer, what may do better, and why."""

    trainer: TrainerChoice
    challengers: tuple[Challenger, ...]
    decision: Decision


def masks_of_their_own(facts: Annotated) -> Finding:
    """Whether modalities carry masks of their own."""
    return Finding(bool(facts.own_masks), f"masks in {' + '.join(map(str, facts.own_masks))} cases by modality")


def fused_and_dense(facts: Annotated) -> Finding:
    """Whether an image is fused that a person can read, and every labelled case is labelled densely."""
    made = "a fused image is made" if facts.fused else "no fused image is made"
    return Finding(facts.fused and facts.dense > 1 and not facts.sparse, f"{made}; {facts.counts}")


def all_dense(facts: Annotated) -> Finding:
    """Whether every voxel of every case is labelled."""
    return Finding(not facts.sparse and not facts.unlabelled, facts.counts)


def mixed(facts: Annotated) -> Finding:
    """Whether sparse labels stand beside dense or absent ones."""
    return Finding(facts.sparse > 0 and facts.dense + facts.unlabelled > 0, facts.counts)


def sparse(facts: Annotated) -> Finding:
    """Whether every case is labelled in part."""
    share = "" if facts.labelled_share is None else f", with {facts.labelled_share:.2%} of the voxels labelled"
    return Finding(facts.sparse > 0 and not facts.dense + facts.unlabelled, facts.counts + share)


def unlabelled_beside_many(facts: Annotated) -> Finding:
    """Whether unlabelled cases stand beside enough labelled ones of modalities that show the same place."""
    return Finding(facts.unlabelled > 0 and _teacher_is_good(facts), f"{facts.counts}{_apart(facts)}")


def unlabelled_beside_few(facts: Annotated) -> Finding:
    """Whether they stand beside few, or beside modalities that do not show the same place."""
    return Finding(facts.unlabelled > 0 and not _teacher_is_good(facts), f"{facts.counts}{_apart(facts)}")


def unlabelled_any(facts: Annotated) -> Finding:
    """Whether any case is unlabelled."""
    return Finding(facts.unlabelled > 0, facts.counts)


def scribbles_on_aligned_modalities(facts: Annotated) -> Finding:
    """Whether labels are sparse, and modalities show the same place, as one alone does."""
    holds = facts.sparse > 0 and (facts.modalities == 1 or facts.together)
    return Finding(holds, f"{facts.sparse} sparse cases, {facts.modalities} modalities{_apart(facts)}")


def thin_scribbles(facts: Annotated) -> Finding:
    """Whether scribbles are few voxels that cover little of each structure."""
    if facts.labelled_share is None:
        return Finding(False, "no case is labelled in part")
    said = f"{facts.labelled_share:.2%} of the voxels are labelled"
    if facts.cover is None:
        return Finding(False, f"{said}; how much of each structure that covers was not measured")
    holds = facts.labelled_share < facts.rules.thin_scribbles and facts.cover < facts.rules.thin_cover
    return Finding(holds, f"{said}, and up to {facts.cover:.0%} of a structure is covered")


def _teacher_is_good(facts: Annotated) -> bool:
    return facts.labelled >= facts.rules.self_training_cases and facts.together


def _apart(facts: Annotated) -> str:
    return "" if facts.together else ", and modalities do not show the same place"


SUPERVISION_TABLE: tuple[Row[Annotated], ...] = (
    Row(
        "a fused image is made, of cases that are labelled densely",
        FUSE4SEG,
        "the image is made to be read and to be segmented from (Fuse4Seg); it is a pyramid of the modalities' "
        "details, since learning to fuse has not won a comparison yet",
        fused_and_dense,
    ),
    Row("every case is densely labelled", SUPERVISED, "Dice and cross-entropy on every voxel", all_dense),
    Row(
        "labels are of several kinds",
        PARTIAL,
        "one run, in which each case contributes what its annotation allows: an unlabelled voxel contributes nothing",
        mixed,
    ),
    Row("every case is labelled in part", PARTIAL, "the loss sees labelled voxels only (ScribbleBench)", sparse),
    Row(
        "unlabelled cases stand beside enough labelled ones",
        SELF_TRAINING,
        "a teacher trained on the labelled ones labels the rest (won FLARE22)",
        unlabelled_beside_many,
    ),
    Row(
        "unlabelled cases stand beside few labelled ones, or modalities do not show the same place",
        SELF_TRAINING,
        "a teacher labels the rest, though it may be a poor one",
        unlabelled_beside_few,
    ),
)
"""Which method is the default; the first row that holds."""

CHALLENGER_TABLE: tuple[Row[Annotated], ...] = (
    Row(
        "labels are sparse, and modalities show the same place",
        CMFNET,
        "alike neighbours and consistent heads tell of voxels that nobody labelled (CmFNet)",
        scribbles_on_aligned_modalities,
    ),
    Row(
        "scribbles are few voxels and cover little of each structure",
        PSEUDO_LABELS,
        "a second branch's labels show how far a structure reaches beyond its strokes",
        thin_scribbles,
    ),
    Row("there are unlabelled cases", SELF_TRAINING, "a teacher may label the unlabelled cases", unlabelled_any),
    Row(
        "unlabelled cases stand beside few labelled ones, or modalities do not show the same place",
        COLLABORATION,
        "modalities teach each other where a teacher is poor (CMC)",
        unlabelled_beside_few,
    ),
)
"""Which methods may do better; every row that holds."""


OWN_MASKS = Row(
    "each modality carries a mask of its own",
    COLLABORATION,
    "each decoder against its own mask (CMC), and modalities agree where they lie on each other: where they lie apart, "
    "that has lost; other methods teach one mask",
    masks_of_their_own,
)
"""The row before all others where the fingerprint says so. It has no challenger: none of them finds several masks."""


def choose_supervision(
    fingerprint: Fingerprint,
    together: bool,
    rules: Thresholds,
    table: tuple[Row[Annotated], ...] = SUPERVISION_TABLE,
    challenger_table: tuple[Row[Annotated], ...] = CHALLENGER_TABLE,
    *,
    fused: bool = False,
) -> Supervision:
    """The trainer of the first row that holds, or a baseline where it is not installed, and its challengers.

    Args:
        together: whether voxels of different modalities show the same place; fused: to one image.

    Raises:
        DataError: if no case has a label, or modalities have masks of their own and nothing is installed that teaches
            them.
    """
    facts = measure_annotation(fingerprint, together, rules, fused=fused)
    if facts.own_masks:
        _require_installed(COLLABORATION, rules)
        table, challenger_table = (OWN_MASKS, *table), ()
    verdict = first_match(table, facts)
    wanted, baseline = verdict.row.chosen, PARTIAL if facts.sparse else SUPERVISED
    installed = wanted in rules.available_trainers
    name = wanted if installed else baseline
    found = [(row, row.finds(facts)) for row in challenger_table if row.chosen != name]
    challengers = [
        Challenger(
            trainer=TrainerChoice(name=row.chosen, fields=_fields(row.chosen, facts)),
            because=f"{row.when} ({finding.why}): {row.because}",
            **MADE_FOR.get(row.chosen, {}),
        )
        for row, finding in found
        if finding.holds and row.chosen in rules.available_trainers
    ]
    if name != baseline and not facts.own_masks:
        because = f"the baseline that {name} has to beat under the same plan"
        challengers.append(Challenger(trainer=TrainerChoice(name=baseline), because=because))
    decision = Decision(
        what="trainer",
        chosen=name,
        rule=_rule(verdict, name, facts),
        evidence=_evidence(facts),
        alternatives=(*verdict.passed_over, *(_challenger_said(row, finding, rules) for row, finding in found)),
    )
    return Supervision(TrainerChoice(name=name, fields=_fields(name, facts)), tuple(challengers), decision)


def _require_installed(name: str, rules: Thresholds) -> None:
    if name not in rules.available_trainers:
        raise DataError(
            "Each modality of this data set carries a mask of its own, and no trainer is installed that teaches them.",
            found="trainers " + ", ".join(rules.available_trainers),
            expected=name,
            remedy=f"Install {name}, which comes with autofuse, or give the data set one label a case.",
        )


def within_time(supervision: Supervision, steps: int, minutes: float | None, rules: Thresholds) -> Supervision:
    """The same, or its baseline where the minutes are too few for teachers, which are then a challenger.

    A length in steps is that of each training; minutes are divided among them.
    """
    each = steps // TRAININGS
    if supervision.trainer.name != SELF_TRAINING or minutes is None or each >= rules.taught_steps:
        return supervision
    baselines = [item.trainer for item in supervision.challengers if item.trainer.name in (SUPERVISED, PARTIAL)]
    (baseline,) = baselines[:1]
    decision = supervision.decision.model_copy(
        update={
            "chosen": baseline.name,
            "rule": (
                f"{supervision.decision.rule}. But {steps} steps in {minutes:g} minutes leave {each} for each of "
                f"{TRAININGS} trainings, and {rules.taught_steps} are the least: {baseline.name}, on labels alone"
            ),
            "evidence": supervision.decision.evidence | {"steps_each": each},
        }
    )
    taught = Challenger(trainer=supervision.trainer, because="teachers may be worth their time")
    others = tuple(item for item in supervision.challengers if item.trainer != baseline)
    return Supervision(baseline, (taught, *others), decision)


def measure_annotation(
    fingerprint: Fingerprint, together: bool, rules: Thresholds, *, fused: bool = False
) -> Annotated:
    """What the fingerprint says about labels.

    Raises:
        DataError: if no case has a label.
    """
    counts = Counter(case.annotation for case in fingerprint.cases)
    if not counts["dense"] + counts["sparse"]:
        raise DataError(
            "No case of this data set has a label, so there is nothing to learn from.",
            found=f"{counts['none']} unlabelled cases",
            expected="at least one labelled case",
            remedy="Put label maps under labelsTr, or name them in the table of cases.",
        )
    scribbled = [case for case in fingerprint.cases if case.annotation == "sparse"]
    return Annotated(
        dense=counts["dense"],
        sparse=counts["sparse"],
        unlabelled=counts["none"],
        modalities=len(fingerprint.modalities),
        together=together,
        fused=fused,
        labelled_share=statistics.median(case.labelled_fraction for case in scribbled) if scribbled else None,
        cover=_cover(scribbled, len(fingerprint.class_names)),
        lacking=sum(0 in case.class_voxels for case in fingerprint.cases if case.annotation == "dense"),
        rules=rules,
        own_masks=fingerprint.labelled_per_modality,
    )


def _fields(name: str, facts: Annotated) -> dict[str, JsonValue]:
    """What a method has to know about the data, and what of it has proved itself: voxels are compared only where
    modalities show the same place, nobody learns to fuse until that wins, and modalities that lie apart, each with a
    mask of its own, are not drawn together, which lost (``benchmarks/results/misaligned.json``)."""
    if name == SELF_TRAINING and facts.sparse:
        return {"teacher": PARTIAL}
    if name == FUSE4SEG:
        return {"bilevel": "fixed"}
    if name == COLLABORATION and facts.own_masks and not facts.together:
        return {"aligned": False, "semantic_weight": 0.0, "anatomical_weight": 0.0}
    return {"aligned": facts.together} if name == COLLABORATION else {}


def _cover(scribbled: list[CaseFacts], classes: int) -> float | None:
    """Of the best covered class: median over the cases that have it."""
    found = []
    for index in range(classes):
        covers = [case.class_cover[index] for case in scribbled if case.class_cover and case.class_cover[index] > 0]
        if covers:
            found.append(statistics.median(covers))
    return max(found, default=None)


def _rule(verdict: Verdict[Annotated], name: str, facts: Annotated) -> str:
    wanted = verdict.row.chosen
    if wanted == name:
        return verdict.rule
    what = "labelled voxels" if facts.sparse else "labelled cases"
    return f"{verdict.rule}. {wanted} is not installed, so the baseline {name}, on the {what} alone, is the default"


def _evidence(facts: Annotated) -> dict[str, JsonValue]:
    evidence: dict[str, JsonValue] = {
        "dense_cases": facts.dense,
        "sparse_cases": facts.sparse,
        "unlabelled_cases": facts.unlabelled,
        "dense_cases_that_lack_a_class": facts.lacking,
        "modalities_show_the_same_place": facts.together,
    }
    if facts.labelled_share is not None:
        evidence["median_labelled_share"] = round(facts.labelled_share, 5)
    if facts.own_masks:
        evidence["cases_with_a_mask_of_its_own"] = " + ".join(map(str, facts.own_masks))
    if facts.cover is not None:
        evidence["largest_cover_of_a_structure"] = round(facts.cover, 4)
    return evidence


def _challenger_said(row: Row[Annotated], finding: Finding, rules: Thresholds) -> str:
    if not finding.holds:
        return f"{row.chosen} as challenger (if {row.when}): no; {finding.why}"
    missing = "" if row.chosen in rules.available_trainers else "; not installed"
    return f"{row.chosen} as challenger: {row.when} ({finding.why}){missing}"
