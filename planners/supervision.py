"""Which trainer the annotation asks for."""

from __future__ import annotations

from collections.abc import Sequence

from autofuse.fingerprint.types import Fingerprint
from autofuse.foundation.errors import DataError
from autofuse.plan.types import Decision, TrainerChoice
from autofuse_planners.thresholds import Thresholds

SUPERVISED, PARTIAL = "supervised", "partial"


def choose_trainer(fingerprint: Fingerprint, rules: Thresholds) -> tuple[TrainerChoice, Decision]:
    """``supervised`` for dense labels in every case, else ``partial``.

    Raises:
        DataError: if no case has a label.
    """
    counts = dict.fromkeys(("dense", "sparse", "none"), 0)
    for case in fingerprint.cases:
        counts[case.annotation] += 1
    labelled = counts["dense"] + counts["sparse"]
    if not labelled:
        raise DataError(
            "No case of this data set has a label, so there is nothing to learn from.",
            found=f"{counts['none']} unlabelled cases",
            expected="at least one labelled case",
            remedy="Put label maps under labelsTr, or name them in the table of cases.",
        )
    name = SUPERVISED if labelled == counts["dense"] and not counts["none"] else PARTIAL
    fractions = sorted(case.labelled_fraction for case in fingerprint.cases if case.annotation == "sparse")
    evidence = {"dense_cases": counts["dense"], "sparse_cases": counts["sparse"], "unlabelled_cases": counts["none"]}
    decision = Decision(
        what="trainer",
        chosen=name,
        rule="every case is densely labelled" if name == SUPERVISED else "some voxels or cases are not labelled",
        evidence=evidence | ({"median_labelled_share": round(_middle(fractions), 5)} if fractions else {}),
        alternatives=_challengers(fingerprint, counts, labelled, rules),
    )
    return TrainerChoice(name=name), decision


def _challengers(fingerprint: Fingerprint, counts: dict[str, int], labelled: int, rules: Thresholds) -> tuple[str, ...]:
    """What else the annotation could call for, once it exists."""
    found = []
    if counts["sparse"] and len(fingerprint.modalities) > 1:
        found.append("cmfnet: scribbles on several aligned modalities; not available yet")
    if counts["none"]:
        enough = labelled >= rules.self_training_cases
        name = "self_training" if enough else "collaboration"
        found.append(f"{name}: {counts['none']} unlabelled cases beside {labelled} labelled ones; not available yet")
    return tuple(found)


def _middle(ordered: Sequence[float]) -> float:
    return ordered[len(ordered) // 2]
